//! The bounded producer of one stage, and the records that are not acknowledged yet.
//!
//! librdkafka's own queue is the only buffer. When it is full, [`Publisher::send`] waits for deliveries, so that a
//! slow broker slows the stage down instead of filling memory or losing records (back-pressure). The producer is
//! idempotent: records for one partition arrive once and in the order of the calls. A record that is refused for
//! good breaks that order. The publisher then refuses everything after it, and the process ends and starts again
//! from the state in Kafka.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::kafka::{ClientError, STATISTICS, Stranded, log_report};
use prometheus::IntCounterVec;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use tokio_util::sync::CancellationToken;

/// How long one wait for deliveries lasts before the conditions are checked again.
const ROOM_CHECK: Duration = Duration::from_millis(10);

/// Why a record could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The record is larger than the client accepts.
    #[error(
        "the record {key:?} of {bytes} bytes is too large for topic {topic}; lower `capacity`, or raise \
         message.max.bytes in kafka.properties and max.message.bytes of the topic"
    )]
    TooLarge {
        /// The topic that it is for.
        topic: String,
        /// Its key, as text.
        key: String,
        /// The size of its value, in bytes.
        bytes: usize,
    },
    /// The broker or the client refused a record for good.
    #[error("a record for topic {topic} was refused: {reason}")]
    Refused {
        /// The topic that it is for.
        topic: String,
        /// What the client said.
        reason: String,
    },
    /// The client knows no broker any more.
    #[error(
        "the kafka producer has lost all brokers and does not look for them any more; the process starts again"
    )]
    Stranded,
    /// The stage was told to stop while it waited for room in the queue.
    #[error("stopped while waiting for the broker to take records")]
    Stopped,
    /// Not everything was acknowledged in time.
    #[error("{outstanding} records were not acknowledged by the broker within {waited:?}")]
    NotFlushed {
        /// How many were left.
        outstanding: usize,
        /// How long the publisher waited.
        waited: Duration,
    },
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Client(_) | Self::TooLarge { .. } | Self::Refused { .. } => false,
            Self::Stranded | Self::Stopped | Self::NotFlushed { .. } => true,
        }
    }
}

/// Counts the records of one batch that the broker has not acknowledged yet.
#[derive(Debug, Default)]
pub struct Ticket {
    outstanding: AtomicUsize,
}

