//! When the next costly thing may be done.

use std::time::{Duration, Instant};

/// The share of a thread that the paced work may take is one in this many.
const COST_FACTOR: u32 = 10;

/// Paces work that is repeated: at most once an interval, or a fifth of it when there is a reason to
/// be early, and never so often that it takes more than a tenth of the time.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// Start and cost of the last time.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Work that is to be done once an `interval`; the first time at once.
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// How long after `now` the work is due; zero when it is. `early`: there is a reason not to wait
    /// for the whole interval.
    pub fn wait(&self, now: Instant, early: bool) -> Duration {
        let Some((started, cost)) = self.last else { return Duration::ZERO };
        let interval = if early { self.interval / 5 } else { self.interval };
        (started + interval.max(cost * COST_FACTOR)).saturating_duration_since(now)
    }

    /// Whether the work is due at `now`.
    pub fn due(&self, now: Instant, early: bool) -> bool {
        self.wait(now, early).is_zero()
    }

    /// The work was done from `started` until `ended`.
    pub fn done(&mut self, started: Instant, ended: Instant) {
        self.last = Some((started, ended.saturating_duration_since(started)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn cheap_work_is_done_once_an_interval_and_sooner_when_there_is_a_reason() {
        let start = Instant::now();
        let mut pace = Pace::new(100 * MS);
        assert!(pace.due(start, false), "the first time is due at once");
        pace.done(start, start + MS);
        assert_eq!(pace.wait(start + 30 * MS, false), 70 * MS);
        assert!(pace.due(start + 30 * MS, true));
        assert!(!pace.due(start + 19 * MS, true));
        assert!(pace.due(start + 100 * MS, false));
    }

    #[test]
    fn costly_work_takes_a_tenth_of_the_time_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(100 * MS);
        pace.done(start, start + 50 * MS);
        for early in [false, true] {
            assert!(!pace.due(start + 499 * MS, early));
            assert!(pace.due(start + 500 * MS, early));
        }
    }
}
