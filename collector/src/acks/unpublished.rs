//! What is still to be said to other collectors. Pure: does no I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::message_log::Sequence;

use super::book::Book;
use super::record::{Note, Watermark};

/// How many notes wait for Kafka.
pub(super) const NOTES: usize = 16 * 1024;
/// How long a collector says nothing at most: others forget it when it has been silent for a day.
const SILENCE: Duration = Duration::from_secs(600);
/// For how long notes are sure to be in Kafka. The topic keeps them for 52 hours, see [`others`](super::others).
const KEPT: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(super) struct Unpublished {
    /// The oldest first.
    notes: VecDeque<Note>,
    /// Notes about entries before were forgotten, or Kafka may have deleted them.
    floor: Sequence,
    /// How far the log was, for each hour of the last day.
    hours: VecDeque<(Instant, Sequence)>,
    said: Option<(Instant, Watermark)>,
}

/// What is said at once: the notes, and when Kafka has them the watermark.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) notes: Vec<Note>,
    pub(super) watermark: Watermark,
    now: Instant,
}

impl Unpublished {
    /// Adds a note. If there are too many the oldest is forgotten.
    pub(super) fn add(&mut self, note: Note) {
        match (self.notes.back_mut(), note) {
            (Some(Note::Lost { end: last, .. }), Note::Lost { start, end }) if *last == start => {
                *last = end;
            }
            (_, note) => self.notes.push_back(note),
        }
        self.bound();
    }

    /// What is to be said now; `None` if others know it. The log of this book will have its next entries from `end` on.
    pub(super) fn begin(&mut self, book: &Book, end: Sequence, now: Instant) -> Option<Round> {
        self.pass(end, now);
        let age = |since: Instant| now.saturating_duration_since(since);
        let watermark = book.watermark(self.floor);
        let is_known =
            self.said.as_ref().is_some_and(|(at, said)| *said == watermark && age(*at) < SILENCE);
        if self.notes.is_empty() && is_known {
            return None;
        }
        let notes = std::mem::take(&mut self.notes).into();
        Some(Round { notes, watermark, now })
    }

    /// Notices how far the log is now, at least once an hour, also while nothing can be said: otherwise what was said before
    /// would seem to be as young as what is said after.
    pub(super) fn pass(&mut self, end: Sequence, now: Instant) {
        let age = |since: Instant| now.saturating_duration_since(since);
        if self.hours.back().is_none_or(|(last, _)| age(*last) >= HOUR) {
            self.hours.push_back((now, end));
        }
        while let Some((_, end)) = self.hours.pop_front_if(|(hour, _)| age(*hour) >= KEPT) {
            self.floor = self.floor.max(end);
        }
    }

    /// Kafka has what was said.
    pub(super) fn done(&mut self, round: Round) {
        self.said = Some((round.now, round.watermark));
    }

    /// Kafka may not have it: the notes are said again, and the watermark as it is then.
    pub(super) fn failed(&mut self, round: Round) {
        let newer = std::mem::replace(&mut self.notes, round.notes.into());
        self.notes.extend(newer);
        self.bound();
        self.said = None;
    }

    /// Whether Kafka has the last word.
    pub(super) const fn is_told(&self) -> bool {
        self.said.is_some()
    }

    fn bound(&mut self) {
        while self.notes.len() > NOTES {
            let end = match self.notes.pop_front() {
                Some(Note::DeadLetter { sequence, .. }) => sequence.next(),
                Some(Note::Lost { end, .. }) => end,
                None => return,
            };
            self.floor = self.floor.max(end);
        }
    }
}
