//! A consumer group whose changes are events of the polling loop, not calls from the side.
//!
//! Two things differ from librdkafka's defaults. Committed offsets decide nothing: the owner says
//! from which offset each partition is read ([`GroupConsumer::assign`]), after it has restored what
//! it knows of the partition. And a change of membership is kept until the loop asks for it, so that
//! the loop handles partitions at one place and on one thread.
//!
//! The protocol is eager: everything is revoked before anything is assigned. A revocation is obeyed
//! at once, also while the consumer is being closed, where nobody asks for events any more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::kafka::Kafka;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

/// How long the broker may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before asking again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What went wrong with a consumer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made: a wrong property.
    #[error(
        "cannot create the consumer of group {group}: {source}; check the kafka.properties section"
    )]
    Create {
        /// The group.
        group: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The subscription or the assignment was not taken.
    #[error("cannot {action} in group {group}: {source}")]
    Membership {
        /// What was tried.
        action: &'static str,
        /// The group.
        group: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The member can do nothing more.
    #[error(
        "group {group} has no place for this member any more: {source}; if another process runs with the \
         same instance_id, give each one its own"
    )]
    Fatal {
        /// The group.
        group: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The broker did not tell a partition's offsets.
    #[error("cannot learn the offsets of {topic}/{partition}: {source}; is the broker reachable")]
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
    /// Whether the same call may succeed later without anybody's help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Watermarks { .. } => true,
            Self::Create { .. } | Self::Membership { .. } | Self::Fatal { .. } => false,
        }
    }
}

/// A change of what this member owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These partitions and no others are to be read; the owner must call [`GroupConsumer::assign`].
    Assigned(Vec<i32>),
    /// Nothing is to be read until the next assignment. When the assignment was `lost`, the group has
    /// long given the partitions to others, and nothing is to be written for them any more.
    Revoked {
        /// Whether the group took this member for dead.
        lost: bool,
    },
}

/// What one poll gave.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// The end of this partition, as far as the broker knows; only where the consumer asked for it.
    End(i32),
    /// Some partition's next offset is not in the log any more.
    OutOfRange,
    /// Nothing within the time given, or the membership changed: see [`GroupConsumer::changes`].
    Nothing,
}

/// The first offset in a partition's log, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that is still there.
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
    /// Joins `group` on `topic`. With an `instance_id` the member is static: a process that comes
    /// back under it within the session timeout gets its partitions at once.
    ///
    /// # Errors
    /// When the settings are not taken.
    pub fn join(
        kafka: &Kafka,
        group: &str,
        topic: &str,
        instance_id: Option<&str>,
        properties: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut config = kafka.consumer(Some(group), instance_id);
        config.set("partition.assignment.strategy", "range").set("statistics.interval.ms", "1000");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let member = Member { topic: topic.to_owned(), seen: Mutex::default() };
        let consumer: BaseConsumer<Member> = config
            .create_with_context(member)
            .map_err(|source| Error::Create { group: group.to_owned(), source })?;
        consumer.subscribe(&[topic]).map_err(|source| Error::Membership {
            action: "subscribe",
            group: group.to_owned(),
            source,
        })?;
        Ok(Self { consumer, topic: topic.to_owned(), group: group.to_owned() })
    }

    /// The next record or event; waits for one at most `timeout`.
    ///
    /// # Errors
    /// When the member can do nothing more. Troubles that pass are logged, and librdkafka retries.
    pub fn poll(&self, timeout: Duration) -> Result<Polled<'_>, Error> {
        match self.consumer.poll(timeout) {
            Some(Ok(message)) => Ok(Polled::Record(message)),
            None => Ok(Polled::Nothing),
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Polled::End(partition)),
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ))) => Ok(Polled::OutOfRange),
            Some(Err(source @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(Error::Fatal { group: self.group.clone(), source })
            }
            Some(Err(error)) => {
                tracing::warn!(group = self.group, topic = self.topic, %error, "reading goes on after a problem");
                Ok(Polled::Nothing)
            }
        }
    }

    /// The changes of membership since the last call, oldest first. They are to be asked for
    /// whenever [`poll`](Self::poll) gave [`Polled::Nothing`].
    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.member().changes)
    }

    /// Reads each partition from its offset on, and no other partition.
    ///
    /// # Errors
    /// When librdkafka does not take it.
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

    /// Asks the broker for the partition's first and last offset until it tells; `None` when `stop`
    /// is cancelled before.
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
                    tracing::warn!(%error, "asking again");
                    std::thread::sleep(RETRY_DELAY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The offset that the partition's next record will get, as the last fetch told; no round trip.
    pub fn known_end(&self, partition: i32) -> Option<i64> {
        self.member().ends.get(&partition).copied()
    }

    /// Whether the group took this member for dead and gave its partitions to others.
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

/// rdkafka reports a consumer's errors twice, the end of a partition among them: those that matter are
/// logged where the poll returns them.
fn log_report(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "the consumer reports");
}

/// What the client's callbacks have told and the loop has not asked for yet. The changes are few:
/// the group cannot go on before the last one was answered.
#[derive(Default)]
struct Seen {
    changes: Vec<Change>,
    ends: BTreeMap<i32, i64>,
}

/// What librdkafka calls.
struct Member {
    topic: String,
    seen: Mutex<Seen>,
}

impl Member {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Member {
    fn error(&self, error: KafkaError, reason: &str) {
        log_report(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        let ends = topic
            .partitions
            .iter()
            .filter(|(_, p)| p.hi_offset >= 0)
            .map(|(id, p)| (*id, p.hi_offset));
        self.seen().ends = ends.collect();
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
                tracing::warn!(topic = self.topic, %error, "the revoked partitions could not be given back");
            }
        }
    }
}

#[cfg(test)]
mod tests;
