//! How far a partition is in event time, computed so that no single event with a wrong time can move it.
//!
//! The *watermark* is the highest event time that is confirmed. (A window subtracts its `skew` from it.) It
//! depends only on the records, by these rules:
//!
//! - A time at or below the watermark, or at most `max_jump` beyond it, is accepted at once.
//! - A time further ahead is a *jump*, and its event waits. It is confirmed when [`CONFIRMATIONS`] events that
//!   came later, and are jumps too, have times of at least its own minus `max_jump`. Then the watermark moves to
//!   it, and on to other waiting events that follow in steps of at most `max_jump`. If the watermark reaches a
//!   waiting event by small steps, that event is accepted as well.
//! - Only jumps confirm a jump. Otherwise a stream at its usual pace would confirm a wrong time when it comes
//!   near it.
//! - A re-delivery confirms nothing, because it is dropped before it comes here.
//! - At most [`MAX_WAITING`] events wait. If there is one more, the one that is furthest ahead is given up. The
//!   lowest one, which can be confirmed first, stays.
//! - The first [`EARLY`] events confirm each other. Until there are that many, the watermark is the lowest of
//!   them, or the last of those that follow it in steps of at most `max_jump`. So a wrong first event does not
//!   decide, and even a stream of two events has windows. Only in this phase can the watermark go back.
//!
//! For the counts this means: a running window counts each event at once. A sliding window counts a waiting
//! event when it is accepted: in its pane if the window still takes that, else as late. An event that is given
//! up, or never confirmed, is in no sliding window and stays in the result's `future`. So each event is either
//! in a window, or late, or set aside.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// How many later events it takes to confirm a jump.
pub const CONFIRMATIONS: u8 = 3;

/// The most events that may wait.
pub const MAX_WAITING: usize = 16;

/// How many events there must be before a time is confirmed at all.
pub const EARLY: usize = CONFIRMATIONS as usize + 1;

/// The watermark of one partition, and the events that wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    max_jump_ms: i64,
    time_ms: Option<i64>,
    /// In the early phase all events so far; afterwards those ahead of the watermark.
    candidates: Vec<Candidate>,
    is_early: bool,
    given_up: u64,
}

/// An event whose time is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    offset: i64,
    time_ms: i64,
    confirmations: u8,
}

/// What an event did to the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The event's time is accepted, and no other event's place has changed.
    Taken,
    /// The event is a candidate, or others have stopped being candidates; see [`Watermark::place`].
    Rearranged,
}

/// Where a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At or below the watermark, but the watermark may still go back.
    Provisional,
    /// Ahead of the watermark.
    Waiting,
    /// Not a candidate any more: its time is accepted.
    Taken,
    /// Not a candidate any more: it gets no window.
    GivenUp,
}

impl Watermark {
    /// A watermark that has seen no event.
    pub fn new(max_jump_ms: i64) -> Self {
        Self {
            max_jump_ms: max_jump_ms.max(0),
            time_ms: None,
            candidates: Vec::new(),
            is_early: true,
            given_up: 0,
        }
    }

    /// The watermark in milliseconds since 1970, even if it is not confirmed yet; `None` before the first event.
    #[inline]
    pub fn time_ms(&self) -> Option<i64> {
        self.time_ms
    }

    /// The highest confirmed time, in milliseconds since 1970; `None` before there is one.
    #[inline]
    pub fn confirmed_ms(&self) -> Option<i64> {
        self.time_ms.filter(|_| !self.is_early)
    }

    /// Whether no time is confirmed yet, so that the watermark may still go back.
    #[inline]
    pub fn is_early(&self) -> bool {
        self.is_early
    }

    /// How many events wait ahead of the watermark.
    pub fn waiting(&self) -> u64 {
        self.candidates.iter().filter(|candidate| self.is_ahead(candidate.time_ms)).count() as u64
    }

    /// How many events were given up because too many waited.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Where the event of this offset and time, which was a candidate, is now.
    pub fn place(&self, offset: i64, time_ms: i64) -> Place {
        let is_candidate = self.candidates.iter().any(|candidate| candidate.offset == offset);
        match (is_candidate, self.is_ahead(time_ms)) {
            (true, true) => Place::Waiting,
            (true, false) => Place::Provisional,
            (false, false) => Place::Taken,
            (false, true) => Place::GivenUp,
        }
    }

    /// Observes the time of a distinct event; `offset` is that of its record.
    #[inline]
    pub fn observe(&mut self, offset: i64, time_ms: i64) -> Observed {
        if let (false, Some(watermark)) = (self.is_early, self.time_ms)
            && time_ms <= watermark.saturating_add(self.max_jump_ms)
        {
            if time_ms <= watermark {
                return Observed::Taken;
            }
            self.time_ms = Some(time_ms);
            return if self.candidates.is_empty() { Observed::Taken } else { self.rearrange() };
        }
        self.add_candidate(offset, time_ms)
    }

    #[cold]
    fn add_candidate(&mut self, offset: i64, time_ms: i64) -> Observed {
        for candidate in &mut self.candidates {
            let confirms = time_ms >= candidate.time_ms.saturating_sub(self.max_jump_ms);
            candidate.confirmations = candidate.confirmations.saturating_add(u8::from(confirms));
        }
        self.candidates.push(Candidate { offset, time_ms, confirmations: 0 });
        if self.is_early {
            self.time_ms = self.candidates.iter().map(|candidate| candidate.time_ms).min();
            self.follow();
            if self.candidates.len() < EARLY {
                return Observed::Rearranged;
            }
            self.is_early = false;
        }
        let confirmed = self
            .candidates
            .iter()
            .filter(|candidate| candidate.confirmations >= CONFIRMATIONS)
            .map(|candidate| candidate.time_ms);
        self.time_ms = self.time_ms.max(confirmed.max());
        self.follow();
        self.rearrange()
    }

    /// Moves the watermark to a candidate at most `max_jump` ahead of it, from there to the next, and so on.
    fn follow(&mut self) {
        let times = self.candidates.iter().map(|candidate| candidate.time_ms);
        let mut ahead: Vec<i64> = times.filter(|&time_ms| self.is_ahead(time_ms)).collect();
        ahead.sort_unstable();
        for time_ms in ahead {
            let reach = self.time_ms.map(|watermark| watermark.saturating_add(self.max_jump_ms));
            if Some(time_ms) <= reach {
                self.time_ms = Some(time_ms);
            }
        }
    }

    /// Removes the candidates that are not ahead of the watermark, and gives one up if too many are left.
    fn rearrange(&mut self) -> Observed {
        let watermark = self.time_ms;
        self.candidates.retain(|candidate| Some(candidate.time_ms) > watermark);
        if self.candidates.len() > MAX_WAITING {
            // If several have the highest time, `max_by_key` returns the newest of them.
            let furthest =
                self.candidates.iter().enumerate().max_by_key(|(_, furthest)| furthest.time_ms);
            if let Some((furthest, _)) = furthest {
                self.candidates.remove(furthest);
                self.given_up += 1;
            }
        }
        Observed::Rearranged
    }

    fn is_ahead(&self, time_ms: i64) -> bool {
        self.time_ms.is_none_or(|watermark| time_ms > watermark)
    }
}
