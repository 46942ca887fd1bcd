//! A stage's two ends at Kafka, and what both stages do with them in the same way: read until nothing
//! is left, and publish once an interval, after what was published before has arrived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::kafka::Kafka;
use rdkafka::message::BorrowedMessage;

use super::context::Context;
use crate::error::Error;
use crate::group::{Change, GroupConsumer, Polled};
use crate::pace::Pace;
use crate::publisher::{Publisher, Ticket};

/// The longest wait for a record.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// The shortest one, while there is other work: something to publish waits for what was published before
/// it to arrive, or records are replayed.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How long a stop waits for what was sent last to be acknowledged.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The consumer and the producer of a stage.
pub(super) struct Exchange {
    pub(super) consumer: GroupConsumer,
    pub(super) out: Publisher,
    /// What was published last.
    pub(super) sent: Arc<Ticket>,
    pace: Pace,
    /// When the last record was read.
    last_read: Instant,
    /// Whether everything that had arrived is read.
    caught_up: bool,
}

/// How long a stage has time to wait for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// There is other work, which may have to wait itself.
    Briefly,
    /// Until something is to be published.
    UntilPublication,
    /// There is nothing else to do.
    Idle,
}

/// What is read.
pub(super) enum Read<'m> {
    /// A record.
    Record(&'m BorrowedMessage<'m>),
    /// A partition was read to the end that it has now.
    End(i32),
}

/// What a round of reading ended with.
pub(super) enum Round {
    /// There may be more to read.
    More,
    /// Everything that had arrived is read; meanwhile the membership changed like this.
    CaughtUp(Vec<Change>),
    /// Some partition's next offset is not in the log any more.
    OutOfRange,
}

impl Exchange {
    /// Joins `group` on `topic`, and opens a producer.
    pub(super) fn open(
        context: &Context,
        group: &str,
        topic: &str,
        properties: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let config = &context.config;
        let (kafka, instance): (&Kafka, _) = (&config.kafka, config.instance_id.as_deref());
        let bytes = context.metrics.published_bytes.clone();
        Ok(Self {
            consumer: GroupConsumer::join(kafka, group, topic, instance, properties)?,
            out: Publisher::new(&kafka.producer()?, context.stop.clone(), bytes)?,
            sent: Ticket::new(),
            pace: Pace::new(Duration::from_millis(config.emit_interval_ms)),
            last_read: Instant::now(),
            caught_up: false,
        })
    }

    /// Hands up to `batch` records to `handle`; waits for the first one when nothing was left before.
    pub(super) fn read(
        &mut self,
        batch: usize,
        wait: Wait,
        mut handle: impl FnMut(Read<'_>),
    ) -> Result<Round, Error> {
        self.out.check()?;
        let mut timeout = if self.caught_up { self.timeout(wait) } else { Duration::ZERO };
        self.caught_up = false;
        let mut found = false;
        for _ in 0..batch {
            match self.consumer.poll(timeout)? {
                Polled::Record(message) => {
                    handle(Read::Record(&message));
                    found = true;
                }
                Polled::End(partition) => handle(Read::End(partition)),
                Polled::OutOfRange => return Ok(Round::OutOfRange),
                Polled::Nothing => {
                    self.caught_up = true;
                    break;
                }
            }
            timeout = Duration::ZERO;
        }
        if found {
            self.last_read = Instant::now();
        }
        Ok(if self.caught_up { Round::CaughtUp(self.consumer.changes()) } else { Round::More })
    }

    /// Whether what has changed is to be published: not before what was sent last has arrived, so that a
    /// slow broker gets fewer and newer results.
    pub(super) fn publication_due(&self, now: Instant) -> bool {
        self.sent.acknowledged() && self.pace.time_until_due(now, self.last_read).is_zero()
    }

    /// Something was published, from `started` until `ended`.
    pub(super) fn published(&mut self, started: Instant, ended: Instant) {
        self.pace.done(started, ended);
    }

    /// Waits until all that was sent has arrived, for as long as a stop may take.
    pub(super) fn flush(&self) -> Result<(), Error> {
        Ok(self.out.flush(FLUSH_TIMEOUT)?)
    }

    fn timeout(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Briefly => SHORTEST_WAIT,
            Wait::Idle => IDLE_WAIT,
            Wait::UntilPublication => {
                let due = self.pace.time_until_due(Instant::now(), self.last_read);
                due.clamp(SHORTEST_WAIT, IDLE_WAIT)
            }
        }
    }
}
