//! What collectors know to be missing of their sources, in control records, partials and results.
//!
//! An interval is told once by the collector that noticed it, see [`control`](crate::event::control). The numbers are those of
//! the whole log, whatever the window of a query.

use serde::{Deserialize, Serialize};

/// How many intervals are told one by one: the newest.
pub const LAST: usize = 8;
/// The longest name of a source that is kept, in bytes; of a longer one the beginning is kept.
const SOURCE_BYTES: usize = 64;

/// What collectors know to be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Intervals of which a source has sent messages that did not come: nobody knows how many.
    pub gaps: u64,
    /// Messages that came and were dropped because there was no room; datagrams that the kernel dropped are among them.
    pub dropped: u64,
    /// Messages that came and were dropped by load shedding, as configured.
    pub shed: u64,
    /// Messages that came and that `keep` leaves out, as configured.
    pub filtered: u64,
    /// The newest intervals of the first three kinds, at most [`LAST`], in order of their ends.
    pub last: Vec<Interval>,
}

/// An interval of which messages of a source are missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// When the last message came that is not missing, or the first that is; in milliseconds since 1970 by the collector's
    /// clock. `None` if the collector does not know.
    pub from_ms: Option<i64>,
    /// When the first message came that is not missing any more, or the last that is.
    pub to_ms: i64,
    /// The source's name.
    pub source: String,
    /// Why they are missing.
    pub cause: Cause,
    /// How many are missing, if the collector knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
}

/// Why messages of a source are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The source sent them while nobody listened, and cannot be asked again.
    Gap,
    /// There was no room for them.
    Dropped,
    /// Load shedding took them.
    Shed,
    /// `keep` leaves them out.
    Filtered,
    /// A cause that this version does not know.
    #[serde(other)]
    Other,
}

impl Missed {
    /// Whether nothing is known to be missing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds an interval that is not in it yet.
    pub fn add(&mut self, mut interval: Interval) {
        let events = interval.events.unwrap_or_default();
        match interval.cause {
            Cause::Gap => self.gaps = self.gaps.saturating_add(1),
            Cause::Dropped => self.dropped = self.dropped.saturating_add(events),
            Cause::Shed => self.shed = self.shed.saturating_add(events),
            Cause::Filtered => {
                self.filtered = self.filtered.saturating_add(events);
                return;
            }
            Cause::Other => {}
        }
        let end = interval.source.floor_char_boundary(SOURCE_BYTES);
        interval.source.truncate(end);
        self.last.push(interval);
        self.keep_last();
    }

    /// Adds what another partition knows.
    pub fn absorb(&mut self, other: &Self) {
        let Self { gaps, dropped, shed, filtered, last } = other;
        self.gaps = self.gaps.saturating_add(*gaps);
        self.dropped = self.dropped.saturating_add(*dropped);
        self.shed = self.shed.saturating_add(*shed);
        self.filtered = self.filtered.saturating_add(*filtered);
        self.last.extend_from_slice(last);
        self.keep_last();
    }

    fn keep_last(&mut self) {
        self.last.sort_unstable_by(|a, b| (a.to_ms, a).cmp(&(b.to_ms, b)));
        self.last.drain(..self.last.len().saturating_sub(LAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(to_ms: i64, cause: Cause, events: Option<u64>) -> Interval {
        Interval { source: "orders".to_owned(), cause, from_ms: Some(to_ms - 5), to_ms, events }
    }

    #[test]
    fn the_newest_intervals_are_told_one_by_one_and_all_are_counted() {
        let mut missed = Missed::default();
        for to_ms in (0..20).rev() {
            missed.add(interval(to_ms, Cause::Gap, None));
        }
        missed.add(interval(7, Cause::Shed, Some(30)));
        missed.add(interval(100, Cause::Filtered, Some(1_000)));
        missed.add(interval(19, Cause::Dropped, Some(2)));
        let ends: Vec<_> = missed.last.iter().map(|interval| interval.to_ms).collect();
        assert_eq!(ends, [13, 14, 15, 16, 17, 18, 19, 19]);
        let Missed { gaps, dropped, shed, filtered, .. } = missed;
        assert_eq!((gaps, dropped, shed, filtered), (20, 2, 30, 1_000));
    }

    #[test]
    fn what_partitions_know_adds_up_in_any_order() {
        let parts: Vec<Missed> = (0..5)
            .map(|part| {
                let mut missed = Missed::default();
                (0..6).for_each(|n| missed.add(interval(part + 7 * n, Cause::Shed, Some(1))));
                missed
            })
            .collect();
        let sum = |parts: &mut dyn Iterator<Item = &Missed>| {
            let mut sum = Missed::default();
            parts.for_each(|part| sum.absorb(part));
            sum
        };
        let forwards = sum(&mut parts.iter());
        assert_eq!(forwards, sum(&mut parts.iter().rev()));
        assert_eq!((forwards.shed, forwards.last.len()), (30, LAST));
    }

    #[test]
    fn a_cause_that_is_not_known_is_shown_and_counts_as_nothing() {
        let text = r#"{"from_ms":null,"to_ms":5,"source":"a","cause":"eclipse"}"#;
        let interval: Interval = serde_json::from_str(text).unwrap();
        let mut missed = Missed::default();
        missed.add(interval.clone());
        assert_eq!(missed, Missed { last: vec![interval], ..Missed::default() });
        assert!(!missed.is_none());
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let mut missed = Missed::default();
        missed.add(Interval { source: "€".repeat(50), ..interval(1, Cause::Gap, None) });
        assert_eq!(missed.last[0].source, "€".repeat(21));
    }
}
