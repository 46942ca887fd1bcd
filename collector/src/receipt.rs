//! What a source's peer waits for: that its messages are safe.
//!
//! A message is safe as soon as it is on disk or Kafka has it, whichever comes first. The journal says the one and the
//! delivery the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::message_log::Sequence;
use tokio::sync::Notify;

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All are safe, and will be published.
    Released,
    /// All are safe too, but not all are events: one becomes a dead letter with this reason.
    Refused(Reason),
    /// This process is not responsible for all of them: the peer should send them again.
    Dropped,
}

/// The promise to tell what becomes of a message. A receipt that is dropped tells [`Outcome::Dropped`].
#[derive(Debug)]
pub struct Receipt {
    peer: Arc<Peer>,
    is_told: bool,
}

/// The other end of the receipts of messages that came together. Dropping it says that nobody waits any more: those of
/// the messages that have not been logged yet are not taken.
#[derive(Debug, Default)]
pub struct Released(Arc<Peer>);

#[derive(Debug, Default)]
struct Peer {
    told: Mutex<Told>,
    changed: Notify,
    has_left: AtomicBool,
}

#[derive(Debug, Default)]
struct Told {
    /// How many receipts have told nothing yet.
    open: usize,
    /// The lowest and the highest sequence of those that are safe.
    range: Option<(Sequence, Sequence)>,
    reason: Option<Reason>,
    is_dropped: bool,
}

impl Receipt {
    /// Whether nobody waits for the message any more. Its peer was told to send it again.
    pub fn is_given_up(&self) -> bool {
        self.peer.has_left.load(Ordering::Relaxed)
    }

    /// The receipt of one more message that came together with this one.
    #[must_use]
    pub fn another(&self) -> Self {
        self.peer.told().open += 1;
        Self { peer: Arc::clone(&self.peer), is_told: false }
    }

    /// There was no message after all.
    pub fn waive(mut self) {
        self.is_told = true;
        self.peer.tell(|_told| {});
    }

    fn release(mut self, sequence: Sequence, reason: Option<Reason>) {
        self.is_told = true;
        self.peer.tell(|told| {
            let (low, high) = told.range.unwrap_or((sequence, sequence));
            told.range = Some((low.min(sequence), high.max(sequence)));
            told.reason = told.reason.or(reason);
        });
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_told {
            self.peer.tell(|told| told.is_dropped = true);
        }
    }
}

impl Released {
    /// The receipt of one more message.
    pub fn receipt(&self) -> Receipt {
        self.0.told().open += 1;
        Receipt { peer: Arc::clone(&self.0), is_told: false }
    }

    /// Waits until it is known what became of the messages.
    pub async fn outcome(&self) -> Outcome {
        loop {
            let told = {
                let told = self.0.told();
                (told.open == 0).then_some((told.is_dropped, told.reason))
            };
            match told {
                Some((true, _)) => return Outcome::Dropped,
                Some((false, reason)) => return reason.map_or(Outcome::Released, Outcome::Refused),
                None => self.0.changed.notified().await,
            }
        }
    }

    /// The lowest and the highest sequence of the messages that are safe. In between, there may be messages of others.
    pub fn range(&self) -> Option<(Sequence, Sequence)> {
        self.0.told().range
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        self.0.has_left.store(true, Ordering::Relaxed);
    }
}

impl Peer {
    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        let mut told = self.told();
        tell(&mut told);
        told.open -= 1;
        if told.open == 0 {
            self.changed.notify_one();
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receipts of messages that are not safe. The journal and the delivery share them. Dropping it drops them all.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<BTreeMap<Sequence, Waiting>>);

/// A message whose peer waits.
#[derive(Debug)]
struct Waiting {
    /// Why it is no event.
    reason: Option<Reason>,
    receipt: Receipt,
}

impl Receipts {
    /// Takes the receipt of a message. `reason` says why it is no event.
    pub fn add(&self, sequence: Sequence, receipt: Receipt, reason: Option<Reason>) {
        self.lock().insert(sequence, Waiting { reason, receipt });
    }

    /// All messages before `to` are safe.
    pub fn release_before(&self, to: Sequence) {
        let mut waiting = self.lock();
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() < to) {
            let (sequence, waiting) = first.remove_entry();
            waiting.release(sequence);
        }
    }

    /// This message is safe.
    pub fn release(&self, sequence: Sequence) {
        if let Some(waiting) = self.lock().remove(&sequence) {
            waiting.release(sequence);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sequence, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn release(self, sequence: Sequence) {
        self.receipt.release(sequence, self.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_receipt_is_released_once_by_whichever_comes_first() {
        let receipts = Receipts::default();
        let released: Vec<_> = (0..4)
            .map(|number| {
                let released = Released::default();
                let reason = (number == 1).then_some(Reason::NotJson);
                receipts.add(Sequence::from_opaque(number), released.receipt(), reason);
                released
            })
            .collect();
        receipts.release(Sequence::from_opaque(2));
        receipts.release(Sequence::from_opaque(9));
        assert_eq!(receipts.lock().len(), 3, "without a log only this makes room");
        receipts.release_before(Sequence::from_opaque(2));
        receipts.release_before(Sequence::from_opaque(3));
        drop(receipts);
        let mut outcomes = Vec::new();
        for one in released {
            outcomes.push(one.outcome().await);
        }
        let refused = Outcome::Refused(Reason::NotJson);
        assert_eq!(outcomes, [Outcome::Released, refused, Outcome::Released, Outcome::Dropped]);
    }

    #[tokio::test]
    async fn messages_that_came_together_are_safe_when_the_last_of_them_is() {
        let (receipts, released) = (Receipts::default(), Released::default());
        for number in [4, 5, 9] {
            receipts.add(Sequence::from_opaque(number), released.receipt(), None);
        }
        receipts.release(Sequence::from_opaque(9));
        receipts.release_before(Sequence::from_opaque(5));
        tokio::select! {
            biased;
            outcome = released.outcome() => panic!("{outcome:?}"),
            () = std::future::ready(()) => {}
        }
        receipts.release(Sequence::from_opaque(5));
        assert_eq!(released.outcome().await, Outcome::Released);
        let range = (Sequence::from_opaque(4), Sequence::from_opaque(9));
        assert_eq!(released.range(), Some(range));
    }

    #[tokio::test]
    async fn one_message_that_is_dropped_makes_the_peer_send_all_again() {
        let (receipts, released) = (Receipts::default(), Released::default());
        receipts.add(Sequence::from_opaque(1), released.receipt(), None);
        let lost = released.receipt();
        receipts.release(Sequence::from_opaque(1));
        assert!(!lost.is_given_up());
        drop(lost);
        assert_eq!(released.outcome().await, Outcome::Dropped);
        let late = released.receipt();
        drop(released);
        assert!(late.is_given_up());
    }

    #[tokio::test]
    async fn a_receipt_may_be_divided_among_messages_and_waived_if_there_is_none() {
        let (receipts, released) = (Receipts::default(), Released::default());
        let first = released.receipt();
        receipts.add(Sequence::from_opaque(1), first.another(), None);
        receipts.release(Sequence::from_opaque(1));
        tokio::select! {
            biased;
            outcome = released.outcome() => panic!("{outcome:?}"),
            () = std::future::ready(()) => {}
        }
        first.waive();
        assert_eq!(released.outcome().await, Outcome::Released);
    }
}
