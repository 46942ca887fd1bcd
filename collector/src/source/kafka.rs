//! Topics of a Kafka: publish and subscribe.
//!
//! The group keeps the positions. An offset is committed when every message before it is safe, so that none is lost by a
//! crash or a rebalance; what was not committed then comes again, and its event id tells the copies apart. With
//! `delivery = "at_most_once"` it is committed before its messages are handed on.
//!
//! | what happens | what is done |
//! |---|---|
//! | a record has no value (a tombstone) | it is counted and skipped |
//! | a transaction was aborted, or is open | its records are not seen, or not yet (`read_committed`) |
//! | a value is above `max_message_bytes` | its first bytes are a dead letter |
//! | partitions are taken away | what was read of them becomes safe and is committed first, if that takes no longer than [`member::HANDOVER`] |
//! | a partition has no leader | it is told and waited for; the others are read |
//! | the records at a position were deleted | it is told, counted, and read on from the first one that is there |
//! | the queue is full | the partitions are paused, and the group is answered meanwhile |
//! | the topic is one that events are published to | nothing is read: each event would come back for ever |
//! | credentials have changed | a new consumer takes the place of the former one |

use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::kafka::{Kafka as Cluster, Rotation, STATISTICS};
use futures_util::FutureExt as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message, OwnedMessage};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::End;
use super::connection::Connection;
use crate::config::KafkaSource as Section;
use crate::cursor::Cursor;
use crate::intake::{Closed, Intake};
use crate::metrics::{KafkaMetrics, SourceMetrics};
use member::{ANSWER_TIMEOUT, Member};
use trouble::sentence;

mod ends;
mod member;
mod message;
mod positions;
#[cfg(test)]
mod tests;
mod trouble;

/// How long a poll waits for a record.
const POLL: Duration = Duration::from_millis(100);
/// How often positions are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How many records are committed together at most before they are taken, with `at_most_once`.
const TOGETHER: usize = 1024;

/// Topics that are not read yet.
pub struct Kafka {
    source: Arc<str>,
    section: Section,
    /// Where events are published to.
    own: Cluster,
    cluster: Cluster,
    source_metrics: SourceMetrics,
    metrics: KafkaMetrics,
    connection: Connection,
}

/// What is needed while they are read.
struct Reader {
    kafka: Kafka,
    intake: Intake,
    stop: CancellationToken,
    rotation: Rotation,
    runtime: Handle,
    /// Whether nothing can be read.
    is_broken: bool,
    /// Why, as it was told last.
    told: String,
    /// Whether something could be read since a consumer failed last.
    has_worked: bool,
}

/// Why a consumer is not used any more.
enum Ended {
    Stopped,
    Closed,
    /// There are new credentials.
    Renewed,
    /// Another one may succeed.
    Failed(String),
    /// No other one will.
    Refused(String),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl Kafka {
    /// Prepares to read. `own` is where events are published to.
    pub fn new(
        source: &Arc<str>,
        section: &Section,
        own: &Cluster,
        source_metrics: SourceMetrics,
        metrics: KafkaMetrics,
        connection: Connection,
    ) -> Self {
        Self {
            source: Arc::clone(source),
            section: section.clone(),
            own: own.clone(),
            cluster: section.cluster(own),
            source_metrics,
            metrics,
            connection,
        }
    }
}

impl super::Source for Kafka {
    async fn run(self, intake: Intake, _resume: Option<Cursor>, stop: CancellationToken) -> End {
        let rotation = self.cluster.watch_credentials(stop.clone());
        let runtime = Handle::current();
        let reader = Reader {
            kafka: self,
            intake,
            stop,
            rotation,
            runtime,
            is_broken: true,
            told: String::new(),
            has_worked: false,
        };
        match tokio::task::spawn_blocking(move || reader.run()).await {
            Ok(end) => end,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => End::Closed,
            },
        }
    }
}

