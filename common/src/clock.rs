//! The time of day, as the tiers read it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Service;

/// The system's clock plus `service.clock_offset_ms`, which makes it wrong on purpose for a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// The clock of a tier with this configuration.
    pub fn new(service: &Service) -> Self {
        Self { offset_ms: service.clock_offset_ms }
    }

    /// Milliseconds since 1970, the offset included. A system clock that is before 1970 counts as 1970.
    pub fn now_ms(self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(self.offset_ms)
    }

    /// As [`now_ms`](Self::now_ms), in nanoseconds since 1970; a time before 1970 counts as 1970.
    pub fn now_ns(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let now_ns = since_ns.saturating_add(self.offset_ms.saturating_mul(1_000_000));
        u64::try_from(now_ns).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_sets_the_clock_wrong() {
        let clock = |clock_offset_ms| {
            Clock::new(&Service { clock_offset_ms, ..Service::default() }).now_ms()
        };
        assert!(clock(3_600_000) >= Clock::default().now_ms() + 3_500_000);
        assert!(clock(-3_600_000) <= Clock::default().now_ms() - 3_500_000);
        assert_eq!(clock(i64::MAX), i64::MAX);
        let ahead = Clock { offset_ms: 3_600_000 };
        let before_ms = ahead.now_ms().unsigned_abs();
        assert!(ahead.now_ns() / 1_000_000 >= before_ms);
        assert_eq!(Clock { offset_ms: i64::MIN }.now_ns(), 0);
    }
}
