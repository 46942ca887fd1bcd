//! From where a source resumes after an interruption.
//!
//! A feed that resumes by event time is asked for everything from a time on. That time is the lowest of the
//! last [`RECENT`] event times that were logged, where a time that repeats the one before it is not counted
//! again. So neither one event with a wrong time nor events out of order make the collector ask for too
//! little. Asking for too much only means that some events come twice. A time that is later than the moment
//! at which it was received counts as that moment.
//!
//! For a feed that cannot resume, the cursor is the time at which its last message was received, which is
//! where a gap begins. For a feed that gives cursors of its own, it is that time and what the feed gave last.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::config::Resume;
use crate::cursor::Cursor;

/// How many wrong event times in a row it takes to move the cursor to a wrong place.
const RECENT: usize = 8;

/// From where the feed is asked to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Where the configured address says.
    AsConfigured,
    /// At this event time, in milliseconds since 1970.
    At(i64),
    /// After the frame with this cursor.
    After(Bytes),
    /// At the present.
    Now,
}

/// For the log, which shows no cursors: a feed may give them like passwords.
impl fmt::Display for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsConfigured => f.write_str("as configured"),
            Self::At(time_ms) => write!(f, "at {time_ms}"),
            Self::After(cursor) => write!(f, "after a cursor of {} bytes", cursor.len()),
            Self::Now => f.write_str("now"),
        }
    }
}

/// Where one source resumes, computed from its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumePoint {
    /// The last different event times, oldest first.
    EventTime(VecDeque<i64>),
    /// When the last message was received.
    Received(i64),
    /// When the last message was received, and the last cursor that the feed gave; empty if it has given none.
    Given(i64, Bytes),
}

impl ResumePoint {
    /// Continues from a stored cursor.
    pub fn new(resume: &Resume, stored: Option<&Cursor>) -> Self {
        let stored = stored.map_or(&[][..], |cursor| &cursor.0);
        let (position, given) = stored.split_first_chunk().unwrap_or((&[0; 8], &[]));
        // A source that has sent nothing yet begins at 0.
        let position = i64::from_be_bytes(*position);
        match resume {
            Resume::Query(_) | Resume::QueryIn(..) => {
                Self::EventTime(VecDeque::from([position.max(0); RECENT]))
            }
            Resume::None => Self::Received(position),
            Resume::LastEventId | Resume::Answer(..) | Resume::Highest(..) => {
                Self::Given(position, Bytes::copy_from_slice(given))
            }
        }
    }

    /// Takes in a message that is about to be pushed. `given` is the cursor that the feed gave with it.
    pub fn observe(&mut self, received_ms: i64, time_ms: Option<i64>, given: Option<Bytes>) {
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
            (Self::Given(last, cursor), _) => {
                *last = received_ms;
                if let Some(given) = given {
                    *cursor = given;
                }
            }
        }
    }

    /// From where the feed is asked to begin; [`Begin::Now`] if it cannot be asked for what was missed.
    pub fn begin(&self) -> Begin {
        match self {
            Self::EventTime(_) => Begin::At(self.position()),
            Self::Given(_, cursor) if !cursor.is_empty() => Begin::After(cursor.clone()),
            Self::Received(_) | Self::Given(..) => Begin::Now,
        }
    }

    /// Whether messages since `earlier` have moved it on.
    pub fn is_after(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Given(_, cursor), Self::Given(_, earlier)) => cursor != earlier,
            _ => self.position() > earlier.position(),
        }
    }

    /// The cursor that is stored: the position as a big-endian i64, and what the feed gave.
    pub fn cursor(&self) -> Cursor {
        let position = self.position().to_be_bytes();
        match self {
            Self::Given(_, cursor) => Cursor([&position, &cursor[..]].concat().into()),
            Self::EventTime(_) | Self::Received(_) => Cursor(Bytes::copy_from_slice(&position)),
        }
    }

    /// Its value, in milliseconds since 1970.
    pub fn position(&self) -> i64 {
        match self {
            Self::EventTime(recent) => recent.iter().min().copied().unwrap_or_default(),
            Self::Received(last) | Self::Given(last, _) => *last,
        }
    }

    /// When the last message was received, in milliseconds since 1970, if that is known.
    pub fn received_ms(&self) -> Option<i64> {
        match self {
            Self::EventTime(_) => None,
            Self::Received(last) | Self::Given(last, _) => Some(*last).filter(|&last| last > 0),
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
            cursor.observe(NOW, Some(time), None);
        }
        assert_eq!(cursor.position(), 1);
        cursor.observe(NOW, None, None);
        cursor.observe(NOW, Some(100), None);
        assert_eq!(cursor.position(), 2);
    }

    #[test]
    fn a_feed_that_cannot_resume_has_the_time_of_its_last_message() {
        let mut cursor = ResumePoint::new(&Resume::None, Some(&stored(5)));
        assert_eq!(cursor.position(), 5);
        cursor.observe(NOW, Some(i64::MAX), None);
        assert_eq!(cursor.position(), NOW);
    }

    #[test]
    fn a_feed_that_gives_cursors_has_the_last_one_that_it_gave() {
        let new = |stored: Option<&Cursor>| ResumePoint::new(&Resume::LastEventId, stored);
        let mut point = new(None);
        assert_eq!(point.begin(), Begin::Now, "it has given none");
        point.observe(NOW, None, Some("a-1".into()));
        point.observe(NOW + 1, None, None);
        let continued = new(Some(&point.cursor()));
        assert_eq!(
            (continued.begin(), continued.position()),
            (Begin::After("a-1".into()), NOW + 1)
        );
        assert!(!continued.is_after(&point));
        point.observe(NOW, None, Some("a-2".into()));
        assert!(point.is_after(&continued));
        point.observe(NOW, None, Some(Bytes::new()));
        assert_eq!(point.begin(), Begin::Now, "it has taken it back");
    }

    #[test]
    fn a_cursor_of_a_feed_is_not_shown() {
        let shown = Begin::After("s3cret".into()).to_string();
        assert_eq!(shown, "after a cursor of 6 bytes");
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
                cursor.observe(NOW, Some(time), None);
                highest = highest.max(time);
            }
            for _ in 0..copies {
                cursor.observe(NOW, Some(wrong), None);
                prop_assert!((0..=highest).contains(&cursor.position()));
            }
            for &time in &after {
                cursor.observe(NOW, Some(time), None);
                highest = highest.max(time);
                prop_assert!((0..=highest).contains(&cursor.position()));
            }
        }

        #[test]
        fn it_is_never_ahead_of_the_clock(times in prop::collection::vec(any::<i64>(), 0..30), now in 0..NOW) {
            let mut cursor = by_time(0);
            for time in times {
                cursor.observe(now, Some(time), None);
                prop_assert!((0..=now).contains(&cursor.position()));
            }
        }
    }
}
