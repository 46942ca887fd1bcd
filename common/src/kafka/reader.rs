//! Reads partitions without a consumer group, from the offsets that the caller names.
//!
//! A reader commits no offsets and never skips records silently. A position that the log does not have any
//! more (records expired, or the topic was created anew) is reported as [`Polled::PositionLost`] or
//! [`Error::PositionLost`], and the caller decides what to do. A problem that librdkafka recovers from by
//! itself, such as a broker that cannot be reached, is reported as [`Polled::Trouble`]; the caller need not
//! react to it.
//!
//! "To the end" means up to the end of the [`Span`] that the caller got before it started reading. Records
//! that are written meanwhile are not waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::{ClientError, Kafka, log_report};

#[cfg(test)]
mod tests;

/// How long Kafka may take to answer a request, and how long [`Reader::read_to_end`] waits for the next
/// record.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How long one poll waits for a record; between polls the stop signal is checked.
const POLL: Duration = Duration::from_millis(100);

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not answer a question about a topic.
    #[error("kafka does not say {what} of {topic}: {source}; check that the broker runs")]
    Unanswered {
        /// What was asked for.
        what: &'static str,
        /// The topic.
        topic: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// There is no such topic, or it was created just now and is not listed yet.
    #[error("kafka knows no topic {0}; create it, or start the tier that does")]
    NoTopic(String),
    /// librdkafka did not accept the assignment of partitions.
    #[error("cannot read {topic}: {source}")]
    Assign {
        /// The topic.
        topic: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The client is broken for good.
    #[error("the kafka consumer failed for good: {0}; start again")]
    Fatal(#[source] KafkaError),
    /// Records were deleted before they were read.
    #[error(
        "{topic}/{partition} does not hold offset {offset} any more: records expired, or the topic was created anew"
    )]
    PositionLost {
        /// The topic.
        topic: String,
        /// The partition; -1 where librdkafka does not say.
        partition: i32,
        /// The next offset that would have been read; -1 where it is not known.
        offset: i64,
    },
    /// No record came for [`ANSWER_DEADLINE`], although the end was not reached.
    #[error("nothing came from {topic} for {} s, {left} partitions before their end; check that the broker runs", .waited.as_secs())]
    Silent {
        /// The topic.
        topic: String,
        /// How many partitions were not read to their end.
        left: usize,
        /// For how long none came.
        waited: Duration,
    },
    /// The caller was told to stop.
    #[error("stopped while reading {0}")]
    Stopped(String),
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unanswered { .. }
            | Self::NoTopic(_)
            | Self::PositionLost { .. }
            | Self::Silent { .. } => true,
            Self::Client(_) | Self::Assign { .. } | Self::Fatal(_) | Self::Stopped(_) => false,
        }
    }
}

/// The offsets of the records that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first offset that has not been deleted.
    pub start: i64,
    /// The offset that the next record will get.
    pub end: i64,
}

impl Span {
    /// Whether there is no offset in it.
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// How many records it holds at most: fewer where some were compacted away or belong to a transaction.
    pub fn records(self) -> u64 {
        u64::try_from(self.end - self.start).unwrap_or(0)
    }
}

/// What a poll returned.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// The end of this partition is reached.
    End(i32),
    /// The log does not have the position of some partition any more.
    PositionLost,
    /// A problem that librdkafka recovers from by itself.
    Trouble(KafkaError),
    /// Nothing came in time.
    Nothing,
}

/// A consumer that joins no group.
pub struct Reader<C: ConsumerContext + 'static = Quiet> {
    consumer: BaseConsumer<C>,
}

impl Reader {
    /// A reader that has nothing assigned yet.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(kafka: &Kafka) -> Result<Self, Error> {
        Self::with_context(kafka, Quiet, &[])
    }
}

