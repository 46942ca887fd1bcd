//! Decides when work that is repeated is due again.

use std::time::{Duration, Instant};

/// The pace of the audit: a partition's ledger and the audit itself hold a day's minutes, some 20 and 100 kB, and nobody
/// looks at them by the second.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(5);

/// The work may take at most one part in this many of the time.
const COST_FACTOR: u32 = 10;

/// For how many intervals eager work is done more often.
const EAGER_INTERVALS: u32 = 2;

/// The pace of repeated work: once an interval, sooner if nothing new has come for a fifth of the interval, and
/// never so often that the work takes more than a tenth of the time.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// When the work was last started, and how long it took.
    last: Option<(Instant, Duration)>,
    /// Until then the work is as often due as after a lull.
    eager_until: Option<Instant>,
}

impl Pace {
    /// Work that is done once every `interval`, and for the first time at once.
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, eager_until: None }
    }

    /// Work that was done at `now`, and is due every fifth of the interval at first. So what is interrupted again and again
    /// soon after it has begun comes further each time.
    pub fn eager(interval: Duration, now: Instant) -> Self {
        let eager_until = Some(now + interval * EAGER_INTERVALS);
        Self { interval, last: Some((now, Duration::ZERO)), eager_until }
    }

    /// How long after `now` the work is due; zero if it is due now. `news` is when the last input of the work
    /// came: after a lull the work is due sooner, because waiting longer would collect nothing.
    pub fn time_until_due(&self, now: Instant, news: Instant) -> Duration {
        let Some((started, cost)) = self.last else { return Duration::ZERO };
        let is_eager = self.eager_until.is_some_and(|until| now < until);
        let begun = if is_eager { started } else { started.max(news) };
        let lull = begun + self.shortest();
        let due = lull.min(started + self.interval).max(started + cost * COST_FACTOR);
        due.saturating_duration_since(now)
    }

    /// The shortest time from one start of the work to the next: a fifth of the interval.
    pub fn shortest(&self) -> Duration {
        self.interval / 5
    }

    /// Notes that the work was done from `started` until `ended`.
    pub fn done(&mut self, started: Instant, ended: Instant) {
        self.last = Some((started, ended.saturating_duration_since(started)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn while_input_keeps_coming_cheap_work_is_done_once_an_interval() {
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
    fn eager_work_is_done_each_fifth_of_the_interval_at_first_although_input_keeps_coming() {
        let start = Instant::now();
        let mut pace = Pace::eager(100 * MS, start);
        let due = |pace: &Pace, at| pace.time_until_due(start + at * MS, start + at * MS).is_zero();
        assert!(!due(&pace, 19));
        assert!(due(&pace, 20));
        pace.done(start + 195 * MS, start + 196 * MS);
        assert!(!due(&pace, 216), "it is not eager any more");
        assert!(due(&pace, 295));
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
