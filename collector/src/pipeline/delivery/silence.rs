//! When a producer says nothing for so long that Kafka is asked whether it answers at all.
//!
//! A client does not notice when an empty Kafka takes the place of the one that it knew: it waits without end for what it has
//! sent, or for topics that nobody makes. A new producer does, because topics are made before it sends anything.

use std::time::{Duration, Instant};

/// How long nothing may be acknowledged although something is on its way.
const SILENCE: Duration = Duration::from_secs(30);
/// How often Kafka is asked then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Since when nothing was heard.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Instant,
    looked: Option<Instant>,
}

impl Silence {
    /// It begins `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, looked: None }
    }

    /// Something is acknowledged, or nothing is awaited.
    pub(super) const fn broken(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Whether Kafka is to be asked now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let looked = self.looked.is_some_and(|at| now.duration_since(at) < LOOK_AGAIN);
        let is_due = !looked && now.duration_since(self.heard) >= SILENCE;
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_is_asked_after_a_long_silence_and_then_now_and_then() {
        let began = Instant::now();
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        let mut silence = Silence::new(began);
        assert!(!silence.is_due(after(29)));
        silence.broken(after(29));
        let due: Vec<_> = (29..75).filter(|seconds| silence.is_due(after(*seconds))).collect();
        assert_eq!(due, [59, 64, 69, 74]);
        silence.broken(after(75));
        assert!(!silence.is_due(after(80)));
    }
}
