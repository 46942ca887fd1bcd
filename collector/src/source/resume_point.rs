//! From where a source resumes after an interruption.
//!
//! A feed that resumes by event time is asked for everything from a time on. That time is the lowest of the
//! last [`RECENT`] event times that were logged, where a time that repeats the one before it is not counted
//! again. So neither one event with a wrong time nor events out of order make the collector ask for too
//! little. Asking for too much only means that some events come twice. A time that is later than the moment
//! at which it was received counts as that moment.
//!
//! For a feed that cannot resume, the cursor is the time at which its last message was received, which is
//! where a gap begins.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::Resume;
use crate::intake::Cursor;

/// How many wrong event times in a row it takes to move the cursor to a wrong place.
const RECENT: usize = 8;

/// Where one source resumes, computed from its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumePoint {
    /// The last different event times, oldest first.
    EventTime(VecDeque<i64>),
    /// When the last message was received.
    Received(i64),
}

impl ResumePoint {
    /// Continues from a stored cursor.
    pub fn new(resume: &Resume, stored: Option<&Cursor>) -> Self {
        // A source that has sent nothing yet begins at 0.
        let stored = stored.and_then(|cursor| (&*cursor.0).try_into().ok());
        let stored = stored.map_or(0, i64::from_be_bytes);
        match resume {
            Resume::Query(_) => Self::EventTime(VecDeque::from([stored.max(0); RECENT])),
            Resume::None => Self::Received(stored),
        }
    }

    /// Takes in a message that is about to be pushed.
    pub fn observe(&mut self, received_ms: i64, time_ms: Option<i64>) {
        match (self, time_ms) {
            (Self::EventTime(recent), Some(time)) => {
                let time = time.clamp(0, received_ms.max(0));
                if recent.back() != Some(&time) {
                    recent.pop_front();
                    recent.push_back(time);
                }
            }
            (Self::EventTime(_), None) => {}
            (Self::Received(last), _) => *last = received_ms,
        }
    }

    /// The cursor that is stored: the position as a big-endian i64.
    pub fn cursor(&self) -> Cursor {
        Cursor(Bytes::copy_from_slice(&self.position().to_be_bytes()))
    }

    /// Its value, in milliseconds since 1970.
    pub fn position(&self) -> i64 {
        match self {
            Self::EventTime(recent) => recent.iter().min().copied().unwrap_or_default(),
            Self::Received(last) => *last,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn stored(position: i64) -> Cursor {
        Cursor(Bytes::copy_from_slice(&position.to_be_bytes()))
    }

    fn by_time(position: i64) -> ResumePoint {
        ResumePoint::new(&Resume::Query("since".to_owned()), Some(&stored(position)))
    }

    #[test]
    fn it_continues_from_its_own_cursor_and_begins_at_0() {
        let resume = Resume::Query("since".to_owned());
        for (cursor, position) in [(None, 0), (Some(Cursor::default()), 0), (Some(stored(7)), 7)] {
            let point = ResumePoint::new(&resume, cursor.as_ref());
            assert_eq!((point.position(), point.cursor()), (position, stored(position)));
        }
    }

    #[test]
    fn it_follows_the_events_that_are_logged() {
        let mut cursor = by_time(0);
        for time in 1..=RECENT as i64 {
            assert_eq!(cursor.position(), 0, "a few events do not move it yet");
            cursor.observe(NOW, Some(time));
        }
        assert_eq!(cursor.position(), 1);
        cursor.observe(NOW, None);
        cursor.observe(NOW, Some(100));
        assert_eq!(cursor.position(), 2);
    }

    #[test]
    fn a_feed_that_cannot_resume_has_the_time_of_its_last_message() {
        let mut cursor = ResumePoint::new(&Resume::None, Some(&stored(5)));
        assert_eq!(cursor.position(), 5);
        cursor.observe(NOW, Some(i64::MAX));
        assert_eq!(cursor.position(), NOW);
    }

    proptest! {
        #[test]
        fn one_event_never_makes_it_ask_for_too_little(
            position in 0..100_i64, before in prop::collection::vec(0..1000_i64, 0..20), copies in 1..9_usize,
            wrong in any::<i64>(), after in prop::collection::vec(0..1000_i64, 0..20),
        ) {
            let mut cursor = by_time(position);
            let mut highest = position;
            for &time in &before {
                cursor.observe(NOW, Some(time));
                highest = highest.max(time);
            }
            for _ in 0..copies {
                cursor.observe(NOW, Some(wrong));
                prop_assert!((0..=highest).contains(&cursor.position()));
            }
            for &time in &after {
                cursor.observe(NOW, Some(time));
                highest = highest.max(time);
                prop_assert!((0..=highest).contains(&cursor.position()));
            }
        }

        #[test]
        fn it_is_never_ahead_of_the_clock(times in prop::collection::vec(any::<i64>(), 0..30), now in 0..NOW) {
            let mut cursor = by_time(0);
            for time in times {
                cursor.observe(now, Some(time));
                prop_assert!((0..=now).contains(&cursor.position()));
            }
        }
    }
}
