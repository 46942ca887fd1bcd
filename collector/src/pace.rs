//! When the next message may be taken, so that no more are taken than a rate says. It has no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How far behind its plan a source may be and still catch up. A timer wakes up to some milliseconds late, and without this
/// each would lose that time. What was not used while there was nothing to read is not made up for beyond it.
const CATCH_UP: Duration = Duration::from_millis(50);

/// The plan of a source that has a rate.
#[derive(Debug)]
pub struct Pace {
    step: Duration,
    due: Instant,
}

impl Pace {
    /// So many messages a second, from `now` on.
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { step: Duration::from_secs(1) / rate, due: now }
    }

    /// Plans the next message if it is due now, and returns whether it is.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.next(now);
        }
        is_due
    }

    /// Plans the next message, and returns when it is due; `None` for now.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let due = self.due.max(earliest);
        self.due = due + self.step;
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_comes_faster_than_the_rate_its_share_is_due() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let due = (0..10_000).filter(|n| pace.is_due(start + *n * MS)).count();
        assert!((1_000..=1_006).contains(&due), "{due} in ten seconds");
    }

    const MS: Duration = Duration::from_millis(1);

    /// How many messages are taken in a second by one that wakes up to 2 ms late.
    fn taken(pace: &mut Pace, mut now: Instant) -> u32 {
        let (end, mut taken) = (now + 1000 * MS, 0);
        loop {
            if let Some(due) = pace.next(now) {
                now = due + 2 * MS;
            }
            if now >= end {
                return taken;
            }
            taken += 1;
        }
    }

    #[test]
    fn a_rate_is_reached_and_kept_although_timers_are_late() {
        let start = Instant::now();
        for rate in [1, 200, 5_000, 100_000] {
            let taken = taken(&mut Pace::new(rate, start), start);
            assert!(taken <= rate + 1, "{taken} of {rate}");
            assert!(f64::from(taken) >= f64::from(rate) * 0.98, "{taken} of {rate}");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000, start);
        let later = start + 60_000 * MS;
        let taken = taken(&mut pace, later);
        assert!((1_000..=1_052).contains(&taken), "{taken}");
    }
}