impl Ticket {
    /// The ticket of an empty batch.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether every record sent with this ticket was acknowledged.
    pub fn acknowledged(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    fn add(&self) {
        self.outstanding.fetch_add(1, Ordering::AcqRel);
    }

    fn remove(&self) {
        self.outstanding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One record to send.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition, or `None` to choose it by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The name and the text of a header.
    pub header: Option<(&'a str, &'a str)>,
}

/// The producer of one stage.
pub struct Publisher {
    producer: ThreadedProducer<DeliveryContext>,
    deliveries: Arc<Deliveries>,
    stop: CancellationToken,
    bytes: IntCounterVec,
}

impl Publisher {
    /// Creates a producer with `config`. `bytes` counts the bytes of the values that it sends, by topic; `stop` ends
    /// a wait for room in the queue.
    ///
    /// # Errors
    /// When `config` has a property that librdkafka does not accept.
    pub fn new(
        config: &ClientConfig,
        stop: CancellationToken,
        bytes: IntCounterVec,
    ) -> Result<Self, Error> {
        let deliveries = Arc::new(Deliveries::default());
        let mut config = config.clone();
        let producer = config
            .set(STATISTICS.0, STATISTICS.1)
            .create_with_context(DeliveryContext(Arc::clone(&deliveries)))
            .map_err(ClientError::from)?;
        Ok(Self { producer, deliveries, stop, bytes })
    }

    /// Hands `record` to the producer, and waits while the queue is full. The record counts as outstanding on
    /// `ticket` until the broker has acknowledged it.
    ///
    /// # Errors
    /// When the record is too large, when an earlier one was refused, or when the stage must stop.
    pub fn send(&self, record: Record<'_>, ticket: &Arc<Ticket>) -> Result<(), Error> {
        self.check()?;
        let mut base = BaseRecord::with_opaque_to(record.topic, Arc::clone(ticket)).key(record.key);
        base.partition = record.partition;
        base.payload = record.value;
        base.headers = record.header.map(|(key, text)| {
            OwnedHeaders::new_with_capacity(1).insert(Header { key, value: Some(text) })
        });
        let taken_back = || {
            ticket.remove();
            self.deliveries.all.remove();
        };
        ticket.add();
        self.deliveries.all.add();
        loop {
            match self.producer.send(base) {
                Ok(()) => {
                    let bytes = record.value.map_or(0, <[u8]>::len) as u64;
                    self.bytes.with_label_values(&[record.topic]).inc_by(bytes);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    base = back;
                    if self.stop.is_cancelled() {
                        taken_back();
                        return Err(Error::Stopped);
                    }
                    self.deliveries.wait(ROOM_CHECK);
                    self.check().inspect_err(|_| taken_back())?;
                }
                Err((error, _)) => {
                    taken_back();
                    return Err(refusal(&error, &record));
                }
            }
        }
    }

    /// Fails if any record was refused since the publisher was created, or if the client does not work any more.
    ///
    /// # Errors
    /// The first refusal, or [`Error::Stranded`].
    pub fn check(&self) -> Result<(), Error> {
        if self.deliveries.stranded.is_certain(Instant::now()) {
            return Err(Error::Stranded);
        }
        match &*self.deliveries.refused() {
            None => Ok(()),
            Some((topic, reason)) => {
                Err(Error::Refused { topic: topic.clone(), reason: reason.clone() })
            }
        }
    }

    /// Waits up to `timeout` until every record that was sent is acknowledged.
    ///
    /// # Errors
    /// When a record is still outstanding after `timeout`, or one was refused.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            self.check()?;
            let outstanding = self.deliveries.all.outstanding.load(Ordering::Acquire);
            if outstanding == 0 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::NotFlushed { outstanding, waited: timeout });
            }
            self.deliveries.wait(left.min(ROOM_CHECK));
        }
    }
}

fn refusal(error: &KafkaError, record: &Record<'_>) -> Error {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
        Error::TooLarge {
            topic: record.topic.to_owned(),
            key: String::from_utf8_lossy(record.key).into_owned(),
            bytes: record.value.map_or(0, <[u8]>::len),
        }
    } else {
        Error::Refused { topic: record.topic.to_owned(), reason: error.to_string() }
    }
}

/// The outcomes of the records that were sent.
#[derive(Default)]
struct Deliveries {
    /// Counts the outstanding records of all tickets.
    all: Ticket,
    /// Topic and reason of the first record that was refused.
    refused: Mutex<Option<(String, String)>>,
    changed: Condvar,
    stranded: Stranded,
}

impl Deliveries {
    fn refused(&self) -> MutexGuard<'_, Option<(String, String)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `timeout` for a delivery.
    fn wait(&self, timeout: Duration) {
        let guard = self.refused();
        drop(self.changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner));
    }
}

/// The callbacks that the producer's thread calls for every delivery.
struct DeliveryContext(Arc<Deliveries>);

impl ClientContext for DeliveryContext {
    fn stats(&self, statistics: Statistics) {
        self.0.stranded.look(&statistics, Instant::now());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_report(&error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Arc<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Arc<Ticket>) {
        if let Err((error, message)) = result {
            // When the producer is dropped it purges its queue: that is not a refusal by the broker.
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PurgeQueue)
                && error.rdkafka_error_code() != Some(RDKafkaErrorCode::PurgeInflight)
            {
                let reason = (message.topic().to_owned(), error.to_string());
                self.0.refused().get_or_insert(reason);
            }
        } else {
            ticket.remove();
            self.0.all.remove();
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
