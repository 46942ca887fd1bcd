//! What became of requests that were acknowledged.
//!
//! The id of an acknowledgement names the source, the instance of the log and a range of sequences:
//! `orders.3f2a9c0011223344.12-15`. In that range a source has only the messages of that one request; there may be messages
//! of other sources, which count as well. What is settled is known from the log, also after a restart. What was lost on the
//! way is remembered in memory, the newest [`LOST`](book::LOST) ranges, and so are dead letters, the newest
//! [`DEAD_LETTERS`](book::DEAD_LETTERS) of each source that asks for them. So an answer says whether all of that is still known.
//!
//! Each collector says the same about its log in the topic `collector-acks`, and hears there what others say, so that any of
//! them answers, also when the one that has acknowledged is gone:
//!
//! ```text
//! journal, delivery ──▶ book of this log ──▶ unpublished ──▶ publication ──▶ collector-acks
//!                              │                16,384, forgets the oldest        │
//! GET /v1/acks/ID ◀────────────┴──────────── others ◀──────── reading ◀───────────┘
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::event::Reason;
use common::message_log::{Recovered, Sequence};
use tokio::sync::Notify;

use book::Book;
use others::Others;
use record::{Note, Record};
pub use sharing::Sharing;
use unpublished::{Round, Unpublished};

mod book;
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

/// The messages of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Where its messages are.
    pub state: State,
    /// The first of those that are dead letters in Kafka: the value of their header `mr-seq`, and why.
    pub dead_letters: Vec<(String, Reason)>,
    /// Whether these are all, and it would be known if some of the messages were lost.
    pub is_complete: bool,
    /// If another collector has it: when that one last said something, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
}

/// Where the messages of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All are on disk or in Kafka, and not all in Kafka.
    Logged,
    /// All are in Kafka, as far as is known.
    InKafka,
    /// Some may be among what a damaged disk has lost, or what was evicted.
    Lost,
}

/// Why it is not known what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The text is not the id of an acknowledgement.
    #[error("this is not an id that a collector gives with a 202")]
    Malformed,
    /// Another source gave it.
    #[error("another source gave this id; ask at the address where the events were sent to")]
    OtherSource,
    /// This collector has not given it.
    #[error("this collector has not acknowledged so many events")]
    NotGiven,
    /// No collector that is known has given it.
    #[error(
        "no collector that wrote to kafka within the last day has given this id from a source of this name: it is older than \
         what is kept, or was never given"
    )]
    NotKept,
    /// Another collector may have given it, and it is not known what the others say.
    #[error(
        "this collector has not given this id, and what others say in kafka is not read, because kafka does not answer or this \
         collector has just started; ask again"
    )]
    NotRead,
}

impl Unknown {
    /// Whether asking again may help.
    pub const fn retryable(self) -> bool {
        match self {
            Self::NotRead => true,
            Self::Malformed | Self::OtherSource | Self::NotGiven | Self::NotKept => false,
        }
    }
}

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
        if instance != self.own().instance {
            self.others().take(instance, record, time_ms);
        }
    }

    /// Whether all is known that others have said.
    fn is_current(&self, is_current: bool) {
        self.others().is_current = is_current;
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text that is not the text of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a range of sequences")]
pub struct NoSpan;

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let (first, last) = text.split_once('-').ok_or(NoSpan)?;
        let parse = |text: &str| text.parse().map_err(|_not_a_number| NoSpan);
        let span = Self { first: parse(first)?, last: parse(last)? };
        // So that each range has one text.
        if span.first <= span.last && span.to_string() == text { Ok(span) } else { Err(NoSpan) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
