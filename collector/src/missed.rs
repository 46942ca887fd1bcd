//! What is missing of a source, on its way into the log, where it becomes [control records](common::event::control).
//!
//! The source tells it, and the journal takes it after the messages that it takes. So what is told before a message is pushed
//! is in the log no later than that message, and a kill cannot take the one without the other. A gap is written at once,
//! numbers of messages at most once a [`PERIOD_MS`], those that `keep` leaves out every [`FILTERED_PERIOD_MS`], and all of them once
//! a minute while the log is full: a kill can take the numbers of that long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::Clock;
use common::result::missed::{Cause, Interval};
use tokio::sync::Notify;

use crate::ledger::LeftOut;
use crate::metrics::SourceMetrics;

/// How long numbers of messages are summed up before they are written, and those of messages that the configuration leaves out.
const PERIOD_MS: i64 = 1_000;
const FILTERED_PERIOD_MS: i64 = 10_000;
/// How many gaps may wait for the log; further ones widen the last.
const MAX_GAPS: usize = 64;

/// What is missing of one source and not written yet. Clones are the same.
#[derive(Debug, Clone)]
pub struct Missed {
    source: Arc<str>,
    metrics: SourceMetrics,
    clock: Clock,
    told: Arc<Told>,
    journal: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Told {
    notes: Mutex<Notes>,
    /// Whether there are any, so that the journal need not lock them.
    is_some: AtomicBool,
}

#[derive(Debug, Default)]
struct Notes {
    gaps: Vec<Interval>,
    counts: BTreeMap<LeftOut, Count>,
    /// Whether nothing waits for its period to end.
    is_urgent: bool,
}

/// Messages that were left out for one reason.
#[derive(Debug)]
struct Count {
    from_ms: i64,
    to_ms: i64,
    events: u64,
}

impl Missed {
    /// `journal` is notified when something is to be written.
    pub fn of(
        source: &Arc<str>,
        metrics: SourceMetrics,
        clock: Clock,
        journal: Arc<Notify>,
    ) -> Self {
        Self { source: Arc::clone(source), metrics, clock, told: Arc::default(), journal }
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The source has sent messages that did not come, between the last one before, if it is known when that came, and now.
    /// `events` says how many, if that is known. Counts it, and logs it.
    pub fn gap(&self, from_ms: Option<i64>, events: Option<u64>, why: &str) {
        self.gap_until(self.clock.now_ms(), from_ms, events, why);
    }

    fn gap_until(&self, to_ms: i64, from_ms: Option<i64>, events: Option<u64>, why: &str) {
        let length_ms = from_ms.map(|from_ms| to_ms.saturating_sub(from_ms).max(0));
        self.metrics.gaps.inc();
        self.metrics.gap_ms.inc_by(length_ms.unwrap_or_default().unsigned_abs());
        let source = &*self.source;
        tracing::warn!(
            source,
            from_ms,
            to_ms,
            length_ms,
            events,
            why,
            "gap: messages that came in between are missing"
        );
        let mut notes = self.notes();
        let is_full = notes.gaps.len() == MAX_GAPS;
        match notes.gaps.last_mut() {
            Some(last) if is_full => {
                last.to_ms = to_ms;
                last.events = None;
            }
            _ => notes.gaps.push(self.interval(Cause::Gap, from_ms, to_ms, events)),
        }
        self.told.is_some.store(true, Ordering::Release);
        drop(notes);
        self.journal.notify_one();
    }

    /// So many messages came at `now_ms` and do not come into the log. Enters them in the ledger.
    pub fn leave_out(&self, why: LeftOut, now_ms: i64, messages: u64) {
        self.metrics.leave_out(why, messages);
        self.note(why, now_ms, messages);
    }

    /// The same of messages that were never taken from the source.
    pub fn note(&self, why: LeftOut, now_ms: i64, messages: u64) {
        let mut notes = self.notes();
        let new = Count { from_ms: now_ms, to_ms: now_ms, events: 0 };
        let count = notes.counts.entry(why).or_insert(new);
        count.to_ms = now_ms.max(count.to_ms);
        count.events += messages;
        self.told.is_some.store(true, Ordering::Release);
    }

    /// Numbers of messages are to be written at once.
    pub fn hurry(&self) {
        self.notes().is_urgent = true;
        self.journal.notify_one();
    }

    /// Takes what is to be written at `now_ms`; all that there is if `is_last`.
    pub fn take(&self, now_ms: i64, is_last: bool) -> Vec<Interval> {
        if !self.told.is_some.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut notes = self.notes();
        let mut taken = std::mem::take(&mut notes.gaps);
        let is_last = is_last || std::mem::take(&mut notes.is_urgent);
        let is_due = |why: &LeftOut, count: &mut Count| {
            let period_ms = match why {
                LeftOut::Dropped | LeftOut::Shed => PERIOD_MS,
                LeftOut::Filtered => FILTERED_PERIOD_MS,
            };
            // Also when the clock was set back.
            is_last || now_ms.abs_diff(count.from_ms) >= period_ms.unsigned_abs()
        };
        taken.extend(notes.counts.extract_if(.., is_due).map(|(why, count)| {
            let Count { from_ms, to_ms, events } = count;
            self.interval(why.into(), Some(from_ms), to_ms, Some(events))
        }));
        self.told.is_some.store(!notes.counts.is_empty(), Ordering::Release);
        taken
    }

    fn interval(
        &self,
        cause: Cause,
        from_ms: Option<i64>,
        to_ms: i64,
        events: Option<u64>,
    ) -> Interval {
        Interval { from_ms, to_ms, source: self.source.to_string(), cause, events }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.told.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::metrics::Metrics;

    fn missed() -> Missed {
        let metrics = Metrics::new(&Registry::new()).unwrap().of_source("orders");
        Missed::of(&"orders".into(), metrics, Clock::default(), Arc::default())
    }

    fn told(taken: &[Interval]) -> Vec<(Cause, Option<i64>, i64, Option<u64>)> {
        assert!(taken.iter().all(|interval| interval.source == "orders"));
        let parts = |of: &Interval| (of.cause, of.from_ms, of.to_ms, of.events);
        taken.iter().map(parts).collect()
    }

    #[tokio::test]
    async fn a_gap_is_written_at_once_and_wakes_the_journal() {
        let missed = missed();
        assert_eq!(missed.take(0, true), []);
        missed.gap_until(5, None, None, "the feed is new");
        missed.gap_until(17, Some(10), Some(3), "it was away");
        missed.journal.notified().await;
        let gaps = [(Cause::Gap, None, 5, None), (Cause::Gap, Some(10), 17, Some(3))];
        assert_eq!(told(&missed.take(0, false)), gaps);
        assert_eq!(missed.take(0, true), []);
        assert_eq!((missed.metrics.gaps.get(), missed.metrics.gap_ms.get()), (2, 7));
    }

    #[test]
    fn numbers_are_summed_up_and_written_once_a_period() {
        let missed = missed();
        for now_ms in 0..PERIOD_MS {
            missed.leave_out(LeftOut::Shed, now_ms, 2);
            missed.leave_out(LeftOut::Filtered, now_ms, 1);
            assert_eq!(missed.take(now_ms, false), []);
        }
        let shed = (Cause::Shed, Some(0), PERIOD_MS - 1, Some(2 * PERIOD_MS.unsigned_abs()));
        assert_eq!(told(&missed.take(PERIOD_MS, false)), [shed]);
        assert_eq!(missed.take(FILTERED_PERIOD_MS - 1, false), []);
        let filtered = (Cause::Filtered, Some(0), PERIOD_MS - 1, Some(PERIOD_MS.unsigned_abs()));
        assert_eq!(told(&missed.take(FILTERED_PERIOD_MS, false)), [filtered]);
        missed.leave_out(LeftOut::Dropped, 7, 1);
        assert_eq!(told(&missed.take(7, true)), [(Cause::Dropped, Some(7), 7, Some(1))]);
    }

    #[test]
    fn gaps_that_the_log_cannot_take_are_bounded() {
        let missed = missed();
        for at_ms in 0..1_000 {
            missed.gap_until(at_ms + 1, Some(at_ms), None, "it is away all the time");
        }
        let taken = missed.take(0, false);
        assert_eq!(taken.len(), MAX_GAPS);
        assert_eq!(taken.last().map(|last| last.to_ms), Some(1_000));
        assert_eq!(missed.metrics.gaps.get(), 1_000);
    }
}
