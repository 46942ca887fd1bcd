//! How far a partition is in event time, such that no single event steers it.
//!
//! The *watermark* is the highest event time that is confirmed; a window's `skew` is subtracted from it by
//! the window. It only needs the records:
//!
//! - A time at or below the watermark, or at most `max_jump` beyond it, is taken at once.
//! - A time further ahead is a *jump*. Its event waits until [`CONFIRMATIONS`] other events, which came
//!   later and are jumps too, lie at or beyond it minus `max_jump`: then the watermark goes there, and other
//!   waiting events within `max_jump` of it follow. If the watermark comes to a waiting event by small
//!   steps, that event is taken as well.
//! - Only jumps confirm a jump. A stream that runs on at its usual pace comes near any wrong time in the
//!   end, and would confirm it.
//! - A re-delivery confirms nothing: it is dropped before it comes here.
//! - At most [`MAX_WAITING`] events wait. If one more comes, the one that is furthest ahead is given up; so
//!   the lowest, which is the next to be confirmed, stays.
//! - The first [`EARLY`] events confirm each other. Until there are so many, the lowest of them serves, with
//!   those that follow it in steps of at most `max_jump`: a wrong first event steers nothing, and a stream
//!   of two events has its windows. Only in this time does the watermark go back.
//!
//! What that means for counts: a running window counts each event at once. A sliding window counts a waiting
//! event from the moment on at which it is taken, if its time is still in the window then, else as late. One
//! that is given up, or is never confirmed, is in no sliding window; it stays in the result's `future`. So
//! each event is in a window, late, or set aside, and never two of these.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// How many further events confirm a jump.
pub const CONFIRMATIONS: u8 = 3;

/// The most events that wait.
pub const MAX_WAITING: usize = 16;

/// How many events it takes until the first time is confirmed.
pub const EARLY: usize = CONFIRMATIONS as usize + 1;

/// The watermark of one partition, and the events that wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    max_jump_ms: i64,
    time_ms: Option<i64>,
    /// While early: all events so far. Afterwards: those ahead of the watermark.
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
    /// The event's time is taken, and it stands alone: no other event's place has changed.
    Taken,
    /// The event is a candidate, or others have stopped being candidates; see [`Watermark::place`].
    Rearranged,
}

/// Where a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In its window, and that is not certain yet.
    Provisional,
    /// Ahead of the watermark.
    Waiting,
    /// No candidate any more: its time is taken.
    Taken,
    /// No candidate any more: it gets no window.
    GivenUp,
}

impl Watermark {
    /// No event yet.
    pub fn new(max_jump_ms: i64) -> Self {
        Self {
            max_jump_ms: max_jump_ms.max(0),
            time_ms: None,
            candidates: Vec::new(),
            is_early: true,
            given_up: 0,
        }
    }

    /// The highest confirmed time; before one is confirmed, the highest that serves for the time being.
    #[inline]
    pub fn time_ms(&self) -> Option<i64> {
        self.time_ms
    }

    /// The highest confirmed time; `None` before there is one.
    #[inline]
    pub fn confirmed_ms(&self) -> Option<i64> {
        self.time_ms.filter(|_| !self.is_early)
    }

    /// Whether no time is confirmed yet, so that the watermark may still go back.
    #[inline]
    pub fn is_early(&self) -> bool {
        self.is_early
    }

    /// How many events are ahead of the watermark, waiting.
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

    /// Takes in the time of a distinct event; `offset` is that of its record.
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

    /// Candidates within a small step follow at once, and others within a small step of those.
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

    /// Only what is ahead of the watermark goes on waiting.
    fn rearrange(&mut self) -> Observed {
        let watermark = self.time_ms;
        self.candidates.retain(|candidate| Some(candidate.time_ms) > watermark);
        if self.candidates.len() > MAX_WAITING {
            // Of equal times the newest goes.
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
