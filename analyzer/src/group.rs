//! A member of a consumer group whose rebalances are events that the polling loop asks for, not callbacks.
//!
//! Two things differ from librdkafka's defaults. Committed offsets are not used: the owner says from which
//! offset each partition is read ([`GroupConsumer::assign`]), after it has restored the partition's state. And a
//! rebalance is kept until the loop asks for it, so that the loop handles partitions in one place and on one
//! thread.
//!
//! The protocol is eager: everything is revoked before anything is assigned. A revocation is obeyed at once, in
//! the callback, because while the consumer is being closed nobody asks for changes any more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::kafka::{ClientError, Kafka, Stranded, log_report};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

/// How long the broker may take to answer a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before asking again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What went wrong with a consumer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// librdkafka did not accept the subscription or the assignment.
    #[error("cannot {action} in group {group}: {source}")]
    Membership {
        /// What was tried.
        action: &'static str,
        /// The group.
        group: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The member has failed for good.
    #[error(
        "group {group} does not accept this member any more: {source}; if another process runs with the \
         same instance_id, give each one its own"
    )]
    Fatal {
        /// The group.
        group: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The client knows no broker any more.
    #[error(
        "the kafka client of group {group} has lost all brokers and does not look for them any more; the process starts again"
    )]
    Stranded {
        /// The group.
        group: String,
    },
    /// The broker did not answer which offsets a partition has.
    #[error(
        "cannot get the offsets of {topic}/{partition}: {source}; check that the broker can be reached"
    )]
    Watermarks {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What librdkafka said.
        source: KafkaError,
    },
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Watermarks { .. } | Self::Stranded { .. } => true,
            Self::Client(_) | Self::Membership { .. } | Self::Fatal { .. } => false,
        }
    }
}

/// A change of the partitions that this member owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The member owns these partitions and no others. The owner must call [`GroupConsumer::assign`].
    Assigned(Vec<i32>),
    /// The member owns no partition until the next assignment. If the assignment was `lost`, others may own the
    /// partitions already, and nothing may be written for them any more.
    Revoked {
        /// Whether the group considered this member dead.
        lost: bool,
    },
}

/// What one poll returned.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// The end of this partition is reached; only if the property `enable.partition.eof` is set.
    End(i32),
    /// The log does not have some partition's next offset any more.
    OutOfRange,
    /// No record came within the timeout, or the membership changed: see [`GroupConsumer::changes`].
    Nothing,
}

/// The first offset in a partition's log, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that has not been deleted.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

/// One member of a consumer group on one topic.
pub struct GroupConsumer {
    consumer: BaseConsumer<Member>,
    topic: String,
    group: String,
}

impl GroupConsumer {
    /// Joins `group` on `topic`. With an `instance_id` the member is static: a process that restarts with the same
    /// one within the session timeout gets its partitions back at once.
    ///
    /// # Errors
    /// When librdkafka does not accept the settings.
    pub fn join(
        kafka: &Kafka,
        group: &str,
        topic: &str,
        instance_id: Option<&str>,
        properties: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut config = kafka.consumer(Some(group), instance_id)?;
        config.set("partition.assignment.strategy", "range").set("statistics.interval.ms", "1000");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let (seen, stranded) = (Mutex::default(), Stranded::default());
        let member = Member { topic: topic.to_owned(), seen, stranded };
        let consumer: BaseConsumer<Member> =
            config.create_with_context(member).map_err(ClientError::from)?;
        consumer.subscribe(&[topic]).map_err(|source| Error::Membership {
            action: "subscribe",
            group: group.to_owned(),
            source,
        })?;
        Ok(Self { consumer, topic: topic.to_owned(), group: group.to_owned() })
    }

