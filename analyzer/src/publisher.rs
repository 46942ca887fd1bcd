//! The bounded producer of one stage, and what it still waits for.
//!
//! librdkafka's own queue is the only buffer: when it is full, [`Publisher::send`] waits for
//! deliveries, so a slow broker slows the stage down instead of filling memory or dropping records.
//! The producer is idempotent, so what is sent to one partition arrives in the order of the calls,
//! once. A record that is refused for good breaks that order; the publisher then refuses everything
//! after it, and the process starts anew from what stands in Kafka.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use tokio_util::sync::CancellationToken;

/// How long one wait for deliveries lasts before everything is looked at again.
const ROOM_CHECK: Duration = Duration::from_millis(10);

/// Why a record could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made: a wrong property.
    #[error("cannot create the producer: {0}; check the kafka.properties section")]
    Create(#[source] KafkaError),
    /// The record is beyond what the client or the topic takes.
    #[error(
        "the record {key:?} of {bytes} bytes is too large for topic {topic}; lower `capacity`, or raise \
         message.max.bytes in kafka.properties and max.message.bytes of the topic"
    )]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// Its key, as text.
        key: String,
        /// The size of its value.
        bytes: usize,
    },
    /// The broker or the client refused a record for good.
    #[error("a record for topic {topic} was refused: {reason}")]
    Refused {
        /// Where it was to go.
        topic: String,
        /// What the client said.
        reason: String,
    },
    /// The stage was told to stop while it waited for room.
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
    /// Whether the same call may succeed later without anybody's help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Create(_) | Self::TooLarge { .. } | Self::Refused { .. } => false,
            Self::Stopped | Self::NotFlushed { .. } => true,
        }
    }
}

/// Counts the records of one batch that the broker has not acknowledged yet.
#[derive(Debug, Default)]
pub struct Ticket {
    outstanding: AtomicUsize,
}

impl Ticket {
    /// A batch with nothing in it.
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
    /// The partition, or `None` for the key's.
    pub partition: Option<i32>,
    /// The key.
    pub key: &'a [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// The producer of one stage.
pub struct Publisher {
    producer: ThreadedProducer<DeliveryContext>,
    deliveries: Arc<Deliveries>,
    stop: CancellationToken,
    bytes: IntCounterVec,
}

impl Publisher {
    /// Opens a producer with `config`. `bytes` counts the values it sends, by topic; `stop` ends a wait for room.
    ///
    /// # Errors
    /// When `config` has a property that librdkafka does not take.
    pub fn new(
        config: &ClientConfig,
        stop: CancellationToken,
        bytes: IntCounterVec,
    ) -> Result<Self, Error> {
        let deliveries = Arc::new(Deliveries::default());
        let producer = config
            .create_with_context(DeliveryContext(Arc::clone(&deliveries)))
            .map_err(Error::Create)?;
        Ok(Self { producer, deliveries, stop, bytes })
    }

    /// Hands `record` over; waits while the queue is full. The record counts as outstanding on
    /// `ticket` until the broker has it.
    ///
    /// # Errors
    /// When the record is too large, when an earlier one was refused, or when the stage is to stop.
    pub fn send(&self, record: Record<'_>, ticket: &Arc<Ticket>) -> Result<(), Error> {
        self.check()?;
        let mut base = BaseRecord::with_opaque_to(record.topic, Arc::clone(ticket)).key(record.key);
        base.partition = record.partition;
        base.payload = record.value;
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

    /// Fails when a record was refused since the publisher was opened.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check(&self) -> Result<(), Error> {
        match &*self.deliveries.refused() {
            None => Ok(()),
            Some((topic, reason)) => {
                Err(Error::Refused { topic: topic.clone(), reason: reason.clone() })
            }
        }
    }

    /// Waits until everything sent is acknowledged, at most `timeout`.
    ///
    /// # Errors
    /// When something is outstanding after `timeout`, or was refused.
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

/// What became of the records that were sent.
#[derive(Default)]
struct Deliveries {
    /// Everything that was sent.
    all: Ticket,
    /// Topic and reason of the first record that was refused.
    refused: Mutex<Option<(String, String)>>,
    changed: Condvar,
}

impl Deliveries {
    fn refused(&self) -> MutexGuard<'_, Option<(String, String)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was delivered, at most `timeout`.
    fn wait(&self, timeout: Duration) {
        let guard = self.refused();
        drop(self.changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the polling thread calls for every delivery.
struct DeliveryContext(Arc<Deliveries>);

impl ClientContext for DeliveryContext {}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Arc<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Arc<Ticket>) {
        if let Err((error, message)) = result {
            // The producer purges its queue when it is dropped: that is us, not the broker.
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
