//! How many events a second are taken: a bucket that a request may overdraw, so that one of any size is taken at some time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The bucket. It holds as much as comes in a second.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    events: f64,
    at: Instant,
}

impl Rate {
    /// So many events a second from `now` on.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, level: Mutex::new(Level { events: per_second, at: now }) }
    }

    /// Whether a request may come now.
    ///
    /// # Errors
    /// In how many seconds it may.
    pub fn admit(&self, now: Instant) -> Result<(), u64> {
        self.admitted(&self.filled(now))
    }

    fn admitted(&self, level: &Level) -> Result<(), u64> {
        if level.events > 0.0 {
            return Ok(());
        }
        // At least a second, since an overdrawn bucket never waits for less.
        Err((-level.events / self.per_second).ceil().max(1.0) as u64)
    }

    /// Takes so many events if a request may come now.
    ///
    /// # Errors
    /// In how many seconds it may.
    pub fn take(&self, events: usize, now: Instant) -> Result<(), u64> {
        let mut level = self.filled(now);
        self.admitted(&level)?;
        level.events -= events as f64;
        Ok(())
    }

    /// So many of those that were taken did not come after all.
    pub fn give_back(&self, events: usize) {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).events += events as f64;
    }

    fn filled(&self, now: Instant) -> MutexGuard<'_, Level> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.events = passed.mul_add(self.per_second, level.events).min(self.per_second);
        level.at = level.at.max(now);
        level
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn in_the_long_run_no_more_is_taken_than_the_rate_says() {
        let began = Instant::now();
        let rate = Rate::new(100, began);
        let mut taken = 0;
        for tick in 0..10_000 {
            let now = began + Duration::from_millis(10 * tick);
            if rate.take(30, now).is_ok() {
                taken += 30;
            }
        }
        assert!((10_000..=10_200).contains(&taken), "{taken} in 100 seconds");
    }

    #[test]
    fn a_request_that_is_larger_than_the_rate_is_taken_and_the_next_one_waits_for_it() {
        let began = Instant::now();
        let rate = Rate::new(100, began);
        assert_eq!(rate.admit(began), Ok(()));
        assert_eq!(rate.take(450, began), Ok(()));
        assert_eq!((rate.admit(began), rate.take(1, began)), (Err(4), Err(4)));
        assert_eq!(rate.admit(began + Duration::from_secs(3)), Err(1));
        assert_eq!(rate.admit(began + Duration::from_secs(4)), Ok(()));
    }

    #[test]
    fn what_was_admitted_and_did_not_come_leaves_its_place_to_others() {
        let began = Instant::now();
        let rate = Rate::new(100, began);
        rate.take(450, began).unwrap();
        rate.give_back(450);
        assert_eq!(rate.take(1, began), Ok(()));
    }
}
