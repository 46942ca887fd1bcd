//! Reads what the collector wrote: `raw-rsvps` and the dead letters, from where they stood when `up`
//! started, and says what is still missing.
//!
//! A thread of its own polls Kafka; what it knows goes out through a `watch` channel, newest state only.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::kafka::reader::{self, Polled, Span};
use common::kafka::{Kafka, Reader, Topic, header};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::completion::Awaited;

const POLL: Duration = Duration::from_millis(50);
/// How long a broker may be without a leader for a topic when the ledger is opened.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How often Kafka is asked: for the ends of the partitions once nothing is missing, and for an answer at the start.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// What stands in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Records read since the start, any topic: moves as long as the collector works.
    pub read: u64,
    /// Events among them that were written since then.
    pub events: u64,
    /// Lines of the feed that were not seen yet; `None` until the feed has said what to expect.
    pub missing: Option<u64>,
    /// What the raw partitions hold, asked after nothing was missing; all of it has been read.
    pub raw: Option<BTreeMap<i32, Span>>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, u64>,
}

/// Why nothing can be said about what was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topics could not be made ready.
    #[error(transparent)]
    Topics(#[from] common::kafka::Error),
    /// Kafka cannot be read.
    #[error(transparent)]
    Kafka(#[from] reader::Error),
    /// The broker no longer has what was not read yet.
    #[error(
        "the broker forgot records of {0} before they were read; the in-memory broker keeps 5 MiB a partition: use Apache Kafka, or a slower --rate"
    )]
    Forgotten(String),
    /// The thread could not go on.
    #[error("the reader of Kafka broke: {0}")]
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

/// The position from which the ledger reads.
pub struct Ledger {
    reader: Reader,
    raw: Partitions,
    dead: Partitions,
    awaited: Awaited,
    written: Written,
}

/// One topic, as far as it was read.
struct Partitions {
    topic: String,
    /// What they held when the ledger was opened.
    before: BTreeMap<i32, Span>,
    next: BTreeMap<i32, i64>,
}

impl Ledger {
    /// Notes where the topics stand, which are created when they are missing.
    ///
    /// # Errors
    /// When Kafka does not allow it, or has no answer for half a minute.
    pub async fn open(kafka: &Kafka) -> Result<Self, Error> {
        kafka.ensure_topics(&[Topic::Raw, Topic::DeadLetters]).await?;
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
        // All dead letters are counted, those of earlier runs too: they are in the results' past as well.
        let dead = Partitions::before(&reader, &kafka.topics.dead_letters)?;
        let new = raw.before.iter().map(|(&partition, span)| (&*raw.topic, partition, span.end));
        let all =
            dead.before.iter().map(|(&partition, span)| (&*dead.topic, partition, span.start));
        reader.assign(new.chain(all))?;
        Ok(Self { reader, raw, dead, awaited: Awaited::default(), written: Written::default() })
    }

    /// Reads until `stop` and tells how far it is. `lines` are the feed's, content hash to copies, as
    /// soon as all are known.
    ///
    /// # Errors
    /// When records are gone before they were read.
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
            // What is there is taken at once; then it is told.
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
                    // A broker that is away comes back; what it forgot does not.
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

    /// What the raw partitions hold, if everything in both topics has been read.
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
    let topic = if message.topic() == raw.topic {
        written.events += 1;
        raw
    } else {
        *written.dead_letters.entry(reason(message)).or_default() += 1;
        dead
    };
    topic.next.insert(partition, offset + 1);
    if topic.before.get(&partition).is_none_or(|span| offset >= span.end) {
        awaited.arrived(xxh3_64(message.payload().unwrap_or_default()));
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

    /// What they hold now, from where they began; `None` while the broker does not answer.
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