impl<C: ConsumerContext + 'static> Reader<C> {
    /// A reader with the caller's librdkafka callbacks and properties.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn with_context(
        kafka: &Kafka,
        context: C,
        properties: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut config = kafka.consumer(None, None)?;
        config.set("enable.partition.eof", "true");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let consumer = config.create_with_context(context).map_err(ClientError::from)?;
        Ok(Self { consumer })
    }

    /// The consumer, for requests that this type does not offer.
    pub const fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// The partitions of a topic.
    ///
    /// # Errors
    /// When Kafka does not answer, or there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<i32>, Error> {
        let metadata = self.metadata(topic)?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        if partitions.is_empty() {
            return Err(Error::NoTopic(topic.to_owned()));
        }
        Ok(partitions)
    }

    /// The partitions of a topic that have a leader.
    fn led_partitions(&self, topic: &str) -> Result<Vec<i32>, Error> {
        let metadata = self.metadata(topic)?;
        let partitions = || metadata.topics().iter().flat_map(|topic| topic.partitions());
        if partitions().next().is_none() {
            return Err(Error::NoTopic(topic.to_owned()));
        }
        let (led, unled): (Vec<_>, Vec<_>) =
            partitions().partition(|partition| partition.leader() >= 0);
        if !unled.is_empty() {
            let unled: Vec<_> = unled.iter().map(|partition| partition.id()).collect();
            tracing::warn!(topic, ?unled, "partitions have no leader, and are not read");
        }
        Ok(led.iter().map(|partition| partition.id()).collect())
    }

    fn metadata(&self, topic: &str) -> Result<Metadata, Error> {
        self.consumer
            .fetch_metadata(Some(topic), ANSWER_DEADLINE)
            .map_err(unanswered("the partitions", topic))
    }

    /// What a partition holds now.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub fn span(&self, topic: &str, partition: i32) -> Result<Span, Error> {
        self.consumer
            .fetch_watermarks(topic, partition, ANSWER_DEADLINE)
            .map(|(start, end)| Span { start, end })
            .map_err(unanswered("the offsets", topic))
    }

    /// What each of these partitions holds now.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub fn spans(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Span>, Error> {
        partitions.iter().map(|&partition| Ok((partition, self.span(topic, partition)?))).collect()
    }

    /// What each partition holds that was written since `time_ms`, in milliseconds since 1970, or a little
    /// before it. Partitions that hold nothing since then are left out, and so are those that have no leader: nobody
    /// knows how long that lasts.
    ///
    /// # Errors
    /// When Kafka does not answer, or there is no such topic.
    pub fn spans_since(&self, topic: &str, time_ms: i64) -> Result<BTreeMap<i32, Span>, Error> {
        let mut times = TopicPartitionList::new();
        for partition in self.led_partitions(topic)? {
            // The "offset" of the request is a time, and librdkafka takes none below 0.
            times
                .add_partition_offset(topic, partition, Offset::Offset(time_ms.max(0)))
                .map_err(unanswered("the offsets by time", topic))?;
        }
        if times.count() == 0 {
            // librdkafka takes no empty list.
            return Ok(BTreeMap::new());
        }
        let found = self
            .consumer
            .offsets_for_times(times, ANSWER_DEADLINE)
            .map_err(unanswered("the offsets by time", topic))?;
        let mut spans = BTreeMap::new();
        for found in found.elements() {
            found.error().map_err(unanswered("the offsets by time", topic))?;
            // If there is no record since then, the answer is `Offset::End`.
            if let Offset::Offset(start) = found.offset() {
                let end = self.span(topic, found.partition())?.end;
                spans.insert(found.partition(), Span { start, end });
            }
        }
        Ok(spans)
    }

    /// Sets which partitions are read from now on, and from which offsets. Others are not read any more.
    ///
    /// # Errors
    /// When librdkafka does not accept the assignment.
    pub fn assign<'t>(
        &self,
        starts: impl IntoIterator<Item = (&'t str, i32, i64)>,
    ) -> Result<(), Error> {
        let mut assignment = TopicPartitionList::new();
        for (topic, partition, offset) in starts {
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(offset))
                .map_err(|source| Error::Assign { topic: topic.to_owned(), source })?;
        }
        let topics =
            || assignment.elements().first().map_or("", |element| element.topic()).to_owned();
        self.consumer
            .assign(&assignment)
            .map_err(|source| Error::Assign { topic: topics(), source })
    }

    /// Waits up to `timeout` for the next record of the assigned partitions.
    ///
    /// # Errors
    /// When the client is broken for good.
    pub fn poll(&self, timeout: Duration) -> Result<Polled<'_>, Error> {
        Ok(match self.consumer.poll(timeout) {
            None => Polled::Nothing,
            Some(Ok(record)) => Polled::Record(record),
            Some(Err(KafkaError::PartitionEOF(partition))) => Polled::End(partition),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                return Err(Error::Fatal(error));
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    Polled::PositionLost
                }
                _ => Polled::Trouble(error),
            },
        })
    }

    /// Calls `look` with every record of `spans`, in the order of each partition.
    ///
    /// # Errors
    /// When records are deleted before they were read, when no record comes for [`ANSWER_DEADLINE`], when
    /// the client fails, or when `stop` is cancelled. `look` may have seen some of the records by then.
    pub fn read_to_end(
        &self,
        topic: &str,
        spans: &BTreeMap<i32, Span>,
        stop: &CancellationToken,
        mut look: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        let mut left = spans.clone();
        left.retain(|_, span| !span.is_empty());
        self.assign(left.iter().map(|(&partition, span)| (topic, partition, span.start)))?;
        let mut heard = Instant::now();
        while !left.is_empty() {
            if stop.is_cancelled() {
                return Err(Error::Stopped(topic.to_owned()));
            }
            let partition = match self.poll(POLL)? {
                Polled::Record(record) => {
                    let partition = record.partition();
                    let Some(span) = left.get_mut(&partition) else { continue };
                    if record.offset() < span.end {
                        look(&record);
                    }
                    span.start = record.offset() + 1;
                    partition
                }
                // After compaction or a transaction there may be no record at the last offsets. But if the
                // topic was created anew, its end is before the one that was asked for.
                Polled::End(partition) => {
                    let Some(span) = left.get_mut(&partition) else { continue };
                    if self.span(topic, partition)?.end < span.end {
                        let offset = span.start;
                        return Err(Error::PositionLost {
                            topic: topic.to_owned(),
                            partition,
                            offset,
                        });
                    }
                    span.start = span.end;
                    partition
                }
                Polled::PositionLost => {
                    return Err(Error::PositionLost {
                        topic: topic.to_owned(),
                        partition: -1,
                        offset: -1,
                    });
                }
                unheard @ (Polled::Trouble(_) | Polled::Nothing) => {
                    if let Polled::Trouble(error) = unheard {
                        tracing::debug!(%error, topic, "a problem while reading, going on");
                    }
                    let waited = heard.elapsed();
                    if waited > ANSWER_DEADLINE {
                        let left = left.len();
                        return Err(Error::Silent { topic: topic.to_owned(), left, waited });
                    }
                    continue;
                }
            };
            heard = Instant::now();
            if left.get(&partition).is_some_and(|span| span.is_empty()) {
                left.remove(&partition);
            }
        }
        Ok(())
    }
}

fn unanswered(what: &'static str, topic: &str) -> impl Fn(KafkaError) -> Error + use<> {
    let topic = topic.to_owned();
    move |source| Error::Unanswered { what, topic: topic.clone(), source }
}

/// Callbacks for a client whose errors are reported by return values; only a refused connection is a warning.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_report(&error, reason);
    }
}

impl ConsumerContext for Quiet {}
