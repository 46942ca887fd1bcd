//! Whether a client has no broker left that it could ask.
//!
//! librdkafka forgets brokers that are not in its cluster's metadata. A broker that has just started may answer with
//! metadata that names none; then the client forgets all of them, also those of `kafka.brokers`, and stays like this for
//! ever ([librdkafka 5301](https://github.com/confluentinc/librdkafka/issues/5301)). Only a new client helps. A client whose
//! brokers do not answer is not stranded: it connects again by itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics::Statistics;

/// The property that makes a client report statistics, and how often that suffices.
pub const STATISTICS: (&str, &str) = ("statistics.interval.ms", "5000");

/// How long a client may know no broker. While it bootstraps again it knows none for a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when the statistics of a client name no broker.
#[derive(Debug, Default)]
pub struct Stranded(Mutex<Option<Instant>>);

impl Stranded {
    /// Takes in the statistics of the client at `now`.
    pub fn look(&self, statistics: &Statistics, now: Instant) {
        // A logical broker, such as a group's coordinator, is a role that a real one has to take.
        let knows_one = statistics.brokers.values().any(|broker| broker.source != "logical");
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if knows_one { None } else { since.or(Some(now)) };
    }

    /// Whether the client has been without a broker for so long that it will not find one any more.
    pub fn is_certain(&self, now: Instant) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Broker;

    use super::*;

    fn statistics(sources: &[&str]) -> Statistics {
        let named = |source: &&str| {
            let source = (*source).to_owned();
            (source.clone(), Broker { source, ..Broker::default() })
        };
        Statistics { brokers: sources.iter().map(named).collect(), ..Statistics::default() }
    }

    #[test]
    fn a_client_is_stranded_when_it_has_known_no_broker_for_long() {
        let (start, stranded) = (Instant::now(), Stranded::default());
        stranded.look(&statistics(&["learned", "logical"]), start);
        assert!(!stranded.is_certain(start + 2 * PATIENCE));
        stranded.look(&statistics(&["logical"]), start);
        stranded.look(&statistics(&[]), start + PATIENCE / 2);
        assert!(!stranded.is_certain(start + PATIENCE / 2));
        assert!(stranded.is_certain(start + PATIENCE));
        stranded.look(&statistics(&["configured"]), start + PATIENCE);
        assert!(!stranded.is_certain(start + 2 * PATIENCE), "it has bootstrapped again");
    }
}
