//! Reads in Kafka what other collectors say, on a thread of its own.

use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::kafka::reader::{Error, Polled, Quiet, Reader};
use common::kafka::{Kafka, Rotation, Topic};
use rdkafka::Message as _;
use tokio_util::sync::CancellationToken;

use super::Acks;
use super::record::Record;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// How often Kafka is asked for the end of the topic, because a reader to which nothing comes is not told that Kafka is away.
const ASK: Duration = Duration::from_secs(5);
/// The same while it is not known whether all was read.
const ASK_FOR_MORE: Duration = Duration::from_millis(500);
/// How long to wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long it may fail before somebody is told: at a first start the topic is being made.
const PATIENCE: Duration = Duration::from_secs(5);
/// The memory for what was fetched and is not taken in yet.
const FETCHED: [(&str, &str); 2] =
    [("queued.max.messages.kbytes", "4096"), ("fetch.message.max.bytes", "1048576")];

/// Reads until `stop`. Blocks.
pub(super) fn read(kafka: &Kafka, acks: &Acks, mut rotation: Rotation, stop: &CancellationToken) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let (mut position, mut is_told, mut failing) = (0, false, None::<Instant>);
    while !stop.is_cancelled() {
        rotation.acknowledge();
        let outcome = read_with_one_client(kafka, acks, &mut position, &rotation, stop, || {
            if is_told {
                tracing::info!("what other collectors have acknowledged is read again");
            }
            (is_told, failing) = (false, None);
            backoff.reset();
        });
        acks.others().current(false);
        let Err(error) = outcome else { continue };
        let is_lasting = failing.get_or_insert_with(Instant::now).elapsed() >= PATIENCE;
        if is_told || !is_lasting {
            tracing::debug!(%error, "what other collectors have acknowledged cannot be read now");
        } else {
            tracing::warn!(
                %error,
                topic = kafka.name(Topic::Acks),
                "what other collectors have acknowledged cannot be read; trying again"
            );
            is_told = true;
        }
        let (delay, since) = (backoff.next_delay(&mut rand::rng()), Instant::now());
        while since.elapsed() < delay && !stop.is_cancelled() {
            std::thread::sleep(POLL.min(delay.saturating_sub(since.elapsed())));
        }
    }
}

/// Reads until `stop`, or until there are new credentials, from `position` on if the topic has that.
fn read_with_one_client(
    kafka: &Kafka,
    acks: &Acks,
    position: &mut i64,
    rotation: &Rotation,
    stop: &CancellationToken,
    mut succeeded: impl FnMut(),
) -> Result<(), Error> {
    let topic = kafka.name(Topic::Acks);
    let reader = Reader::with_context(kafka, Quiet, &FETCHED)?;
    // Says if there is no topic.
    reader.partitions(topic)?;
    let span = reader.span(topic, 0)?;
    if !(span.start..=span.end).contains(position) {
        *position = span.start;
        acks.others().begin();
    }
    reader.assign([(topic, 0, *position)])?;
    let (mut asked, mut is_end) = (Instant::now(), false);
    while !stop.is_cancelled() && !rotation.is_due() {
        let is_current = acks.others().is_current();
        let is_due = match reader.poll(POLL)? {
            Polled::Record(record) => {
                (*position, is_end) = (record.offset() + 1, false);
                let (key, value) = (record.key().unwrap_or_default(), record.payload());
                // A record without a value says that its key is deleted.
                let Some(value) = value else { continue };
                let time_ms = record.timestamp().to_millis().unwrap_or(0);
                match Record::decode(key, value) {
                    Some((instance, said)) => acks.heard(instance, &said, time_ms),
                    None => tracing::debug!(offset = record.offset(), "not understood"),
                }
                false
            }
            Polled::End(_) => {
                is_end = true;
                !is_current
            }
            Polled::PositionLost => {
                let (topic, partition, offset) = (topic.to_owned(), 0, *position);
                return Err(Error::PositionLost { topic, partition, offset });
            }
            // Also what librdkafka tries again by itself, because that may be without an end: a topic that may not be read.
            Polled::Trouble(source) => {
                let (what, topic) = ("the records", topic.to_owned());
                return Err(Error::Unanswered { what, topic, source });
            }
            Polled::Nothing => false,
        };
        let pause = if is_current { ASK } else { ASK_FOR_MORE };
        if is_due || asked.elapsed() >= pause {
            // Before the end is asked for: what this collector has said tells how old the rest is.
            let is_told = acks.is_told();
            let span = reader.span(topic, 0)?;
            asked = Instant::now();
            if span.end < *position {
                let (topic, partition, offset) = (topic.to_owned(), 0, *position);
                return Err(Error::PositionLost { topic, partition, offset });
            }
            // Records at the end are never missing, unless all are.
            if is_told && is_end && (*position == span.end || span.is_empty()) {
                acks.others().current(true);
                succeeded();
            }
        }
    }
    Ok(())
}
