//! When work that is repeated is due again.

use std::time::{Duration, Instant};

/// The share of a thread that the paced work may take is one in this many.
const COST_FACTOR: u32 = 10;

/// Paces work that is repeated: once an interval, sooner when nothing new has come for a fifth of it,
/// and never so often that it takes more than a tenth of the time.
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

    /// How long after `now` the work is due; zero when it is due now. `news`: when the last of what it is
    /// about has come; after a lull, waiting longer would gather nothing.
    pub fn time_until_due(&self, now: Instant, news: Instant) -> Duration {
        let Some((started, cost)) = self.last else { return Duration::ZERO };
        let lull = (started + self.shortest()).max(news + self.shortest());
        let due = lull.min(started + self.interval).max(started + cost * COST_FACTOR);
        due.saturating_duration_since(now)
    }

    /// A fifth of the interval: the shortest time between two times, however urgent.
    pub fn shortest(&self) -> Duration {
        self.interval / 5
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
    fn while_news_keep_coming_cheap_work_is_done_once_an_interval() {
        let start = Instant::now();
        let mut pace = Pace::new(100 * MS);
        assert_eq!(
            pace.time_until_due(start, start),
            Duration::ZERO,
            "the first time is due at once"
        );
        pace.done(start, start + MS);
        for now in [30, 60, 99] {
            let now = start + now * MS;
            assert!(!pace.time_until_due(now, now - MS).is_zero());
        }
        assert!(pace.time_until_due(start + 100 * MS, start + 100 * MS).is_zero());
    }

    #[test]
    fn after_a_lull_it_is_done_sooner() {
        let start = Instant::now();
        let mut pace = Pace::new(100 * MS);
        pace.done(start, start + MS);
        assert_eq!(pace.time_until_due(start + 35 * MS, start + 30 * MS), 15 * MS);
        assert!(pace.time_until_due(start + 50 * MS, start + 30 * MS).is_zero());
        assert_eq!(
            pace.time_until_due(start + 5 * MS, start - 50 * MS),
            15 * MS,
            "but a fifth of the interval lies between"
        );
    }

    #[test]
    fn costly_work_takes_a_tenth_of_the_time_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(100 * MS);
        pace.done(start, start + 50 * MS);
        for news in [start - 100 * MS, start + 499 * MS] {
            assert_eq!(pace.time_until_due(start + 499 * MS, news), MS);
            assert!(pace.time_until_due(start + 500 * MS, news).is_zero());
        }
    }
}
