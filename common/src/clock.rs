//! The time of day, for everything that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Service;

/// The system's clock, set wrong by `service.clock_offset_ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// The clock of a tier that was told so.
    pub fn new(service: &Service) -> Self {
        Self { offset_ms: service.clock_offset_ms }
    }

    /// Milliseconds since 1970; 0 if the clock stands before it.
    pub fn now_ms(self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(self.offset_ms)
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
    }
}
