//! A member of the group: what librdkafka calls while it is polled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::kafka::{Heard, Kafka as Cluster, Stranded};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::OwnedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::positions::{Offsets, Positions};
use crate::config::Start;
use crate::metrics::{KafkaMetrics, SourceMetrics};

/// How long what was read may take to be safe when partitions are given up, or at a stop.
pub(super) const HANDOVER: Duration = Duration::from_secs(2);
/// How long Kafka may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked at whether what was read is safe, when that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// A member.
pub(super) struct Member {
    source: Arc<str>,
    start: Start,
    source_metrics: SourceMetrics,
    metrics: KafkaMetrics,
    heard: Heard,
    stranded: Stranded,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    positions: Positions,
    /// Records that came while the queue was full.
    kept: VecDeque<OwnedMessage>,
    /// Different errors that came then.
    troubles: VecDeque<KafkaError>,
    committed: Option<Instant>,
    /// Whether partitions were assigned, perhaps none.
    is_assigned: bool,
    /// Why what was assigned cannot be read.
    failure: Option<String>,
}

/// The positions, while they are locked.
pub(super) struct Locked<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for Locked<'_> {
    type Target = Positions;

    fn deref(&self) -> &Positions {
        &self.0.positions
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Positions {
        &mut self.0.positions
    }
}

impl Member {
    pub(super) fn new(
        source: &Arc<str>,
        start: Start,
        source_metrics: SourceMetrics,
        metrics: KafkaMetrics,
    ) -> Self {
        let (heard, stranded, state) = <(Heard, Stranded, Mutex<State>)>::default();
        let source = Arc::clone(source);
        Self { source, start, source_metrics, metrics, heard, stranded, state }
    }

