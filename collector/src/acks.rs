//! What became of requests that were acknowledged.
//!
//! The id of an acknowledgement names the source, the instance of the log and a range of sequences:
//! `orders.3f2a9c0011223344.12-15`. In that range a source has only the messages of that one request; there may be messages
//! of other sources, which count as well. What is settled is known from the log, also after a restart. What was lost on the
//! way is remembered in memory, the newest 1,024 ranges, and so are dead letters, the newest 16,384 of each source that asks
//! for them. So an answer says whether all of that is still known.
//!
//! Each collector says the same about its log in the topic `collector-acks`, and hears there what others say, so that any of
//! them answers, also when the one that has acknowledged is gone:
//!
//! ```text
//! journal, delivery ──▶ book of this log ──▶ unpublished ──▶ publication ──▶ collector-acks
//!                              │                16,384, forgets the oldest        │
//! GET /v1/acks/ID ◀────────────┴──────────── others ◀──────── reading ◀───────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::event::Reason;
use common::message_log::{Recovered, Sequence};
use tokio::sync::Notify;

use book::Book;
pub use fate::{Fate, NoSpan, Span, State, Unknown};
use others::Others;
use record::{Note, Record};
pub use sharing::Sharing;
use unpublished::{Round, Unpublished};

mod book;
mod fate;
mod others;
mod publication;
mod reading;
mod record;
mod sharing;
#[cfg(test)]
mod tests;
mod unpublished;

/// The acknowledgements of all sources. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Acks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    own: Mutex<Own>,
    changed: Notify,
    others: Mutex<Others>,
}

/// This collector's log.
#[derive(Debug, Default)]
struct Own {
    instance: String,
    book: Book,
    /// No acknowledgement was given for what is from here on.
    end: Sequence,
    unpublished: Unpublished,
}

/// A dead letter: why it is one, and the source of its message.
pub type DeadLetter = (Reason, Arc<str>);

impl Acks {
    /// Begins with what the log `instance` holds.
    pub fn begin(&self, instance: &str, found: &Recovered) {
        let mut own = self.own();
        instance.clone_into(&mut own.instance);
        own.book.begin(found);
        own.end = found.end;
    }

    /// Remembers the dead letters of this source from now on.
    pub fn follow(&self, source: &Arc<str>) {
        let mut own = self.own();
        let since = own.end;
        own.book.follow(source, since);
    }

    /// The id for a request whose messages are safe.
    pub fn give(&self, source: &str, span: Span) -> String {
        let mut own = self.own();
        own.end = own.end.max(span.last.next());
        format!("{source}.{}.{span}", own.instance)
    }

    /// What became of the request with this id.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn find(&self, source: &str, id: &str) -> Result<Fate, Unknown> {
        let mut parts = id.split('.');
        let (Some(of), Some(instance), Some(span), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unknown::Malformed);
        };
        let span: Span = span.parse().map_err(|_malformed| Unknown::Malformed)?;
        if of != source {
            return Err(Unknown::OtherSource);
        }
        let own = self.own();
        if instance != own.instance {
            drop(own);
            return self.others().fate(instance, source, span);
        }
        if span.last >= own.end {
            return Err(Unknown::NotGiven);
        }
        Ok(own.book.fate(instance, source, span))
    }

    /// Waits until these messages of this collector are in Kafka or lost, and returns which.
    pub async fn settled(&self, span: Span) -> State {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.own().book.state(span) {
                State::Logged => {}
                state @ (State::InKafka | State::Lost) => return state,
            }
            changed.await;
        }
    }

    /// Everything before `low` is settled.
    pub(crate) fn settled_before(&self, low: Sequence) {
        if self.own().book.settled_before(low) {
            self.0.changed.notify_waiters();
        }
    }

    /// This entry waits for Kafka outside of the groups.
    pub(crate) fn put_aside(&self, sequence: Sequence) {
        self.own().book.put_aside(sequence);
    }

    /// This entry does so no more.
    pub(crate) fn taken_back(&self, sequence: Sequence) {
        if self.own().book.taken_back(sequence) {
            self.0.changed.notify_waiters();
        }
    }

    /// This entry is a dead letter in Kafka.
    pub(crate) fn dead_letter(&self, sequence: Sequence, (reason, source): &DeadLetter) {
        let mut own = self.own();
        if own.book.follows(source) {
            own.book.dead_letter(source, sequence, Some(*reason));
            let (source, reason) = (Arc::clone(source), Some(*reason));
            own.unpublished.add(Note::DeadLetter { sequence, source, reason });
        }
    }

    /// The entries from `start` up to `end` are lost.
    pub(crate) fn lost(&self, start: Sequence, end: Sequence) {
        let mut own = self.own();
        // Once, because the record of a shorter range would take the place of that of a longer one.
        if own.book.lost(start, end) && own.book.follows_any() {
            own.unpublished.add(Note::Lost { start, end });
        }
        drop(own);
        self.0.changed.notify_waiters();
    }

    /// The instance of this collector's log.
    fn instance(&self) -> String {
        self.own().instance.clone()
    }

    /// Notices the time, at least once an hour.
    fn pass(&self, now: Instant) {
        let mut own = self.own();
        let end = own.end;
        own.unpublished.pass(end, now);
    }

    /// What others are to be told now, if there is something.
    fn begin_round(&self, now: Instant) -> Option<Round> {
        let mut own = self.own();
        let Own { book, end, unpublished, .. } = &mut *own;
        unpublished.begin(book, *end, now)
    }

    /// Whether Kafka has what was to be told.
    fn end_round(&self, round: Round, is_told: bool) {
        let unpublished = &mut self.own().unpublished;
        if is_told { unpublished.done(round) } else { unpublished.failed(round) }
    }

    /// Takes in what a collector says at this time, in milliseconds since 1970.
    fn heard(&self, instance: &str, record: &Record, time_ms: i64) {
        let is_own = instance == self.own().instance;
        let mut others = self.others();
        if is_own { others.pass(time_ms) } else { others.take(instance, record, time_ms) }
    }

    /// Whether Kafka has something that this collector has said since its start.
    fn is_told(&self) -> bool {
        self.own().unpublished.is_told()
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
