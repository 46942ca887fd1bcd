//! A member of the group: what librdkafka calls while it is polled.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::kafka::{Heard, Kafka as Cluster, Stranded};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::ends::Ends;
use super::positions::{Offsets, Positions};
use crate::config::Start;
use crate::metrics::KafkaMetrics;
use crate::missed::Missed;

/// How long what was read may take to be safe when partitions are given up, or at a stop.
pub(super) const HANDOVER: Duration = Duration::from_secs(2);
/// How long Kafka may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked at whether what was read is safe, when that is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// How long the partitions may take to say where they end, and how long after that those that have not are asked again.
const ASK: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A member.
pub(super) struct Member {
    source: Arc<str>,
    start: Start,
    stop: CancellationToken,
    missed: Missed,
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
    /// What the group has assigned, perhaps no partition.
    assigned: Option<TopicPartitionList>,
    /// When it is begun again with those of it that have not said where they begin; `None` if all have.
    begin_at: Option<Instant>,
    /// Those, and those that have no leader.
    silent: BTreeSet<String>,
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
        stop: &CancellationToken,
        missed: Missed,
        metrics: KafkaMetrics,
    ) -> Self {
        let (heard, stranded, state) = <(Heard, Stranded, Mutex<State>)>::default();
        let (source, stop) = (Arc::clone(source), stop.clone());
        Self { source, start, stop, missed, metrics, heard, stranded, state }
    }

    /// What was read. Not to be held while the consumer is polled.
    pub(super) fn positions(&self) -> Locked<'_> {
        Locked(self.state())
    }

    /// Whether the group has said which partitions are to be read.
    pub(super) fn is_assigned(&self) -> bool {
        self.state().assigned.is_some()
    }

    /// Why some of what is assigned is not read, though the rest is.
    pub(super) fn silence(&self) -> Option<String> {
        let state = self.state();
        let silent: Vec<_> = state.silent.iter().map(String::as_str).collect();
        (!silent.is_empty()).then(|| {
            format!(
                "no leader answers for {}, which is waited for; the other partitions are read",
                silent.join(", ")
            )
        })
    }

    /// Whether a partition that has not said where it begins is to be asked again.
    pub(super) fn is_begin_due(&self) -> bool {
        self.state().begin_at.is_some_and(|at| Instant::now() >= at)
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

    /// Waits until what was read is safe, no longer than [`HANDOVER`], and commits it. What is not safe then is not taken any more,
    /// and comes again to whoever reads on.
    pub(super) fn hand_over(&self, consumer: &BaseConsumer<Self>) {
        self.await_safe(HANDOVER);
        self.commit(consumer, CommitMode::Sync);
        self.forget();
    }

    fn forget(&self) {
        let mut state = self.state();
        state.positions.clear();
        state.kept.clear();
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

    /// Commits the positions behind these records before they are taken.
    pub(super) fn commit_behind(
        &self,
        consumer: &BaseConsumer<Self>,
        records: &[OwnedMessage],
    ) -> Result<(), String> {
        let behind = records
            .iter()
            .map(|record| ((Arc::from(record.topic()), record.partition()), record.offset() + 1));
        let committed = consumer.commit(&list(&behind.collect()), CommitMode::Sync);
        committed.map_err(|error| format!("the positions are not committed: {error}"))
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

    /// Begins again at what was committed. `is_lost` says that a position is not there any more, so that all are looked at.
    pub(super) fn begin_again(
        &self,
        consumer: &BaseConsumer<Self>,
        is_lost: bool,
    ) -> Result<(), String> {
        // What was read is safe first, so that the position is told right. What is not is read again.
        self.hand_over(consumer);
        let assigned = self.state().assigned.clone().unwrap_or_default();
        self.begin(consumer, &assigned, is_lost).map_err(|error| error.to_string())
    }

    /// Reads these partitions, each from where the group has come to. librdkafka waits for those that do not answer, and says so
    /// if a position is not there any more.
    fn begin(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: &TopicPartitionList,
        is_lost: bool,
    ) -> KafkaResult<()> {
        let mut begins = TopicPartitionList::new();
        let (mut new, mut silent, mut lost) = (Offsets::new(), BTreeSet::new(), Vec::new());
        if assigned.count() > 0 {
            let committed = consumer.committed_offsets(assigned.clone(), ANSWER_TIMEOUT)?;
            let mut all = Ends::new(consumer, &self.stop, ASK);
            for one in committed.elements() {
                one.error()?;
                let (topic, partition) = (one.topic(), one.partition());
                let mut ends = || all.of(topic, partition);
                let begin = match (one.offset(), self.start) {
                    (Offset::Offset(at), _) => match is_lost.then(ends).flatten() {
                        Some((low, high)) if !(low..=high).contains(&at) => {
                            lost.push((topic.to_owned(), partition, at, low, high));
                            // Committed, so that the next start does not tell it again.
                            new.insert((topic.into(), partition), low);
                            Offset::Offset(low)
                        }
                        _ => Offset::Offset(at),
                    },
                    (_, Start::Earliest) => Offset::Beginning,
                    (_, Start::Latest) => match ends() {
                        Some((_, high)) => {
                            new.insert((topic.into(), partition), high);
                            Offset::Offset(high)
                        }
                        None => {
                            silent.insert(format!("{topic}/{partition}"));
                            continue;
                        }
                    },
                };
                begins.add_partition_offset(topic, partition, begin)?;
            }
        }
        {
            let mut state = self.state();
            state.begin_at = (!silent.is_empty()).then(|| Instant::now() + ASK_AGAIN);
            state.silent = silent;
        }
        consumer.assign(&begins)?;
        // Not before, because after an error all of this is done again.
        for (topic, partition, at, low, high) in lost {
            self.lost(&topic, partition, at, low, high);
        }
        // So that a crash before the next commit is not another beginning.
        if !new.is_empty()
            && let Err(error) = consumer.commit(&list(&new), CommitMode::Sync)
        {
            tracing::debug!(source = &*self.source, %error, "the beginning is not committed");
        }
        Ok(())
    }

    fn lost(&self, topic: &str, partition: i32, at: i64, low: i64, high: i64) {
        let lost = (low - at).max(0).unsigned_abs();
        let why = format!(
            "kafka does not have the records of {topic}, partition {partition}, at position {at} any more, but {low} to {high}: reading from {low} on"
        );
        self.missed.gap(None, (lost > 0).then_some(lost), &why);
        self.metrics.lost.inc_by(lost);
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
            self.metrics.assigned.set(i64::try_from(partitions.count()).unwrap_or(i64::MAX));
            self.state().assigned = Some(partitions.clone());
            let failure = self.begin(consumer, partitions, false).err();
            self.state().failure = failure
                .map(|error| format!("kafka does not say where the group has come to: {error}"));
            tracing::info!(
                source = &*self.source,
                partitions = partitions.count(),
                "partitions to read"
            );
            return;
        }
        if consumer.assignment_lost() {
            self.forget();
        } else {
            self.hand_over(consumer);
        }
        {
            let mut state = self.state();
            (state.assigned, state.begin_at) = (None, None);
            state.silent.clear();
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
        let (mut lag, mut silent) = (0, BTreeSet::new());
        let mut state = self.state();
        for (topic, partitions) in &statistics.topics {
            for (&number, partition) in &partitions.partitions {
                lag += partition.consumer_lag.max(0);
                let is_assigned = state
                    .assigned
                    .as_ref()
                    .is_some_and(|assigned| assigned.find_partition(topic, number).is_some());
                if is_assigned && partition.leader < 0 {
                    silent.insert(format!("{topic}/{number}"));
                }
            }
        }
        self.metrics.lag.set(lag);
        // Those that have not said where they begin are asked again.
        if state.begin_at.is_none() {
            state.silent = silent;
        }
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
