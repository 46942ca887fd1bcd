//! The Kafka producer: what a record looks like, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::event::Reason;
use common::kafka::{ClientError, Kafka, STATISTICS, Stranded, Topic, header};
use common::message_log::{Entry, Sequence};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::statistics::Statistics;
use tokio::sync::Notify;

use crate::error::Error;
use crate::positions::Positions;
use crate::traces::Traces;

mod error_codes;

pub use error_codes::Report;

/// How long a broker that did not answer may take when asked again.
const PROBE_DEADLINE: Duration = Duration::from_millis(200);

/// How long a producer may take to answer for what it gives up.
const GIVE_UP_DEADLINE: Duration = Duration::from_millis(500);

/// Why a record was not taken.
#[derive(Debug)]
pub enum Unsent {
    /// The queue is full; wait for reports.
    Full,
    /// It will be refused however often it is sent.
    Refused(RDKafkaErrorCode),
    /// This producer takes nothing any more.
    Broken(KafkaError),
}

/// Reports on their way from librdkafka's thread to the delivery thread; at most one for every record
/// in flight, which librdkafka's queue bounds.
#[derive(Debug, Default)]
pub struct Reports {
    known: Mutex<Known>,
    changed: Notify,
}

/// What was reported and not taken yet.
#[derive(Debug, Default)]
pub struct Known {
    /// The reports, in the order of their arrival.
    pub reports: Vec<(Sequence, Report)>,
    /// The positions behind the delivered records. They are valid when all of these reports have been followed.
    pub positions: Positions,
}

impl Reports {
    /// All that was reported since the last call.
    pub fn take(&self) -> Known {
        std::mem::take(&mut *self.lock())
    }

    /// Resolves when there is something to take.
    pub async fn some(&self) {
        while self.lock().reports.is_empty() {
            self.changed.notified().await;
        }
    }

    fn push(&self, sequence: Sequence, report: Report, place: Option<(Topic, i32, i64)>) {
        let mut known = self.lock();
        known.reports.push((sequence, report));
        if let Some((topic, partition, offset)) = place {
            known.positions.raise(topic, partition, offset + 1);
        }
        drop(known);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An idempotent producer for one log.
pub struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    reports: Arc<Reports>,
    instance: String,
    raw: String,
    dead_letters: String,
    traces: Traces,
}

/// What librdkafka's threads tell.
struct Deliveries {
    reports: Arc<Reports>,
    raw: String,
    reachable: Condition,
    down: AtomicBool,
    stranded: Stranded,
    traces: Traces,
}

impl Publisher {
    /// Builds the producer, which connects by itself; its batches have at most `batch_bytes`, or as many as the
    /// settings say. `reachable` does not hold while no broker answers.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(
        kafka: &Kafka,
        instance: &str,
        batch_bytes: Option<usize>,
        reachable: Condition,
        traces: Traces,
    ) -> Result<Self, Error> {
        let mut settings = kafka.producer()?;
        settings.set(STATISTICS.0, STATISTICS.1);
        if let Some(bytes) = batch_bytes {
            settings.set("batch.size", bytes.to_string());
        }
        let reports = Arc::<Reports>::default();
        traces.forget();
        let context = Deliveries {
            reports: Arc::clone(&reports),
            raw: kafka.topics.raw.clone(),
            reachable,
            down: AtomicBool::new(false),
            stranded: Stranded::default(),
            traces: traces.clone(),
        };
        let producer = ThreadedProducer::from_config_and_context(&settings, context)
            .map_err(ClientError::from)?;
        Ok(Self {
            producer,
            reports,
            instance: instance.to_owned(),
            raw: kafka.topics.raw.clone(),
            dead_letters: kafka.topics.dead_letters.clone(),
            traces,
        })
    }

    /// Takes back what is not on its way to a broker; it is reported as [`Report::Returned`].
    pub fn take_back(&self) {
        self.producer.purge(PurgeConfig::default().queue());
    }

    /// Gives up what it has not delivered. What it did deliver is reported when this returns.
    pub fn give_up(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        if let Err(error) = self.producer.flush(GIVE_UP_DEADLINE) {
            tracing::debug!(%error, "the producer has not answered for all that it gave up");
        }
    }

    /// What became of the records of this producer.
    pub fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    /// Looks whether a Kafka that did not answer does so now: without this, only the next event would
    /// tell. Blocks for a moment while it does not.
    pub fn probe(&self) {
        let client = self.producer.client();
        if client.context().down.load(Ordering::Relaxed)
            && client.fetch_metadata(Some(&self.raw), PROBE_DEADLINE).is_ok()
        {
            client.context().answered();
        }
    }

