//! When is a line due? Pure: time is an argument.

use std::time::{Duration, Instant};

use super::Error;

#[cfg(test)]
mod tests;

/// The highest rate that is accepted, in lines a second.
const MAX_RATE: f64 = 1e7;

/// How fast the feed goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// This many lines a second, however fast the clients read.
    Rate(f64),
    /// As fast as the fastest client reads.
    Max,
}

/// Measures the time during which a client was connected, and says which lines are due.
///
/// The line at position n (from 0) is due n / rate after the start, so that rounding errors do not add up and a
/// stall is followed by a burst. While the clock stands still no further line becomes due.
#[derive(Debug)]
pub(super) struct Clock {
    pace: Pace,
    /// The time that was measured before `running_since`.
    ran: Duration,
    running_since: Option<Instant>,
}

impl Pace {
    /// # Errors
    /// If the rate is not above 0 and at most [`MAX_RATE`].
    pub fn check(self) -> Result<Self, Error> {
        match self {
            Self::Rate(given) if !(given > 0.0 && given <= MAX_RATE) => {
                Err(Error::Rate { given, max: MAX_RATE })
            }
            Self::Rate(_) | Self::Max => Ok(self),
        }
    }
}

impl Clock {
    pub(super) const fn new(pace: Pace) -> Self {
        Self { pace, ran: Duration::ZERO, running_since: None }
    }

    pub(super) fn start(&mut self, now: Instant) {
        self.running_since.get_or_insert(now);
    }

    pub(super) fn stop(&mut self, now: Instant) {
        self.ran = self.elapsed(now);
        self.running_since = None;
    }

    /// How many lines are due at `now`. The first one is due at the start.
    pub(super) fn due(&self, now: Instant) -> u64 {
        let elapsed = self.elapsed(now);
        match self.pace {
            Pace::Max => u64::MAX,
            Pace::Rate(_) if elapsed.is_zero() && self.running_since.is_none() => 0,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and saturating is right"
            )]
            Pace::Rate(rate) => (elapsed.as_secs_f64() * rate) as u64 + 1,
        }
    }

    /// When the line at `position` (from 0) becomes due if the clock goes on running; `None` while it stands still.
    pub(super) fn due_at(&self, position: u64) -> Option<Instant> {
        let since = self.running_since?;
        match self.pace {
            Pace::Max => Some(since),
            #[expect(clippy::cast_precision_loss, reason = "2^53 lines are never reached")]
            Pace::Rate(rate) => {
                let after =
                    Duration::try_from_secs_f64(position as f64 / rate).unwrap_or(Duration::MAX);
                since.checked_add(after.saturating_sub(self.ran))
            }
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        let running =
            self.running_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.ran + running
    }
}
