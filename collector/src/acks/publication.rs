//! Says in Kafka what became of this collector's entries: at most once a second, and when there is something new.
//!
//! The notes are sent first. When Kafka has them the watermark follows, so that whoever knows that an entry is in Kafka also
//! knows of its dead letter. One round is in flight. While Kafka is away, it fails, and the next one says what is true then.

use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::kafka::reader::Quiet;
use common::kafka::{self, ClientError, Kafka, Rotation, Topic};
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use tokio_util::sync::CancellationToken;

use super::Acks;
use super::record::Record;
use super::unpublished::Round;

/// How long it is at least from one round to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long Kafka may take for a record. Then a new producer tries.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait after a failure: not for long, because others deny what they are not told of.
const RETRY: (Duration, Duration) = (INTERVAL, Duration::from_secs(2));
/// How many records are sent before their answers are awaited. Each has some hundred bytes; the watermark has 16 KiB at most.
const IN_FLIGHT: usize = 1024;

/// Why others are not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Topic(#[from] kafka::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("kafka does not take them: {0}")]
    NotTaken(#[from] KafkaError),
    #[error("the producer has ended")]
    Ended,
}

/// Why a producer is not used any more.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The last word is said.
    Closed,
    /// There are new credentials.
    Renewed,
}

/// Says it until `stop`, and then a last time.
pub(super) async fn publish(
    kafka: Kafka,
    acks: Acks,
    mut rotation: Rotation,
    stop: CancellationToken,
) {
    let (mut backoff, mut is_told) = (Backoff::new(RETRY.0, RETRY.1), false);
    loop {
        rotation.acknowledge();
        acks.pass(Instant::now());
        let mut succeeded = || {
            if is_told {
                tracing::info!(
                    "other collectors are told again what became of acknowledged events"
                );
            }
            is_told = false;
            backoff.reset();
        };
        match with_one_producer(&kafka, &acks, &rotation, &stop, &mut succeeded).await {
            Ok(End::Closed) => return,
            Ok(End::Renewed) => continue,
            Err(error) if !is_told => {
                tracing::warn!(
                    %error,
                    "other collectors are not told what became of the events that this one has acknowledged; trying again"
                );
                is_told = true;
            }
            Err(error) => tracing::debug!(%error, "other collectors are still not told"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay(&mut rand::rng())) => {}
        }
    }
}

async fn with_one_producer(
    kafka: &Kafka,
    acks: &Acks,
    rotation: &Rotation,
    stop: &CancellationToken,
    succeeded: &mut impl FnMut(),
) -> Result<End, Error> {
    kafka.try_ensure_topics(&[Topic::Acks]).await?;
    let producer = producer(kafka)?;
    let outcome = tell(&producer, kafka.name(Topic::Acks), acks, rotation, stop, succeeded).await;
    // It may wait for its threads.
    drop(tokio::task::spawn_blocking(move || drop(producer)));
    outcome
}

async fn tell(
    producer: &FutureProducer<Quiet>,
    topic: &str,
    acks: &Acks,
    rotation: &Rotation,
    stop: &CancellationToken,
    succeeded: &mut impl FnMut(),
) -> Result<End, Error> {
    let instance = acks.instance();
    loop {
        let is_last = stop.is_cancelled();
        if let Some(round) = acks.begin_round(Instant::now()) {
            let outcome = send(producer, topic, &instance, &round).await;
            acks.end_round(round, outcome.is_ok());
            outcome?;
        }
        succeeded();
        if is_last {
            return Ok(End::Closed);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = rotation.due() => return Ok(End::Renewed),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn producer(kafka: &Kafka) -> Result<FutureProducer<Quiet>, ClientError> {
    let mut settings = kafka.producer()?;
    settings
        .set("message.timeout.ms", ANSWER_DEADLINE.as_millis().to_string())
        .set("queue.buffering.max.messages", (2 * IN_FLIGHT).to_string())
        .set("queue.buffering.max.kbytes", "4096");
    Ok(settings.create_with_context(Quiet)?)
}

async fn send(
    producer: &FutureProducer<Quiet>,
    topic: &str,
    instance: &str,
    round: &Round,
) -> Result<(), Error> {
    for notes in round.notes.chunks(IN_FLIGHT) {
        let records = notes.iter().map(|note| Record::Note(note.clone()));
        send_all(producer, topic, instance, records).await?;
    }
    send_all(producer, topic, instance, [Record::Watermark(round.watermark.clone())]).await
}

/// Sends these records, and waits until Kafka has them.
async fn send_all(
    producer: &FutureProducer<Quiet>,
    topic: &str,
    instance: &str,
    records: impl IntoIterator<Item = Record>,
) -> Result<(), Error> {
    let send = |record: Record| {
        let (key, value) = record.encode(instance);
        // One order of all that is said, also if somebody has added partitions.
        let record = FutureRecord::to(topic).partition(0).key(&key).payload(&value);
        producer.send_result(record).map_err(|(error, _)| Error::from(error))
    };
    let answers = records.into_iter().map(send).collect::<Result<Vec<DeliveryFuture>, _>>()?;
    for answer in answers {
        answer.await.map_err(|_canceled| Error::Ended)?.map_err(|(error, _)| error)?;
    }
    Ok(())
}
