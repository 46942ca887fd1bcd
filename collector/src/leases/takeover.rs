//! Taking sources over, and publishing how far they have come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::backoff::Backoff;
use common::kafka::reader::{self, Reader};
use common::kafka::{ClientError, Kafka, Topic};
use common::message_log::{Error as LogError, MessageLog};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Leased;
use super::records::{Beginning, Records, key};
use crate::cursor::{Cursor, Progress, Record};
use crate::error::Error;

/// How often cursors are published.
const PUBLISH: Duration = Duration::from_secs(1);
/// How long Kafka may take to acknowledge a cursor.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a step waits before it is tried again, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// What a takeover needs.
pub(super) struct Takeover {
    kafka: Kafka,
    log: MessageLog,
    progress: Progress,
    /// Made anew when it has not answered for long: with changed credentials, or because it knows no broker any more.
    producer: Mutex<FutureProducer>,
}

impl Takeover {
    pub(super) fn new(kafka: &Kafka, log: MessageLog, progress: Progress) -> Result<Self, Error> {
        let producer = Mutex::new(producer(kafka)?);
        Ok(Self { kafka: kafka.clone(), log, progress, producer })
    }

    /// Takes a source over and returns where it is followed from: where the newest of its owners has come to. Tries until that
    /// has succeeded.
    pub(super) async fn begin(&self, source: &Leased) -> Option<Cursor> {
        let local = self.local(source).await;
        let beginning = self.beginning(source, local.clone()).await;
        let resume = beginning.resume.clone();
        if let Some(cursor) = resume.as_ref().filter(|_| resume != local) {
            self.retry(source, || self.log.put_cursor(&source.name, &cursor.0)).await;
        }
        let cursor = resume.clone().unwrap_or_default();
        self.claim_at(source, beginning.takeover, cursor).await;
        resume
    }

    /// Returns where this collector has come to with a source.
    pub(super) async fn begin_alone(&self, source: &Leased) -> Option<Cursor> {
        self.local(source).await
    }

    /// Takes over a source that is followed here already.
    pub(super) async fn claim(&self, source: &Leased) {
        let local = self.retry(source, || self.log.cursor(&source.name)).await.map(Cursor);
        let beginning = self.beginning(source, local.clone()).await;
        self.claim_at(source, beginning.takeover, local.unwrap_or_default()).await;
    }

    /// Where this collector has come to, in its own log.
    async fn local(&self, source: &Leased) -> Option<Cursor> {
        let begin = || self.log.begin_source(&source.name, &source.feed);
        self.retry(source, begin).await.map(Cursor)
    }

    async fn beginning(&self, source: &Leased, local: Option<Cursor>) -> Beginning {
        let records = self.records(source).await;
        records.beginning(&source.name, self.log.instance(), &source.feed, local)
    }

    /// Says that the source is followed here from this cursor on.
    async fn claim_at(&self, source: &Leased, takeover: u64, cursor: Cursor) {
        let record = Record { takeover, number: 0, feed: source.feed.clone(), cursor };
        self.send(&source.name, &record).await;
        self.progress.taken(&source.name, &record);
        source.metrics.takeovers.inc();
        tracing::info!(source = &*source.name, takeover, "has taken the source over");
    }

    /// All records that are there now.
    async fn records(&self, source: &Leased) -> Records {
        let [base, cap] = AGAIN;
        let mut backoff = Backoff::new(base, cap);
        loop {
            let kafka = self.kafka.clone();
            let stop = CancellationToken::new();
            let guard = stop.clone().drop_guard();
            let read = tokio::task::spawn_blocking(move || read(&kafka, &stop)).await;
            drop(guard);
            match read {
                Ok(Ok(records)) => return records,
                Ok(Err(error)) => {
                    tracing::warn!(source = &*source.name, %error, "asking again where it was")
                }
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
            let delay = backoff.next_delay(&mut rand::rng());
            sleep(delay).await;
        }
    }

    /// Does something with the log until it has succeeded.
    async fn retry<T>(&self, source: &Leased, mut step: impl FnMut() -> Result<T, LogError>) -> T {
        let [base, cap] = AGAIN;
        let mut backoff = Backoff::new(base, cap);
        loop {
            match step() {
                Ok(done) => return done,
                Err(error) => {
                    tracing::warn!(source = &*source.name, %error, "trying again to take it over")
                }
            }
            let delay = backoff.next_delay(&mut rand::rng());
            sleep(delay).await;
        }
    }

    /// Publishes cursors, in the background and without end.
    pub(super) async fn publish(self: Arc<Self>) {
        loop {
            sleep(PUBLISH).await;
            for (source, record) in self.progress.due() {
                self.send(&source, &record).await;
                self.progress.published(&source, &record);
            }
        }
    }

    /// Waits until Kafka has the record.
    async fn send(&self, source: &str, record: &Record) {
        let (topic, key) = (self.kafka.name(Topic::Cursors), key(source, self.log.instance()));
        // It consists of numbers and texts.
        let Ok(value) = serde_json::to_vec(record) else { return };
        let [base, cap] = AGAIN;
        let mut backoff = Backoff::new(base, cap);
        loop {
            let own = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let record = FutureRecord::to(topic).key(&key).payload(&value);
            match timeout(PATIENCE, own.send(record, Timeout::Never)).await {
                Ok(Ok(_)) => return,
                Ok(Err((error, _))) => {
                    tracing::warn!(source, %error, "publishing its cursor again")
                }
                Err(_) => match producer(&self.kafka) {
                    Ok(new) => {
                        *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = new;
                    }
                    Err(error) => tracing::warn!(source, %error, "the former producer stays"),
                },
            }
            let delay = backoff.next_delay(&mut rand::rng());
            sleep(delay).await;
        }
    }
}

fn producer(kafka: &Kafka) -> Result<FutureProducer, ClientError> {
    Ok(kafka.producer()?.create()?)
}

/// Reads all records. Blocks.
fn read(kafka: &Kafka, stop: &CancellationToken) -> Result<Records, reader::Error> {
    let (topic, reader) = (kafka.name(Topic::Cursors), Reader::new(kafka)?);
    let spans = reader.spans(topic, &reader.partitions(topic)?)?;
    let mut records = Records::default();
    reader
        .read_to_end(topic, &spans, stop, |record| records.read(record.key(), record.payload()))?;
    Ok(records)
}
