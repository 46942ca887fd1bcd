//! What became of the entries of one log. Pure: does no I/O.
//!
//! This collector has one book of its own log, which its threads write, and one of every other log that it has heard of, which
//! is written from the topic. So both give the same answers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use common::event::Reason;
use common::message_log::{Recovered, Sequence};

use super::fate::{Fate, Span, State};
use super::record::{Note, Text, Watermark};

/// How many dead letters of a source are remembered.
pub(super) const DEAD_LETTERS: usize = 16 * 1024;
/// How many ranges of lost entries are remembered. There is one only when a disk was damaged.
pub(super) const LOST: usize = 1024;
/// How many dead letters of a request are listed.
pub(super) const LISTED: usize = 100;
/// How many ranges of entries that are kept apart a watermark names.
pub(super) const ASIDE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Everything before is in Kafka, or in `aside`.
    low: Sequence,
    /// Entries that wait for Kafka outside of the groups: ranges, from the first one to the last one.
    aside: BTreeMap<Sequence, Sequence>,
    /// By the sources that ask for them.
    dead_letters: HashMap<Arc<str>, DeadLetters>,
    /// Ranges, without their ends, that could not be read or were evicted.
    lost: VecDeque<(Sequence, Sequence)>,
    /// Those before may be forgotten.
    lost_since: Sequence,
}

/// The dead letters of a source.
#[derive(Debug, Default)]
struct DeadLetters {
    reasons: BTreeMap<Sequence, Reason>,
    /// Those before may be forgotten.
    since: Sequence,
}

impl Book {
    /// Begins with what a log holds.
    pub(super) fn begin(&mut self, found: &Recovered) {
        self.low = found.settled.low();
        let aside = found.deferred.iter().chain(&found.failed);
        self.aside = aside.map(|&sequence| (sequence, sequence)).collect();
        let since = found.settled.high();
        self.lost_since = since;
        for letters in self.dead_letters.values_mut() {
            letters.since = since;
        }
    }

    /// Remembers the dead letters of this source, from `since` on.
    pub(super) fn follow(&mut self, source: &Arc<str>, since: Sequence) {
        let letters = DeadLetters { since, ..DeadLetters::default() };
        self.dead_letters.insert(Arc::clone(source), letters);
    }

    /// Whether the dead letters of this source are remembered.
    pub(super) fn follows(&self, source: &str) -> bool {
        self.dead_letters.contains_key(source)
    }

