//! Reads what the collector writes: `raw-rsvps` from the end that it had when `up` started, and all dead letters. Says
//! which lines are still missing.
//!
//! A separate thread polls Kafka, and reports its newest state through a `watch` channel.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::event::control::Control;
use common::kafka::reader::{self, Polled, Span};
use common::kafka::{Kafka, Reader, Topic, header};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::completion::Awaited;

const POLL: Duration = Duration::from_millis(50);
/// How long a topic may have no leader when the ledger is opened.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How often Kafka is asked: at the start until it answers, and for the ends of the partitions once nothing is missing.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What was found in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Records read from both topics; it grows as long as the collector writes.
    pub read: u64,
    /// Those of them that are in `raw-rsvps`, without control records.
    pub events: u64,
    /// Partitions and offsets of the control records in `raw-rsvps`.
    pub controls: Vec<(i32, i64)>,
    /// How many lines of the feed were not found yet; `None` until it is known what to expect.
    pub missing: Option<u64>,
    /// The offsets of the raw partitions, set when no line is missing and all of these offsets were read.
    pub raw: Option<BTreeMap<i32, Span>>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
}

/// Why it is not known what was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topics could not be created, or are unsuitable.
    #[error(transparent)]
    Topics(#[from] common::kafka::Error),
    /// Kafka cannot be read.
    #[error(transparent)]
    Kafka(#[from] reader::Error),
    /// The broker deleted records before they were read.
    #[error(
        "the broker deleted records of {0} before they were read; the in-memory broker keeps 5 MiB a partition: use Apache Kafka, or a slower --rate"
    )]
    Forgotten(String),
    /// The thread panicked.
    #[error("the reader of Kafka died: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether trying again can help.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Topics(error) => error.retryable(),
            Self::Kafka(error) => error.retryable(),
            Self::Forgotten(_) | Self::Broken(_) => false,
        }
    }
}

/// The reader of both topics, and what it has found so far.
pub struct Ledger {
    reader: Reader,
    raw: Partitions,
    dead: Partitions,
    awaited: Awaited,
    written: Written,
}

/// One topic, and how far it was read.
struct Partitions {
    topic: String,
    /// The offsets of its partitions when the ledger was opened.
    before: BTreeMap<i32, Span>,
    next: BTreeMap<i32, i64>,
}

impl Ledger {
    /// Records the current offsets of the topics, which are created if they are missing.
    ///
    /// # Errors
    /// When Kafka does not allow it, or does not answer for half a minute.
    pub async fn open(kafka: &Kafka) -> Result<Self, Error> {
        kafka.ensure_topics(&[Topic::Raw, Topic::DeadLetters], None).await?;
        let patience = Instant::now() + OPEN_DEADLINE;
        loop {
            let kafka = kafka.clone();
            match tokio::task::spawn_blocking(move || Self::open_blocking(&kafka)).await? {
                // A partition that was just created is listed before it has a leader.
                Err(error) if error.retryable() && Instant::now() < patience => {
                    tracing::debug!(%error, "waiting for kafka");
                    tokio::time::sleep(ASK_EVERY).await;
                }
                opened => return opened,
            }
        }
    }

    fn open_blocking(kafka: &Kafka) -> Result<Self, Error> {
        let reader = Reader::new(kafka)?;
        let raw = Partitions::before(&reader, &kafka.topics.raw)?;
        // All dead letters are counted, including those of earlier runs, because the results include earlier runs too.
        let dead = Partitions::before(&reader, &kafka.topics.dead_letters)?;
        let new = raw.before.iter().map(|(&partition, span)| (&*raw.topic, partition, span.end));
        let all =
            dead.before.iter().map(|(&partition, span)| (&*dead.topic, partition, span.start));
        reader.assign(new.chain(all))?;
        Ok(Self { reader, raw, dead, awaited: Awaited::default(), written: Written::default() })
    }