    /// Waits up to `timeout` for the next record or event.
    ///
    /// # Errors
    /// When the member has failed for good, or its client has. Other problems are logged, and librdkafka tries again.
    pub fn poll(&self, timeout: Duration) -> Result<Polled<'_>, Error> {
        match self.consumer.poll(timeout) {
            Some(Ok(message)) => Ok(Polled::Record(message)),
            None if self.consumer.context().stranded.is_certain(Instant::now()) => {
                Err(Error::Stranded { group: self.group.clone() })
            }
            None => Ok(Polled::Nothing),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Polled::End(partition)),
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ))) => Ok(Polled::OutOfRange),
            Some(Err(source @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(Error::Fatal { group: self.group.clone(), source })
            }
            Some(Err(error)) => {
                tracing::warn!(group = self.group, topic = self.topic, %error, "a problem while reading, going on");
                Ok(Polled::Nothing)
            }
        }
    }

    /// Returns the changes of membership since the last call, oldest first. Call this whenever
    /// [`poll`](Self::poll) has returned [`Polled::Nothing`].
    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.member().changes)
    }

    /// Sets which partitions are read from now on, and from which offsets. Others are not read any more.
    ///
    /// # Errors
    /// When librdkafka does not accept the assignment.
    pub fn assign(&self, starts: &[(i32, i64)]) -> Result<(), Error> {
        let failed =
            |source| Error::Membership { action: "assign", group: self.group.clone(), source };
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for &(partition, offset) in starts {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(failed)?;
        }
        self.consumer.assign(&list).map_err(failed)
    }

    /// Commits these offsets to the group, without waiting. Nothing in Millrace reads them: they are for tools that show
    /// the lag of a consumer group, or scale by it.
    pub fn commit(&self, next: &[(i32, i64)]) {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for &(partition, offset) in next {
            // The list takes every partition once, and every offset from 0 on.
            let _ = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset));
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(group = self.group, %error, "offsets are not committed");
        }
    }

    /// Asks the broker for the partition's first and last offset until it answers; `None` if `stop` is cancelled
    /// before that.
    ///
    /// # Errors
    /// When asking again would not help.
    pub fn watermarks_until(
        &self,
        partition: i32,
        stop: &CancellationToken,
    ) -> Result<Option<Watermarks>, Error> {
        loop {
            match watermarks(&self.consumer, &self.topic, partition) {
                Ok(marks) => return Ok(Some(marks)),
                Err(_) if stop.is_cancelled() => return Ok(None),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "trying again");
                    std::thread::sleep(RETRY_DELAY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The offset that the partition's next record will get, as librdkafka's last statistics say; `None` before
    /// the first ones. It asks no broker.
    pub fn known_end(&self, partition: i32) -> Option<i64> {
        self.member().ends.get(&partition).copied()
    }

    /// How many records the partition has beyond the last one that was polled, as librdkafka's last statistics say;
    /// `None` before the first ones, and before the first record.
    pub fn known_lag(&self, partition: i32) -> Option<i64> {
        self.member().lags.get(&partition).copied()
    }

    /// Whether the group considered this member dead and gave its partitions to others.
    pub fn is_assignment_lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    fn member(&self) -> MutexGuard<'_, Seen> {
        self.consumer.context().seen()
    }
}

/// Asks the broker for a partition's first and last offset.
///
/// # Errors
/// When the broker does not answer within ten seconds.
fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<Watermarks, Error> {
    let (low, high) = consumer
        .fetch_watermarks(topic, partition, ANSWER_TIMEOUT)
        .map_err(|source| Error::Watermarks { topic: topic.to_owned(), partition, source })?;
    Ok(Watermarks { low, high })
}

/// What the client's callbacks have reported and the loop has not asked for yet. There are only a few changes,
/// because a rebalance waits for the answer to the one before.
#[derive(Default)]
struct Seen {
    changes: Vec<Change>,
    ends: BTreeMap<i32, i64>,
    lags: BTreeMap<i32, i64>,
}

/// The callbacks of librdkafka.
struct Member {
    topic: String,
    seen: Mutex<Seen>,
    stranded: Stranded,
}

impl Member {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Member {
    fn error(&self, error: KafkaError, reason: &str) {
        // rdkafka reports a consumer's errors twice; those that matter are logged where the poll returns them.
        log_report(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.stranded.look(&statistics, Instant::now());
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let known = || topic.partitions.values().filter(|p| p.hi_offset >= 0);
        let polled = known().filter(|p| p.app_offset >= 0);
        let mut seen = self.seen();
        seen.ends = known().map(|p| (p.partition, p.hi_offset)).collect();
        seen.lags = polled.map(|p| (p.partition, (p.hi_offset - p.app_offset).max(0))).collect();
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let ids = partitions.elements().iter().map(|element| element.partition()).collect();
            self.seen().changes.push(Change::Assigned(ids));
        } else {
            let lost = consumer.assignment_lost();
            self.seen().changes.push(Change::Revoked { lost });
            if let Err(error) = consumer.unassign() {
                tracing::warn!(topic = self.topic, %error, "cannot give the revoked partitions back");
            }
        }
    }
}

#[cfg(test)]
mod tests;
