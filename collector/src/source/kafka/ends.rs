//! Where partitions begin and end, asked of Kafka within one deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use tokio_util::sync::CancellationToken;

/// An answer that has less time than this is not asked for.
const LEAST: Duration = Duration::from_millis(5);

/// Asks for the ends of partitions, one after another.
pub(super) struct Ends<'a, C: ConsumerContext> {
    consumer: &'a BaseConsumer<C>,
    stop: &'a CancellationToken,
    until: Instant,
    /// The partitions of each topic that have no leader, and are not asked.
    leaderless: BTreeMap<String, BTreeSet<i32>>,
}

impl<'a, C: ConsumerContext> Ends<'a, C> {
    /// All answers together take no longer than `at_most`, and none is waited for after the stop.
    pub(super) fn new(
        consumer: &'a BaseConsumer<C>,
        stop: &'a CancellationToken,
        at_most: Duration,
    ) -> Self {
        Self { consumer, stop, until: Instant::now() + at_most, leaderless: BTreeMap::new() }
    }

    /// The offset of the first record of a partition, and the one after the last; `None` if no leader says so in time.
    pub(super) fn of(&mut self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        if !self.leaderless.contains_key(topic) {
            let leaderless = self.leaderless_of(topic)?;
            self.leaderless.insert(topic.to_owned(), leaderless);
        }
        if self.leaderless.get(topic).is_some_and(|all| all.contains(&partition)) {
            return None;
        }
        self.consumer.fetch_watermarks(topic, partition, self.share()?).ok()
    }

    fn leaderless_of(&self, topic: &str) -> Option<BTreeSet<i32>> {
        let found = self.consumer.fetch_metadata(Some(topic), self.share()?).ok()?;
        let partitions = found.topics().iter().flat_map(|topic| topic.partitions());
        Some(partitions.filter(|one| one.leader() < 0).map(|one| one.id()).collect())
    }

    /// How long the next answer may take: half of what is left, so that one that does not come leaves time for the others.
    fn share(&self) -> Option<Duration> {
        let share = self.until.saturating_duration_since(Instant::now()) / 2;
        (share >= LEAST && !self.stop.is_cancelled()).then_some(share)
    }
}