    /// Reads until `stop` and reports its state to `tell`. `lines` receives the lines of the feed, a map from content hash
    /// to number of copies, as soon as all are known.
    ///
    /// # Errors
    /// When records are deleted before they were read, or Kafka cannot be read.
    pub async fn follow(
        mut self,
        lines: oneshot::Receiver<HashMap<u64, u64>>,
        tell: watch::Sender<Written>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || self.follow_blocking(lines, &tell, &stop)).await?
    }

    fn follow_blocking(
        &mut self,
        mut lines: oneshot::Receiver<HashMap<u64, u64>>,
        tell: &watch::Sender<Written>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut asked = Instant::now();
        while !stop.is_cancelled() {
            let mut wait = POLL;
            // Records that have arrived are taken at once, up to 1,000; then the state is reported.
            loop {
                match self.reader.poll(wait)? {
                    Polled::Record(message) => note(
                        &message,
                        &mut self.raw,
                        &mut self.dead,
                        &mut self.awaited,
                        &mut self.written,
                    ),
                    Polled::PositionLost => return Err(Error::Forgotten(self.raw.topic.clone())),
                    // librdkafka reconnects by itself.
                    Polled::Trouble(error) => tracing::debug!(%error, "waiting for kafka"),
                    Polled::End(_) => {}
                    Polled::Nothing => break,
                }
                wait = Duration::ZERO;
                if self.written.read.is_multiple_of(1_000) {
                    break;
                }
            }
            if let Ok(lines) = lines.try_recv() {
                self.awaited.expect(&lines);
            }
            self.written.missing = self.awaited.left();
            if self.written.missing == Some(0) && asked.elapsed() >= ASK_EVERY {
                self.written.raw = self.ends();
                asked = Instant::now();
            }
            tell.send_if_modified(|told| {
                let news = *told != self.written;
                if news {
                    told.clone_from(&self.written);
                }
                news
            });
        }
        Ok(())
    }

    /// The offsets of the raw partitions, if both topics have been read to their end.
    fn ends(&self) -> Option<BTreeMap<i32, Span>> {
        let dead = self.dead.now(&self.reader)?;
        let raw = self.raw.now(&self.reader)?;
        (self.dead.is_read_to(&dead) && self.raw.is_read_to(&raw)).then_some(raw)
    }
}

fn note(
    message: &BorrowedMessage<'_>,
    raw: &mut Partitions,
    dead: &mut Partitions,
    awaited: &mut Awaited,
    written: &mut Written,
) {
    written.read += 1;
    let (partition, offset) = (message.partition(), message.offset());
    let payload = message.payload().unwrap_or_default();
    let is_raw = message.topic() == raw.topic;
    let is_control = is_raw && Control::read(message.key(), payload).is_some();
    let topic = if is_raw {
        if is_control {
            written.controls.push((partition, offset));
        } else {
            written.events += 1;
        }
        raw
    } else {
        *written.dead_letters.entry(reason(message)).or_default() += 1;
        dead
    };
    topic.next.insert(partition, offset + 1);
    let is_new = topic.before.get(&partition).is_none_or(|span| offset >= span.end);
    if is_new && !is_control {
        awaited.arrived(xxh3_64(payload));
    }
}

fn reason(message: &BorrowedMessage<'_>) -> String {
    let value = header::value(message, header::REASON);
    value.map_or_else(|| "unknown".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

impl Partitions {
    fn before(reader: &Reader, topic: &str) -> Result<Self, Error> {
        let before = reader.spans(topic, &reader.partitions(topic)?)?;
        Ok(Self { topic: topic.to_owned(), before, next: BTreeMap::new() })
    }

    /// Their offsets now, from the start that they had before; `None` while the broker does not answer.
    fn now(&self, reader: &Reader) -> Option<BTreeMap<i32, Span>> {
        let now = self.before.iter().map(|(&partition, before)| {
            let end = reader.span(&self.topic, partition).ok()?.end;
            Some((partition, Span { end, ..*before }))
        });
        now.collect()
    }

    fn is_read_to(&self, now: &BTreeMap<i32, Span>) -> bool {
        now.iter().all(|(partition, span)| {
            let begun = self.before.get(partition).is_some_and(|before| before.end == span.end);
            begun || self.next.get(partition).is_some_and(|&next| next >= span.end)
        })
    }
}
