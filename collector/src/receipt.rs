//! What a source's peer waits for: that a message is safe.
//!
//! A message is safe as soon as it is on disk or Kafka has it, whichever comes first. The journal says the one and the
//! delivery the other.

use std::collections::VecDeque;
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
pub struct Receipts(Mutex<VecDeque<Waiting>>);

/// A message whose peer waits.
#[derive(Debug)]
struct Waiting {
    sequence: Sequence,
    /// Why it is no event.
    reason: Option<Reason>,
    /// `None` when it is released.
    receipt: Option<Receipt>,
}

impl Receipts {
    /// Takes the receipt of a message. `reason` says why it is no event. Sequences have to come in their order.
    pub fn add(&self, sequence: Sequence, receipt: Receipt, reason: Option<Reason>) {
        self.lock().push_back(Waiting { sequence, reason, receipt: Some(receipt) });
    }

    /// All messages before `to` are safe.
    pub fn release_before(&self, to: Sequence) {
        let mut waiting = self.lock();
        while waiting.front().is_some_and(|first| first.sequence < to) {
            waiting.pop_front().into_iter().for_each(|mut first| first.release());
        }
    }

    /// This message is safe.
    pub fn release(&self, sequence: Sequence) {
        let mut waiting = self.lock();
        if let Ok(place) = waiting.binary_search_by_key(&sequence, |waiting| waiting.sequence) {
            waiting[place].release();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn release(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.release(self.reason);
        }
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