    /// Whether it knows no broker any more, so that only a new producer helps.
    pub fn is_stranded(&self) -> bool {
        self.producer.context().stranded.is_certain(Instant::now())
    }

    /// Whether a broker answers now, whatever it answers. Blocks for a moment.
    pub fn answers(&self) -> bool {
        self.producer.client().fetch_metadata(Some(&self.raw), PROBE_DEADLINE).is_ok()
    }

    /// Gives an entry to the producer with this time in milliseconds since 1970: an event to the topic of
    /// raw events, keyed by its subject, a dead letter to the topic of dead letters.
    ///
    /// # Errors
    /// When the producer does not take it.
    pub fn send(&self, sequence: Sequence, entry: &Entry, time_ms: i64) -> Result<(), Unsent> {
        let seq = format!("{}:{sequence}", self.instance);
        let offset = sequence.to_string();
        let mut headers = OwnedHeaders::new_with_capacity(6);
        let mut add = |key: &str, value: &str| {
            let own = std::mem::replace(&mut headers, OwnedHeaders::new_with_capacity(0));
            headers = own.insert(Header { key, value: Some(value) });
        };
        let identity = entry.identity.as_ref();
        if let Some(id) = identity.and_then(|identity| identity.id.as_deref()) {
            add(header::ID, id);
        }
        add(header::SOURCE, &entry.source);
        add(header::SEQ, &seq);
        if let Some(reason) = entry.reason {
            add(header::REASON, reason.as_str());
            add(header::OFFSET, &offset);
        }
        if let Some(receipt) = self.traces.sent(sequence, &seq, entry) {
            add(header::TRACEPARENT, &receipt.to_string());
        }
        let topic = if entry.reason.is_none() { &self.raw } else { &self.dead_letters };
        let mut record = BaseRecord::with_opaque_to(topic, sequence.to_opaque())
            .payload(&entry.payload[..])
            .timestamp(time_ms)
            .headers(headers);
        // Without a key, the producer spreads the records over the partitions.
        if let Some(key) = identity.and_then(|identity| identity.key.as_deref()) {
            record = record.key(key);
        }
        self.producer.send(record).map_err(|(error, _record)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Unsent::Full,
            Some(code) if Report::is_refusal(code) => Unsent::Refused(code),
            _ => Unsent::Broken(error),
        })
    }
}

/// The sequence in a header `mr-seq`, if the record is of `instance`.
pub fn sequence_of(seq: &[u8], instance: &str) -> Option<Sequence> {
    let (of, sequence) = std::str::from_utf8(seq).ok()?.rsplit_once(':')?;
    if of == instance { sequence.parse().ok() } else { None }
}

/// The reason in a header `mr-reason`.
pub fn reason_of(reason: &[u8]) -> Option<Reason> {
    std::str::from_utf8(reason).ok()?.parse().ok()
}

// === impl Deliveries ===

impl Deliveries {
    fn answered(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("kafka answers again");
            self.reachable.set();
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let sequence = Sequence::from_opaque(opaque);
        let (report, place) = match result {
            Ok(record) => {
                self.answered();
                self.traces.delivered(sequence, record);
                let is_raw = record.topic() == self.raw;
                let topic = if is_raw { Topic::Raw } else { Topic::DeadLetters };
                (Report::Delivered, Some((topic, record.partition(), record.offset())))
            }
            Err((error, _)) => {
                self.traces.lost(sequence);
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                (Report::of(code), None)
            }
        };
        self.reports.push(sequence, report, place);
    }
}

impl ClientContext for Deliveries {
    fn stats(&self, statistics: Statistics) {
        self.stranded.look(&statistics, Instant::now());
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            tracing::warn!(%error, reason, "kafka");
        } else if !self.down.swap(true, Ordering::Relaxed) {
            // Told once: librdkafka repeats it with every attempt.
            tracing::warn!(reason, "kafka does not answer; what comes is logged");
            self.reachable.unset("no broker answers");
        }
    }
}

/// Passes on what librdkafka logs; a broker that cannot be reached is not the end of the world.
fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
            tracing::warn!(facility, message, "librdkafka");
        }
        Level::Warning | Level::Notice | Level::Info | Level::Debug => {
            tracing::debug!(facility, message, "librdkafka");
        }
    }
}