    /// Whether there is such a source.
    pub(super) fn follows_any(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Everything before `low` is settled. Returns whether that is new.
    pub(super) fn settled_before(&mut self, low: Sequence) -> bool {
        let is_new = self.low < low;
        self.low = self.low.max(low);
        is_new
    }

    /// This entry waits for Kafka outside of the groups.
    pub(super) fn put_aside(&mut self, sequence: Sequence) {
        self.aside.insert(sequence, sequence);
    }

    /// This entry does so no more. Returns whether it did.
    pub(super) fn taken_back(&mut self, sequence: Sequence) -> bool {
        self.aside.remove(&sequence).is_some()
    }

    /// This entry of a source is a dead letter in Kafka; without a reason, for one that is not known here. Returns whether that
    /// is new.
    pub(super) fn dead_letter(
        &mut self,
        source: &Arc<str>,
        sequence: Sequence,
        reason: Option<Reason>,
    ) -> bool {
        let letters = self.dead_letters.entry(Arc::clone(source)).or_default();
        let Some(reason) = reason else {
            letters.forget(sequence);
            return false;
        };
        let is_new = letters.reasons.insert(sequence, reason).is_none();
        if letters.reasons.len() > DEAD_LETTERS
            && let Some((forgotten, _)) = letters.reasons.pop_first()
        {
            letters.forget(forgotten);
        }
        is_new
    }

    /// Forgets this dead letter.
    pub(super) fn forget(&mut self, source: &str, sequence: Sequence) {
        if let Some(letters) = self.dead_letters.get_mut(source)
            && letters.reasons.remove(&sequence).is_some()
        {
            letters.forget(sequence);
        }
    }

    /// The entries from `start` up to `end` are lost. Returns whether that is new.
    pub(super) fn lost(&mut self, start: Sequence, end: Sequence) -> bool {
        if self.lost.iter().any(|&(from, to)| from <= start && end <= to) {
            return false;
        }
        if let Some((_, last)) = self.lost.back_mut().filter(|(_, last)| *last == start) {
            *last = end;
            return true;
        }
        if self.lost.len() == LOST
            && let Some((_, forgotten)) = self.lost.pop_front()
        {
            self.lost_since = self.lost_since.max(forgotten);
        }
        self.lost.push_back((start, end));
        true
    }

    /// What became of these entries of a source, in the log `instance`.
    pub(super) fn fate(&self, instance: &str, source: &str, span: Span) -> Fate {
        let letters = self.dead_letters.get(source);
        let found = letters.into_iter().flat_map(|of| of.reasons.range(span.first..=span.last));
        let mut found = found.map(|(sequence, reason)| (format!("{instance}:{sequence}"), *reason));
        let dead_letters = found.by_ref().take(LISTED).collect();
        let is_listed = found.next().is_none();
        let is_known = self.lost_since <= span.first
            && letters.is_some_and(|letters| letters.since <= span.first);
        let is_complete = is_listed && is_known;
        Fate { state: self.state(span), dead_letters, is_complete, as_of_ms: None }
    }

    pub(super) fn state(&self, span: Span) -> State {
        let is_aside = |span: Span| {
            let before = self.aside.range(..=span.last).next_back();
            before.is_some_and(|(_, last)| span.first <= *last)
        };
        // First, because what is lost is settled as well.
        if self.lost.iter().any(|&(from, to)| from <= span.last && span.first < to) {
            State::Lost
        } else if span.last < self.low && !is_aside(span) {
            State::InKafka
        } else {
            State::Logged
        }
    }

    /// What others are told besides the notes, of which some before `floor` may be missing.
    pub(super) fn watermark(&self, floor: Sequence) -> Watermark {
        let mut aside: Vec<Text<Span>> = Vec::new();
        let mut before = self.low;
        for (&first, &last) in self.aside.range(..self.low) {
            if let Some(Text(range)) = aside.last_mut().filter(|range| range.0.last.next() == first)
            {
                range.last = last;
            } else if aside.len() < ASIDE {
                aside.push(Text(Span { first, last }));
            } else {
                before = first;
                break;
            }
        }
        let since = |letters: &DeadLetters| Text(letters.since.max(floor));
        let dead_letters =
            self.dead_letters.iter().map(|(source, of)| (source.to_string(), since(of)));
        Watermark {
            before: Text(before),
            aside,
            lost_since: Text(self.lost_since.max(floor)),
            dead_letters_since: dead_letters.collect(),
        }
    }

    /// Takes in what another collector says.
    pub(super) fn take(&mut self, watermark: &Watermark) {
        self.low = watermark.before.0;
        self.aside = watermark.aside.iter().map(|range| (range.0.first, range.0.last)).collect();
        self.lost_since = self.lost_since.max(watermark.lost_since.0);
        self.dead_letters.retain(|source, _| watermark.dead_letters_since.contains_key(&**source));
        for (source, Text(since)) in &watermark.dead_letters_since {
            let letters = self.dead_letters.entry(source.as_str().into()).or_default();
            letters.since = letters.since.max(*since);
        }
    }

    /// Takes in a note of another collector. Returns whether that is new.
    pub(super) fn note(&mut self, note: &Note) -> bool {
        match note {
            Note::DeadLetter { sequence, source, reason } => {
                self.dead_letter(source, *sequence, *reason)
            }
            Note::Lost { start, end } => self.lost(*start, *end),
        }
    }
}

impl DeadLetters {
    /// This one is not remembered.
    fn forget(&mut self, sequence: Sequence) {
        self.since = self.since.max(sequence.next());
    }
}