impl Reader {
    /// Blocks until the stop.
    fn run(mut self) -> End {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let ended = self.session();
            self.kafka.source_metrics.connected.set(0);
            let wait = match ended {
                Ended::Stopped => return End::Stopped,
                Ended::Closed => return End::Closed,
                Ended::Renewed => {
                    self.rotation.acknowledge();
                    continue;
                }
                Ended::Failed(why) => {
                    if std::mem::take(&mut self.has_worked) {
                        backoff.reset();
                    }
                    self.broken(&why);
                    Some(backoff.next_delay(&mut rand::rng()))
                }
                Ended::Refused(why) => {
                    let source = &*self.kafka.source;
                    tracing::error!(
                        source,
                        why,
                        "the topics are not read until the configuration is corrected"
                    );
                    self.unready(&why);
                    None
                }
            };
            let stopped = async {
                tokio::select! {
                    () = self.stop.cancelled() => Some(End::Stopped),
                    () = self.intake.closed() => Some(End::Closed),
                    () = async {
                        match wait {
                            Some(wait) => tokio::time::sleep(wait).await,
                            None => std::future::pending().await,
                        }
                    } => None,
                }
            };
            if let Some(end) = self.runtime.block_on(stopped) {
                return end;
            }
        }
    }

    /// Reads with one consumer.
    fn session(&mut self) -> Ended {
        if let Err(ended) = self.check_for_loop() {
            return ended;
        }
        let consumer = match self.join() {
            Ok(consumer) => consumer,
            Err(why) => return Ended::Failed(why),
        };
        let ended = loop {
            if self.stop.is_cancelled() {
                break Ended::Stopped;
            }
            if self.rotation.is_due() {
                break Ended::Renewed;
            }
            if let Err(ended) = self.turn(&consumer) {
                break ended;
            }
        };
        consumer.context().hand_over(&consumer);
        ended
    }

    /// Polls once.
    fn turn(&mut self, consumer: &BaseConsumer<Member>) -> Result<(), Ended> {
        let (member, is_once) = (consumer.context(), self.intake.is_at_most_once());
        while let Some(record) = member.next_kept() {
            if is_once {
                self.take_once(consumer, record)?;
            } else {
                self.take(consumer, &record)?;
            }
        }
        while let Some(error) = member.next_trouble() {
            self.trouble(consumer, &error)?;
        }
        match consumer.poll(POLL) {
            Some(Ok(record)) if is_once => self.take_once(consumer, record.detach())?,
            Some(Ok(record)) => self.take(consumer, &record)?,
            None if member.is_stranded() => {
                return Err(Ended::Failed("the client has lost all brokers".to_owned()));
            }
            None => {
                member.positions().seal();
                if let Some(why) = member.take_failure() {
                    return Err(Ended::Failed(why));
                }
                // A partition without a leader is told, and asked by its own times.
                if self.is_broken && member.is_assigned() && member.silence().is_none() {
                    self.await_answer(consumer)?;
                }
            }
            Some(Err(error)) => self.trouble(consumer, &error)?,
        }
        if !member.positions().advance() {
            let is_closed = self.intake.closed().now_or_never().is_some();
            let why = "a message was lost before it was safe".to_owned();
            return Err(if is_closed { Ended::Closed } else { Ended::Failed(why) });
        }
        member.commit_when_due(consumer, COMMIT_EVERY);
        if member.is_begin_due() {
            member.begin_again(consumer, false).map_err(Ended::Failed)?;
        }
        if let Some(why) = member.silence().filter(|why| *why != self.told) {
            self.broken(&why);
        }
        Ok(())
    }

    /// Takes a record and those that are there behind it, when the positions behind them are committed.
    fn take_once(
        &mut self,
        consumer: &BaseConsumer<Member>,
        record: OwnedMessage,
    ) -> Result<(), Ended> {
        let member = consumer.context();
        let generation = member.positions().generation();
        let mut records = vec![record];
        while records.len() < TOGETHER {
            match consumer.poll(Duration::ZERO) {
                Some(Ok(record)) => records.push(record.detach()),
                Some(Err(error)) => {
                    member.keep_trouble(error);
                    break;
                }
                None => break,
            }
        }
        // Whoever has the partitions now begins at what was committed, and reads them.
        if member.positions().generation() != generation {
            return Ok(());
        }
        member.commit_behind(consumer, &records).map_err(Ended::Failed)?;
        records.iter().try_for_each(|record| self.take(consumer, record))
    }

    /// Hands the messages of a record to the pipeline.
    fn take(
        &mut self,
        consumer: &BaseConsumer<Member>,
        record: &impl Message,
    ) -> Result<(), Ended> {
        let (member, is_once) = (consumer.context(), self.intake.is_at_most_once());
        self.whole(member);
        if record.payload().is_none() {
            self.kafka.metrics.tombstones.inc();
        }
        let messages =
            message::messages(&self.kafka.section, &self.intake, &self.kafka.source, record);
        if !self.intake.has_room(&messages) {
            // What was read before becomes safe without what has to wait.
            member.positions().seal();
        }
        let generation = member.positions().generation();
        for mut message in messages {
            message.receipt = (!is_once).then(|| member.positions().receipt());
            self.kafka.source_metrics.cursor.set(message.received_ms);
            self.push(consumer, message)?;
        }
        if !is_once {
            let (topic, partition) = (record.topic(), record.partition());
            member.positions().read(generation, topic, partition, record.offset());
        }
        Ok(())
    }

    /// Waits while the queue is full, and answers the group meanwhile.
    fn push(
        &self,
        consumer: &BaseConsumer<Member>,
        message: crate::intake::Message,
    ) -> Result<(), Ended> {
        let member = consumer.context();
        let mut pushing = Box::pin(self.intake.push(message));
        if let Some(pushed) = pushing.as_mut().now_or_never() {
            return Ok(pushed?);
        }
        let mut is_paused = false;
        let pushed = loop {
            // A full queue must not delay a stop: what is not taken now comes again.
            if self.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            let waited = self.runtime.block_on(async { timeout(POLL, &mut pushing).await });
            if let Ok(pushed) = waited {
                break pushed;
            }
            if !is_paused {
                is_paused = member.pause(consumer);
            }
            match consumer.poll(Duration::ZERO) {
                // It came before the pause, or of a partition that was assigned meanwhile.
                Some(Ok(record)) => {
                    member.keep(record.detach());
                    is_paused = false;
                }
                // librdkafka says only once that a position is lost.
                Some(Err(error)) => member.keep_trouble(error),
                None => {}
            }
        };
        member.resume(consumer);
        Ok(pushed?)
    }

    // === troubles ===

    fn trouble(
        &mut self,
        consumer: &BaseConsumer<Member>,
        error: &KafkaError,
    ) -> Result<(), Ended> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                consumer.context().begin_again(consumer, true).map_err(Ended::Failed)
            }
            // Retried by librdkafka.
            Some(Code::OperationTimedOut | Code::RequestTimedOut | Code::NotEnoughReplicas) => {
                Ok(())
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Err(Ended::Failed(sentence(error, &self.kafka.section)))
            }
            _ => {
                let why = match error.rdkafka_error_code() {
                    Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {
                        consumer.context().explain(error, &self.kafka.cluster)
                    }
                    _ => sentence(error, &self.kafka.section),
                };
                self.broken(&why);
                Ok(())
            }
        }
    }

    /// Whether Kafka answers again after it did not.
    fn await_answer(&mut self, consumer: &BaseConsumer<Member>) -> Result<(), Ended> {
        for topic in &self.kafka.section.topics {
            match consumer.fetch_metadata(Some(topic), Duration::from_secs(1)) {
                Ok(found) if found.topics().iter().all(|topic| topic.error().is_none()) => {}
                Ok(_) | Err(_) => return Ok(()),
            }
        }
        self.whole(consumer.context());
        Ok(())
    }

    /// Refuses to read what is published, also if the cluster has several addresses.
    fn check_for_loop(&self) -> Result<(), Ended> {
        let Kafka { section, own, cluster, .. } = &self.kafka;
        let Some(topic) = section.looping_topic(own) else { return Ok(()) };
        let id = |of: &Cluster| {
            let client = of.client().map_err(|error| Ended::Failed(error.to_string()))?;
            let client: BaseConsumer =
                client.create().map_err(|error| Ended::Failed(error.to_string()))?;
            let id = client.client().fetch_cluster_id(ANSWER_TIMEOUT);
            id.ok_or_else(|| {
                Ended::Failed(format!("kafka at {} does not say which cluster it is", of.brokers))
            })
        };
        if id(own)? == id(cluster)? {
            return Err(Ended::Refused(format!(
                "topics: {topic} of {} is the topic that events are published to, so that each event would come back for \
                 ever; read another topic, or publish to another one (kafka.topics)",
                cluster.brokers
            )));
        }
        Ok(())
    }

    fn broken(&mut self, why: &str) {
        if self.told != why {
            tracing::warn!(
                source = &*self.kafka.source,
                why,
                "cannot read the topics, trying again"
            );
            why.clone_into(&mut self.told);
        }
        self.unready(why);
    }

    fn unready(&mut self, why: &str) {
        self.kafka.source_metrics.disconnects.inc();
        self.kafka.source_metrics.connected.set(0);
        self.is_broken = true;
        self.kafka.connection.unset(format!("{}: {why}", self.kafka.source));
    }

    /// Something can be read.
    fn whole(&mut self, member: &Member) {
        self.has_worked = true;
        if self.is_broken && member.silence().is_none() {
            self.is_broken = false;
            self.told.clear();
            self.kafka.source_metrics.connects.inc();
            self.kafka.source_metrics.connected.set(1);
            self.kafka.connection.set();
        }
    }

    fn join(&self) -> Result<BaseConsumer<Member>, String> {
        let Kafka { section, cluster, metrics, .. } = &self.kafka;
        let settings = cluster.consumer(Some(&section.group), None);
        let mut settings = settings.map_err(|error| error.to_string())?;
        settings
            .set("isolation.level", "read_committed")
            // A topic that is made later is found soon.
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set(STATISTICS.0, STATISTICS.1)
            // Also if the properties of the section `kafka` name a group.
            .set("group.id", &section.group);
        let member = Member::new(
            &self.kafka.source,
            section.start,
            &self.stop,
            self.intake.missed().clone(),
            metrics.clone(),
        );
        let consumer: BaseConsumer<Member> =
            settings.create_with_context(member).map_err(|error| error.to_string())?;
        let topics: Vec<_> = section.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| error.to_string())?;
        tracing::info!(
            source = &*self.kafka.source,
            ?topics,
            group = section.group,
            brokers = cluster.brokers,
            "reading"
        );
        Ok(consumer)
    }
}
