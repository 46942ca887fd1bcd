//! Taking sources over, and publishing how far they have come.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::backoff::Backoff;
use common::kafka::reader::{self, Reader};
use common::kafka::{ClientError, Kafka, Topic};
use common::message_log::{Error as LogError, MessageLog, Sequence};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::leased::Leased;
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
    /// Everything before was in the log at the start.
    start: Sequence,
    progress: Progress,
    /// Made anew when it has not answered for long: with changed credentials, or because it knows no broker any more.
    producer: Mutex<FutureProducer>,
    /// What was read last, and when that began.
    records: tokio::sync::Mutex<Option<(Instant, Arc<Records>)>>,
}

/// Another collector has had the source since this one had it.
#[derive(Debug)]
pub(super) struct HadByAnother;

impl Takeover {
    pub(super) fn new(
        kafka: &Kafka,
        (log, start): (MessageLog, Sequence),
        progress: Progress,
    ) -> Result<Self, Error> {
        let (producer, records) = (Mutex::new(producer(kafka)?), tokio::sync::Mutex::default());
        Ok(Self { kafka: kafka.clone(), log, start, progress, producer, records })
    }

    /// Takes a source over and returns where it is followed from: where the newest of its owners has come to. Tries until that
    /// has succeeded.
    pub(super) async fn begin(&self, source: &Leased) -> Option<Cursor> {
        let local = self.begin_alone(source).await;
        let records = self.records(source).await;
        let beginning =
            records.beginning(&source.name, self.log.instance(), &source.feed, local.as_ref());
        if let Beginning { by_another: true, resume: Some(cursor), .. } = &beginning {
            self.progress.forget(&source.name);
            self.retry(source, || self.log.put_cursor(&source.name, &cursor.0)).await;
        }
        self.claim_at(source, &beginning).await;
        beginning.resume
    }

    /// Takes over a source that is followed here already.
    ///
    /// # Errors
    /// When it has to begin anew, because another collector has come further meanwhile.
    pub(super) async fn claim(&self, source: &Leased) -> Result<(), HadByAnother> {
        let records = self.records(source).await;
        let local = self.retry(source, || self.log.cursor(&source.name)).await.map(Cursor);
        let beginning =
            records.beginning(&source.name, self.log.instance(), &source.feed, local.as_ref());
        if beginning.by_another {
            return Err(HadByAnother);
        }
        self.claim_at(source, &beginning).await;
        Ok(())
    }

    /// Returns where this collector has come to with a source, in its own log, whatever others have.
    pub(super) async fn begin_alone(&self, source: &Leased) -> Option<Cursor> {
        let begin = || self.log.begin_source(&source.name, &source.feed);
        let local = self.retry(source, begin).await.map(Cursor);
        if let Some(cursor) = &local {
            // What it covers is in the log, and perhaps not in Kafka yet.
            self.progress.found(&source.name, self.start, cursor);
        }
        local
    }

    /// Says that the source is followed here, and where Kafka has everything before.
    async fn claim_at(&self, source: &Leased, beginning: &Beginning) {
        let Beginning { takeover, published, .. } = beginning;
        let (takeover, feed) = (*takeover, source.feed.clone());
        let record = Record { takeover, number: 0, feed, cursor: published.clone() };
        self.send(&source.name, &record).await;
        self.progress.taken(&source.name, &record);
        source.metrics.takeovers.inc();
        tracing::info!(source = &*source.name, takeover, "has taken the source over");
    }

    /// All records that are there now. Those that ask at the same time share an answer.
    async fn records(&self, source: &Leased) -> Arc<Records> {
        let asked = Instant::now();
        let mut last = self.records.lock().await;
        if let Some((began, records)) = &*last
            && *began >= asked
        {
            return Arc::clone(records);
        }
        let [base, cap] = AGAIN;
        let mut backoff = Backoff::new(base, cap);
        loop {
            let (began, kafka) = (Instant::now(), self.kafka.clone());
            let stop = CancellationToken::new();
            let guard = stop.clone().drop_guard();
            let read = tokio::task::spawn_blocking(move || read(&kafka, &stop)).await;
            drop(guard);
            match read {
                Ok(Ok(records)) => {
                    let records = Arc::new(records);
                    *last = Some((began, Arc::clone(&records)));
                    return records;
                }
                Ok(Err(error)) => {
                    tracing::warn!(source = &*source.name, %error, "asking again where the source is");
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
                    tracing::warn!(source = &*source.name, %error, "trying again to take it over");
                }
            }
            let delay = backoff.next_delay(&mut rand::rng());
            sleep(delay).await;
        }
    }

    /// Publishes the cursors of a source, in the background and without end.
    pub(super) async fn publish(self: Arc<Self>, source: Arc<str>) {
        loop {
            sleep(PUBLISH).await;
            if let Some(record) = self.progress.due(&source) {
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
                    tracing::warn!(source, %error, "publishing its cursor again");
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
    reader.read_to_end(topic, &spans, stop, |record| {
        records.read(record.key(), record.payload());
    })?;
    Ok(records)
}
