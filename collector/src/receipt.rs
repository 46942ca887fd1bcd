//! What a source's peer waits for: that its messages are safe.
//!
//! A message is safe as soon as it is on disk or Kafka has it, whichever comes first, or when both have happened if its source
//! has `release = "both"`. The journal says the one and the delivery the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::message_log::Sequence;
use tokio::sync::{Notify, OwnedSemaphorePermit};

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

    /// The message is safe, or as safe as its source wants it. `reason` says why it is no event.
    pub(crate) fn release(mut self, sequence: Sequence, reason: Option<Reason>) {
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
pub struct Receipts(Mutex<Held>);

/// Messages by what they wait for.
#[derive(Debug, Default)]
struct Held {
    /// Disk or Kafka, whichever comes first.
    first: BTreeMap<Sequence, Waiting>,
    /// Kafka, and the disk if it is not there yet.
    both: BTreeMap<Sequence, Waiting>,
    /// The disk: Kafka has them.
    disk: BTreeMap<Sequence, Waiting>,
    /// Everything before is on disk.
    synced: Sequence,
}

/// A message whose peer waits.
#[derive(Debug)]
struct Waiting {
    /// Why it is no event.
    reason: Option<Reason>,
    receipt: Receipt,
    /// Its share of the source's queue, if that is kept until it is safe.
    _share: Option<OwnedSemaphorePermit>,
}

impl Receipts {
    /// Takes the receipt of a message that is safe on disk or in Kafka. `reason` says why it is no event.
    pub fn add(&self, sequence: Sequence, receipt: Receipt, reason: Option<Reason>) {
        self.held().first.insert(sequence, Waiting { reason, receipt, _share: None });
    }

    /// Takes the receipt of a message that is safe when it is on disk and in Kafka. It keeps its share of the source's queue
    /// until then, so that not more of them wait than a queue has room for.
    pub fn add_for_both(
        &self,
        sequence: Sequence,
        receipt: Receipt,
        reason: Option<Reason>,
        share: Option<OwnedSemaphorePermit>,
    ) {
        self.held().both.insert(sequence, Waiting { reason, receipt, _share: share });
    }

    /// All messages before `to` are on disk.
    pub fn synced_before(&self, to: Sequence) {
        let mut held = self.held();
        let Held { first, disk, synced, .. } = &mut *held;
        *synced = to.max(*synced);
        for waiting in [first, disk] {
            while let Some(oldest) = waiting.first_entry().filter(|oldest| *oldest.key() < to) {
                let (sequence, waiting) = oldest.remove_entry();
                waiting.release(sequence);
            }
        }
    }

    /// Kafka has this message.
    pub fn acknowledged(&self, sequence: Sequence) {
        let mut held = self.held();
        if let Some(waiting) = held.first.remove(&sequence) {
            waiting.release(sequence);
        } else if let Some(waiting) = held.both.remove(&sequence) {
            if sequence < held.synced {
                waiting.release(sequence);
            } else {
                held.disk.insert(sequence, waiting);
            }
        }
    }

    /// The messages from `start` up to `end` will never be in Kafka, so that the peers of those that are not safe have to send
    /// them again.
    pub fn lost(&self, start: Sequence, end: Sequence) {
        self.held().both.retain(|sequence, _| !(start..end).contains(sequence));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
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
    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    /// What happens to messages.
    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Synced(usize),
        Acknowledged(usize),
        Lost(usize, usize),
    }

    const MESSAGES: usize = 6;

    fn happenings() -> impl Strategy<Value = Vec<Happens>> {
        let one = prop_oneof![
            (0..=MESSAGES).prop_map(Happens::Synced),
            (0..MESSAGES).prop_map(Happens::Acknowledged),
            (0..MESSAGES, 0..=MESSAGES).prop_map(|(start, end)| Happens::Lost(start, end)),
        ];
        proptest::collection::vec(one, 0..30)
    }

    fn outcome(released: &Released) -> Option<Outcome> {
        futures_util::FutureExt::now_or_never(released.outcome())
    }

    proptest! {
        #[test]
        fn a_message_is_safe_at_the_first_of_disk_and_kafka_or_at_the_second_in_any_order(
            both in proptest::collection::vec(any::<bool>(), MESSAGES), happenings in happenings(),
        ) {
            let (receipts, places) = (Receipts::default(), Arc::new(Semaphore::new(MESSAGES)));
            let mut peers = Vec::new();
            for (number, &is_both) in both.iter().enumerate() {
                let (released, sequence) = (Released::default(), Sequence::from_opaque(number));
                // Those that are no events are told so, and are safe all the same.
                let reason = number.is_multiple_of(3).then_some(Reason::NotJson);
                if is_both {
                    let share = Arc::clone(&places).try_acquire_owned().unwrap();
                    receipts.add_for_both(sequence, released.receipt(), reason, Some(share));
                } else {
                    receipts.add(sequence, released.receipt(), reason);
                }
                peers.push((released, reason.map_or(Outcome::Released, Outcome::Refused)));
            }
            let (mut synced, mut acknowledged) = ([false; MESSAGES], [false; MESSAGES]);
            let mut expected = [None; MESSAGES];
            for happens in happenings {
                match happens {
                    Happens::Synced(to) => {
                        receipts.synced_before(Sequence::from_opaque(to));
                        synced[..to].fill(true);
                    }
                    Happens::Acknowledged(number) => {
                        receipts.acknowledged(Sequence::from_opaque(number));
                        acknowledged[number] |= expected[number].is_none();
                    }
                    Happens::Lost(start, end) => {
                        receipts.lost(Sequence::from_opaque(start), Sequence::from_opaque(end));
                        for number in start..end {
                            if both[number] && !acknowledged[number] {
                                expected[number].get_or_insert(Outcome::Dropped);
                            }
                        }
                    }
                }
                for (number, (released, safe)) in peers.iter().enumerate() {
                    let is_safe = if both[number] {
                        synced[number] && acknowledged[number]
                    } else {
                        synced[number] || acknowledged[number]
                    };
                    if is_safe {
                        expected[number].get_or_insert(*safe);
                    }
                    prop_assert_eq!(outcome(released), expected[number], "{} after {:?}", number, happens);
                }
                let waiting = (0..MESSAGES).filter(|&number| both[number] && expected[number].is_none());
                prop_assert_eq!(MESSAGES - places.available_permits(), waiting.count(), "places in the queue");
            }
            drop(receipts);
            for (number, (released, _)) in peers.iter().enumerate() {
                prop_assert_eq!(outcome(released), expected[number].or(Some(Outcome::Dropped)));
            }
        }
    }

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
        receipts.acknowledged(Sequence::from_opaque(2));
        receipts.acknowledged(Sequence::from_opaque(9));
        assert_eq!(receipts.held().first.len(), 3, "without a log only this makes room");
        receipts.synced_before(Sequence::from_opaque(2));
        receipts.synced_before(Sequence::from_opaque(3));
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
        receipts.acknowledged(Sequence::from_opaque(9));
        receipts.synced_before(Sequence::from_opaque(5));
        tokio::select! {
            biased;
            outcome = released.outcome() => panic!("{outcome:?}"),
            () = std::future::ready(()) => {}
        }
        receipts.acknowledged(Sequence::from_opaque(5));
        assert_eq!(released.outcome().await, Outcome::Released);
        let range = (Sequence::from_opaque(4), Sequence::from_opaque(9));
        assert_eq!(released.range(), Some(range));
    }

    #[tokio::test]
    async fn one_message_that_is_dropped_makes_the_peer_send_all_again() {
        let (receipts, released) = (Receipts::default(), Released::default());
        receipts.add(Sequence::from_opaque(1), released.receipt(), None);
        let lost = released.receipt();
        receipts.acknowledged(Sequence::from_opaque(1));
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
        receipts.acknowledged(Sequence::from_opaque(1));
        tokio::select! {
            biased;
            outcome = released.outcome() => panic!("{outcome:?}"),
            () = std::future::ready(()) => {}
        }
        first.waive();
        assert_eq!(released.outcome().await, Outcome::Released);
    }
}
