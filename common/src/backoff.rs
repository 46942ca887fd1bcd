//! Delays between attempts: exponential with full jitter, so that clients that lost the same server do
//! not all come back at the same moment ("Exponential Backoff And Jitter", AWS Architecture Blog 2015).

use std::time::Duration;

use rand::Rng;

/// An exponential backoff with full jitter: the n-th delay, counted from 0, is uniform in
/// `[0, min(cap, base·2ⁿ)]`.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// A backoff whose bound starts at `base` and doubles with every attempt, up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// The upper bound of the next delay.
    pub fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Draws the next delay from `random` and counts the attempt.
    pub fn next_delay(&mut self, random: &mut impl Rng) -> Duration {
        use rand::RngExt;
        let ceiling = self.ceiling();
        self.attempt = (self.attempt + 1).min(31);
        ceiling.mul_f64(random.random_range(0.0..=1.0))
    }

    /// Starts at `base` again. To be called when an attempt has succeeded.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_a_success_resets_it() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut ceilings = Vec::new();
        for _ in 0..40 {
            ceilings.push(backoff.ceiling().as_millis());
            let bound = backoff.ceiling();
            assert!(backoff.next_delay(&mut rand::rng()) <= bound);
        }
        assert_eq!(ceilings[..5], [100, 200, 400, 800, 1000]);
        assert!(ceilings[5..].iter().all(|&c| c == 1000));
        backoff.reset();
        assert_eq!(backoff.ceiling().as_millis(), 100);
    }
}