    /// What was read. Not to be held while the consumer is polled.
    pub(super) fn positions(&self) -> Locked<'_> {
        Locked(self.state())
    }

    /// Whether the group has said which partitions are to be read.
    pub(super) fn is_assigned(&self) -> bool {
        self.state().is_assigned
    }

    /// Why what was assigned cannot be read, once.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.state().failure.take()
    }

    /// Why there is no connection.
    pub(super) fn explain(&self, error: &KafkaError, cluster: &Cluster) -> String {
        let why = self.heard.explain(error, cluster);
        // The source's section has the same keys.
        why.replace("[kafka.", "[source.NAME.").replace("kafka.brokers", "source.NAME.brokers")
    }

    /// Waits until what was read is safe, no longer than `at_most`.
    pub(super) fn await_safe(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        loop {
            let mut positions = self.positions();
            positions.seal();
            if !positions.advance() || positions.is_safe() || Instant::now() >= until {
                return;
            }
            drop(positions);
            std::thread::sleep(LOOK);
        }
    }

    // === committing ===

    /// Commits what is safe, if the last time was long enough ago.
    pub(super) fn commit_when_due(&self, consumer: &BaseConsumer<Self>, every: Duration) {
        if self.state().committed.is_none_or(|at| at.elapsed() >= every) {
            self.commit(consumer, CommitMode::Async);
        }
    }

    /// Commits what is safe.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let due = {
            let mut state = self.state();
            state.committed = Some(Instant::now());
            state.positions.take_due()
        };
        let Some(due) = due else { return };
        if let Err(error) = consumer.commit(&list(&due), mode) {
            tracing::debug!(source = &*self.source, %error, "positions not committed, trying again");
            self.positions().is_due_again();
        }
    }

    // === pausing ===

    /// Pauses all partitions. Returns whether that was done.
    pub(super) fn pause(&self, consumer: &BaseConsumer<Self>) -> bool {
        consumer.assignment().and_then(|all| consumer.pause(&all)).is_ok()
    }

    /// Reads all partitions on.
    pub(super) fn resume(&self, consumer: &BaseConsumer<Self>) {
        if let Err(error) = consumer.assignment().and_then(|all| consumer.resume(&all)) {
            tracing::debug!(source = &*self.source, %error, "cannot resume");
        }
    }

    /// Keeps a record that came before the pause was in force, until it can be taken.
    pub(super) fn keep(&self, record: OwnedMessage) {
        self.state().kept.push_back(record);
    }

    /// Keeps an error that came while the queue was full, until it can be seen to.
    pub(super) fn keep_trouble(&self, error: KafkaError) {
        let mut state = self.state();
        if !state.troubles.contains(&error) {
            state.troubles.push_back(error);
        }
    }

    /// The next error that was kept.
    pub(super) fn next_trouble(&self) -> Option<KafkaError> {
        self.state().troubles.pop_front()
    }

    /// Whether the client knows no broker any more.
    pub(super) fn is_stranded(&self) -> bool {
        self.stranded.is_certain(Instant::now())
    }

    /// The next record that was kept.
    pub(super) fn next_kept(&self) -> Option<OwnedMessage> {
        self.state().kept.pop_front()
    }

    // === beginning ===

    /// Begins again at what was committed, because a position is not there any more.
    pub(super) fn begin_again(&self, consumer: &BaseConsumer<Self>) -> Result<(), String> {
        self.commit(consumer, CommitMode::Sync);
        let assigned = consumer.assignment().map_err(|error| error.to_string())?;
        self.begin(consumer, &assigned).map_err(|error| error.to_string())
    }

    /// Reads these partitions, each from where the group has come to.
    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &TopicPartitionList,
    ) -> KafkaResult<()> {
        let mut begins = Offsets::new();
        let mut is_new = false;
        if assigned.count() > 0 {
            let committed = consumer.committed_offsets(assigned.clone(), ANSWER_TIMEOUT)?;
            for one in committed.elements() {
                one.error()?;
                let (topic, partition) = (one.topic(), one.partition());
                let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER_TIMEOUT)?;
                let begin = match one.offset() {
                    Offset::Offset(at) if (low..=high).contains(&at) => at,
                    Offset::Offset(at) => {
                        self.lost(topic, partition, at, low, high);
                        low
                    }
                    _ => {
                        is_new = true;
                        match self.start {
                            Start::Earliest => low,
                            Start::Latest => high,
                        }
                    }
                };
                begins.insert((topic.into(), partition), begin);
            }
        }
        consumer.assign(&list(&begins))?;
        if is_new && self.start == Start::Latest {
            // So that a crash before the next commit is not another beginning.
            if let Err(error) = consumer.commit(&list(&begins), CommitMode::Sync) {
                tracing::debug!(source = &*self.source, %error, "the beginning is not committed");
            }
        }
        Ok(())
    }

    fn lost(&self, topic: &str, partition: i32, at: i64, low: i64, high: i64) {
        tracing::warn!(
            source = &*self.source,
            topic,
            partition,
            at,
            low,
            high,
            "gap: kafka does not have the records at this position any more, reading from the first one that is there"
        );
        self.source_metrics.gaps.inc();
        self.metrics.lost.inc_by((low - at).max(0).unsigned_abs());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let outcome = self.begin(consumer, partitions);
            let mut state = self.state();
            self.metrics.assigned.set(i64::try_from(partitions.count()).unwrap_or(i64::MAX));
            state.is_assigned = true;
            state.failure = outcome
                .err()
                .map(|error| format!("kafka does not say where the group has come to: {error}"));
            tracing::info!(
                source = &*self.source,
                partitions = partitions.count(),
                "partitions to read"
            );
            return;
        }
        if !consumer.assignment_lost() {
            self.await_safe(HANDOVER);
            self.commit(consumer, CommitMode::Sync);
        }
        {
            let mut state = self.state();
            state.positions.clear();
            state.kept.clear();
            state.is_assigned = false;
            self.metrics.assigned.set(0);
        }
        if let Err(error) = consumer.unassign() {
            self.state().failure = Some(error.to_string());
        }
    }

    fn commit_callback(&self, outcome: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = outcome {
            tracing::debug!(source = &*self.source, %error, "positions not committed, trying again");
            self.positions().is_due_again();
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ClientContext::log(&self.heard, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.heard, error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.stranded.look(&statistics, Instant::now());
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lag = partitions.map(|partition| partition.consumer_lag).filter(|lag| *lag > 0).sum();
        self.metrics.lag.set(lag);
    }
}

fn list(offsets: &Offsets) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), &offset) in offsets {
        // librdkafka refuses an offset only if it is negative.
        if let Err(error) = list.add_partition_offset(topic, *partition, Offset::Offset(offset)) {
            tracing::debug!(%error, topic = &**topic, partition, offset, "not an offset");
        }
    }
    list
}
