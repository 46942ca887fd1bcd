//! What a source's peer waits for: that a message is safe.
//!
//! A message is safe as soon as it is on disk or Kafka has it, whichever comes first. The journal says the one and the
//! delivery the other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::event::Reason;
use common::message_log::Sequence;
use tokio::sync::oneshot;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is safe, and will be published.
    Released,
    /// It is safe too, but no event: it becomes a dead letter with this reason.
    Refused(Reason),
    /// This process is not responsible for it: the peer should send it again.
    Dropped,
}

/// The promise to tell what becomes of a message. A receipt that is dropped tells [`Outcome::Dropped`].
#[derive(Debug)]
pub struct Receipt(oneshot::Sender<Outcome>);

/// The other end of a [`Receipt`].
#[derive(Debug)]
pub struct Released(oneshot::Receiver<Outcome>);

impl Receipt {
    /// A receipt, and what its source waits for.
    pub fn new() -> (Self, Released) {
        let (tell, told) = oneshot::channel();
        (Self(tell), Released(told))
    }

    fn release(self, reason: Option<Reason>) {
        // Nobody has to wait for it.
        let _unheard = self.0.send(reason.map_or(Outcome::Released, Outcome::Refused));
    }
}

impl Released {
    /// Waits until it is known what became of the message.
    pub async fn outcome(self) -> Outcome {
        self.0.await.unwrap_or(Outcome::Dropped)
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
            first.remove().release();
        }
    }

    /// This message is safe.
    pub fn release(&self, sequence: Sequence) {
        if let Some(waiting) = self.lock().remove(&sequence) {
            waiting.release();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sequence, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn release(self) {
        self.receipt.release(self.reason);
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
                let (receipt, released) = Receipt::new();
                let reason = (number == 1).then_some(Reason::NotJson);
                receipts.add(Sequence::from_opaque(number), receipt, reason);
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
}
