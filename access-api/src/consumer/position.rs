//! The consumer's position in the topic: when it is suspected to be wrong, and what follows once it is lost. Pure.

use std::time::{Duration, Instant};

/// After this much silence Kafka is asked for the end of the topic. A client whose topic was deleted and made anew may
/// stand still for ever without an error (librdkafka 3255).
pub const SILENCE: Duration = Duration::from_secs(5);

/// How long nothing came.
pub struct Silence {
    since: Instant,
    /// The end of the topic that was not reached, and how often it was found.
    missed: Option<(u64, u32)>,
}

impl Silence {
    /// Silence that begins now.
    pub fn begin(now: Instant) -> Self {
        Self { since: now, missed: None }
    }

    /// Whether Kafka is to be asked for the end of the topic. The next time is [`SILENCE`] later.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.since) >= SILENCE;
        if is_due {
            self.since = now;
        }
        is_due
    }

    /// The topic was found to end at `end`, while `next` is the next sequence to read. Returns whether the position is
    /// suspected to be wrong: the same end was found twice and is not where the consumer is. The same end is suspicious
    /// only once, because there may be offsets without a record before it.
    pub fn is_suspicious(&mut self, next: u64, end: u64) -> bool {
        let before = self.missed.filter(|&(missed, _)| missed == end).map_or(0, |(_, times)| times);
        self.missed = (end != next).then_some((end, before.saturating_add(1)));
        self.missed.is_some_and(|(_, times)| times == 2)
    }
}

/// What to do when Kafka says that the position does not exist.
#[derive(Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The position exists after all; ask again.
    Retry,
    /// Records were deleted before they were read; go on with the oldest one.
    Skip,
    /// The topic was replaced by a new one of the same name; read it from its beginning.
    Begin,
}

impl Remedy {
    /// The remedy for a consumer that would read the sequence `next` of a topic whose oldest record is at `low`, and
    /// whose next one will be at `high`.
    pub const fn of(next: u64, low: u64, high: u64) -> Self {
        if high < next {
            Self::Begin
        } else if low > next {
            Self::Skip
        } else {
            Self::Retry
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_for_a_lost_position_follows_from_the_offsets_of_the_topic() {
        assert_eq!(Remedy::of(10, 0, 10), Remedy::Retry);
        assert_eq!(Remedy::of(10, 0, 20), Remedy::Retry);
        assert_eq!(Remedy::of(10, 12, 20), Remedy::Skip);
        assert_eq!(Remedy::of(10, 0, 9), Remedy::Begin);
        assert_eq!(Remedy::of(10, 0, 0), Remedy::Begin);
    }

    #[test]
    fn a_consumer_that_stands_before_the_end_for_long_is_suspicious_once() {
        let mut silence = Silence::begin(Instant::now());
        let mut found = |end| silence.is_suspicious(7, end);
        assert_eq!([7, 9, 9, 9, 9].map(&mut found), [false, false, true, false, false]);
        // What was written meanwhile may be on its way.
        assert_eq!([10, 11, 11].map(&mut found), [false, false, true]);
        assert_eq!([3, 3].map(&mut found), [false, true]);
    }

    #[test]
    fn kafka_is_asked_once_in_each_span_of_silence() {
        let began = Instant::now();
        let mut silence = Silence::begin(began);
        let mut is_due = |seconds| silence.is_due(began + Duration::from_secs(seconds));
        assert_eq!([0, 4, 5, 6, 9, 10].map(&mut is_due), [false, false, true, false, false, true]);
    }
}
