//! What other collectors have said about their logs. Pure: does no I/O.
//!
//! Times are those of the records. The newest one seen is now: every running collector says something again and again, this
//! one as well.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use common::message_log::Sequence;

use super::book::Book;
use super::fate::{Fate, Span, Unknown};
use super::record::{Note, Record};

/// For how long after its last word is answered for a log, in milliseconds: a day, and as much as the watermarks of its last
/// hours may differ in what they promise.
pub(super) const KEPT_MS: i64 = 26 * 3_600_000;
/// How many logs are remembered. A further one takes the place of that which has been silent for longest.
pub(super) const INSTANCES: usize = 1024;
/// How many dead letters of all of them are remembered.
pub(super) const DEAD_LETTERS: usize = 64 * 1024;
/// How often those are looked for that have been silent for too long, in milliseconds.
const SWEEP_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Others {
    instances: HashMap<Arc<str>, Other>,
    /// Their dead letters, in the order in which they came.
    order: VecDeque<(Arc<str>, Arc<str>, Sequence)>,
    newest_ms: i64,
    swept_ms: i64,
    /// Whether all that Kafka has is known.
    is_current: bool,
    /// Whether it was since the topic is read from its beginning. Before, notes may be missing, or what says that they are too
    /// old.
    is_answered: bool,
}

#[derive(Debug, Default)]
struct Other {
    book: Book,
    /// When it last said something.
    heard_ms: i64,
    /// Whether its watermark is known, and not only notes.
    has_watermark: bool,
}

impl Others {
    /// Takes in a record of this time about the log `instance`.
    pub(super) fn take(&mut self, instance: &str, record: &Record, time_ms: i64) {
        self.pass(time_ms);
        if time_ms < self.newest_ms.saturating_sub(KEPT_MS) {
            return;
        }
        let name = self.instance(instance);
        let Some(other) = self.instances.get_mut(&name) else { return };
        other.heard_ms = other.heard_ms.max(time_ms);
        match record {
            Record::Watermark(watermark) => {
                other.book.take(watermark);
                other.has_watermark = true;
            }
            Record::Note(note) => {
                let is_new = other.book.note(note);
                if let (true, Note::DeadLetter { sequence, source, .. }) = (is_new, note) {
                    self.order.push_back((name, Arc::clone(source), *sequence));
                    self.bound();
                }
            }
        }
    }

    /// Something was said at this time.
    pub(super) fn pass(&mut self, time_ms: i64) {
        self.newest_ms = self.newest_ms.max(time_ms);
        self.sweep();
    }

    /// The topic is read from its beginning.
    pub(super) const fn begin(&mut self) {
        self.is_current = false;
        self.is_answered = false;
    }

    /// Whether all that Kafka has is known, up to what this collector itself has said.
    pub(super) const fn current(&mut self, is_current: bool) {
        self.is_current = is_current;
        self.is_answered |= is_current;
    }

    pub(super) const fn is_current(&self) -> bool {
        self.is_current
    }

    /// What became of these entries of a source, as far as the log `instance` has said.
    pub(super) fn fate(&self, instance: &str, source: &str, span: Span) -> Result<Fate, Unknown> {
        if !self.is_answered {
            return Err(Unknown::NotRead);
        }
        let known = self.instances.get(instance).filter(|other| other.has_watermark);
        let Some(other) = known.filter(|other| !self.is_over(other)) else {
            return Err(if self.is_current { Unknown::NotKept } else { Unknown::NotRead });
        };
        if !other.book.follows(source) {
            return Err(Unknown::NotKept);
        }
        let fate = other.book.fate(instance, source, span);
        Ok(Fate { as_of_ms: Some(other.heard_ms), ..fate })
    }

    /// The name of this log, for which there is a place now.
    fn instance(&mut self, instance: &str) -> Arc<str> {
        if let Some((name, _)) = self.instances.get_key_value(instance) {
            return Arc::clone(name);
        }
        if self.instances.len() == INSTANCES {
            let silent = self.instances.iter().min_by_key(|(_, other)| other.heard_ms);
            let silent = silent.map(|(name, _)| Arc::clone(name));
            silent.and_then(|name| self.instances.remove(&name));
        }
        let name: Arc<str> = instance.into();
        self.instances.insert(Arc::clone(&name), Other::default());
        name
    }

    fn is_over(&self, other: &Other) -> bool {
        other.heard_ms < self.newest_ms.saturating_sub(KEPT_MS)
    }

    /// Forgets logs that have been silent for too long, once in a while.
    fn sweep(&mut self) {
        if self.newest_ms < self.swept_ms.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept_ms = self.newest_ms;
        let oldest_ms = self.newest_ms.saturating_sub(KEPT_MS);
        self.instances.retain(|_, other| oldest_ms <= other.heard_ms);
        self.order.retain(|(instance, ..)| self.instances.contains_key(instance));
    }

    /// Forgets the oldest dead letters if there are too many.
    fn bound(&mut self) {
        while self.order.len() > DEAD_LETTERS {
            let Some((instance, source, sequence)) = self.order.pop_front() else { return };
            if let Some(other) = self.instances.get_mut(&instance) {
                other.book.forget(&source, sequence);
            }
        }
    }
}
