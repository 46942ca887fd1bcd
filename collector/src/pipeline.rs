//! The writer thread: logs and publishes what came, and settles what Kafka answered.
//!
//! One turn takes whatever has arrived since the last one (group commit): every entry is given a
//! sequence and handed to the producer, then all are written to the log with one fsync, while
//! librdkafka is already sending. Answers are settled between turns, on this thread only, so that an
//! entry is in the log before its acknowledgement is looked at.
//!
//! | happens | done |
//! |---|---|
//! | the producer's queue is full | the batch is logged, then each entry waits for answers; the source waits too |
//! | Kafka refuses an entry for good | moved to `failed`, sent to the dead letters |
//! | Kafka refuses that dead letter too | it stays in `failed`, tried again at the next start |
//! | the producer is broken, or lost a record | a new one; what is pending is read back and sent again |
//! | the log cannot be written | not ready, nothing is taken; reopened with backoff, the batch written again |
//! | shutdown | the queue is emptied, then all answers are awaited; at the deadline the rest stays in the log |

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::admin::Condition;
use common::event::Reason;
use common::event::identity::identify;
use common::message_log::{Entry, MessageLog, Sequence};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::publisher::{Outcome, Outcomes, Publisher, Unsent};
use crate::source::cursor::Cursor;
use crate::source::{Logged, Message};

mod journal;
mod settle;
#[cfg(test)]
mod tests;

/// At most so much is written with one fsync, so that no source waits for long.
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// How long the writer sleeps when nothing happens; then it looks after the log and the producer.
const TICK: Duration = Duration::from_secs(1);

/// What the writer thread works with.
pub struct Pipeline {
    config: Config,
    source: Arc<str>,
    max_event_bytes: usize,
    cursor: Cursor,
    log: MessageLog,
    publisher: Publisher,
    outcomes: Arc<Outcomes>,
    /// Dead letters in flight.
    burying: HashMap<Sequence, Reason>,
    /// The producer lost a record or takes none: see [`rebuild`](Self::rebuild).
    broken: Option<String>,
    logged: watch::Sender<Logged>,
    metrics: Metrics,
    conditions: Conditions,
    runtime: Handle,
    /// Cancelled at the drain deadline: nothing may wait any longer.
    stop: CancellationToken,
}

/// What the writer thread reports to `/ready`.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// The message log can be written.
    pub log: Condition,
    /// Kafka can be written.
    pub kafka: Condition,
}

/// What a turn begins with.
enum Next {
    Message(Message),
    Settle,
    /// Nothing for a while.
    Idle,
    /// The source is gone and its queue is empty.
    Closed,
}

// === impl Pipeline ===

impl Pipeline {
    /// Puts the parts together. `runtime` is what the thread waits with.
    ///
    /// # Errors
    /// When the producer cannot be built.
    pub fn new(
        config: Config,
        log: MessageLog,
        logged: watch::Sender<Logged>,
        metrics: Metrics,
        conditions: Conditions,
        runtime: Handle,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let publisher = Publisher::new(&config.kafka, log.instance(), conditions.kafka.clone())?;
        let outcomes = publisher.outcomes();
        let (name, source) = config.source.only().map_err(Error::Address)?;
        let max_event_bytes = source.max_event_bytes;
        let cursor = Cursor::new(&source.resume, log.cursor(name).unwrap_or_default());
        let source = name.into();
        let burying = HashMap::new();
        let broken = None;
        Ok(Self {
            config,
            source,
            max_event_bytes,
            cursor,
            log,
            publisher,
            outcomes,
            burying,
            broken,
            logged,
            metrics,
            conditions,
            runtime,
            stop,
        })
    }

    /// Works until the source is gone and all is delivered, or the drain deadline comes. Blocks.
    ///
    /// # Errors
    /// What cannot be mended by trying again; what is not delivered is in the log in any case.
    pub fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), Error> {
        self.logged.send_modify(|logged| logged.cursor = self.cursor.position());
        let outcome = self.work(&mut messages);
        match outcome {
            Err(Error::Interrupted) => {
                tracing::warn!(
                    pending = self.log.pending(),
                    "drain deadline: the rest is in the log and sent at the next start"
                );
            }
            Err(error) => return Err(error),
            Ok(()) => tracing::info!(failed = self.log.failures(), "drained"),
        }
        // The producer first: what it still delivers is not sent again at the next start.
        drop(self.publisher);
        for (sequence, outcome) in self.outcomes.take() {
            if outcome == Outcome::Delivered {
                self.log.acknowledge(sequence)?;
            }
        }
        Ok(self.log.close()?)
    }

    fn work(&mut self, messages: &mut mpsc::Receiver<Message>) -> Result<(), Error> {
        self.conditions.log.set();
        self.resend()?;
        self.conditions.kafka.set();
        loop {
            match self.next(messages)? {
                Next::Message(first) => self.take(first, messages)?,
                Next::Settle => {}
                Next::Idle => self.publisher.probe(),
                Next::Closed => break,
            }
            self.settle()?;
            self.truncate()?;
        }
        loop {
            self.settle()?;
            if self.log.pending() + self.burying.len() == 0 {
                return Ok(());
            }
            self.wait(self.outcomes.some())?;
        }
    }

    fn next(&self, messages: &mut mpsc::Receiver<Message>) -> Result<Next, Error> {
        if let Ok(message) = messages.try_recv() {
            return Ok(Next::Message(message));
        }
        self.wait(async {
            tokio::select! {
                biased;
                message = messages.recv() => message.map_or(Next::Closed, Next::Message),
                () = self.outcomes.some() => Next::Settle,
                () = tokio::time::sleep(TICK) => Next::Idle,
            }
        })
    }

    /// Logs and publishes `first` and whatever else has arrived.
    fn take(
        &mut self,
        first: Message,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Result<(), Error> {
        let mut bytes = first.payload.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Ok(message) = messages.try_recv() else { break };
            bytes += message.payload.len();
            batch.push(message);
        }
        self.metrics.received.inc_by(batch.len() as u64);
        self.metrics.received_bytes.inc_by(bytes as u64);
        let entries: Vec<_> =
            batch.iter().map(|message| (self.log.allot(), self.entry(message))).collect();

        let mut sent = 0;
        for (sequence, entry) in &entries {
            match self.publisher.send(*sequence, entry) {
                Ok(()) => self.note_sent(*sequence, entry),
                // Logged first, sent then.
                Err(_) => break,
            }
            sent += 1;
        }
        for (_, entry) in &entries {
            let time_ms = entry.identity.as_ref().and_then(|identity| identity.time_ms);
            self.cursor.observe(entry.received_ms, time_ms);
        }
        self.append(&entries)?;
        self.logged.send_modify(|logged| {
            logged.messages += batch.len() as u64;
            logged.cursor = self.cursor.position();
        });
        drop(batch);
        for (sequence, entry) in &entries[sent..] {
            self.send(*sequence, entry)?;
        }
        Ok(())
    }

    fn entry(&self, message: &Message) -> Entry {
        let payload = message.payload.clone();
        let known = match message.refused {
            Some(reason) => Err(reason),
            None if payload.len() > self.max_event_bytes => Err(Reason::TooLarge),
            None => identify(&payload, &self.config.event),
        };
        let (identity, reason) = match known {
            Ok(identity) => (Some(identity), None),
            Err(reason) => (None, Some(reason)),
        };
        Entry {
            source: Arc::clone(&self.source),
            received_ms: message.received_ms,
            identity,
            reason,
            payload,
        }
    }

    /// Hands a logged entry to the producer, waiting while it is full. A broken producer is left to
    /// [`settle`](Self::settle), which sends all that is pending again.
    fn send(&mut self, sequence: Sequence, entry: &Entry) -> Result<(), Error> {
        loop {
            if self.broken.is_some() {
                return Ok(());
            }
            match self.publisher.send(sequence, entry) {
                Ok(()) => {
                    self.note_sent(sequence, entry);
                    return Ok(());
                }
                Err(Unsent::Full) => {
                    self.metrics.queue_full.inc();
                    self.wait(self.outcomes.some())?;
                    self.answers()?;
                }
                Err(Unsent::Refused(code)) => return self.refuse(sequence, &code.to_string()),
                Err(Unsent::Broken(error)) => self.broken = Some(error.to_string()),
            }
        }
    }

    fn note_sent(&mut self, sequence: Sequence, entry: &Entry) {
        if let Some(reason) = entry.reason {
            self.burying.insert(sequence, reason);
        }
    }

    fn count(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pending.set(gauge(self.log.pending()));
        self.metrics.failed.set(gauge(self.log.failures()));
    }

    fn pause(&self, delay: Duration) -> Result<(), Error> {
        // A timer can only be made inside the runtime.
        self.wait(async { tokio::time::sleep(delay).await })
    }

    /// Blocks this thread until `future` is ready or the drain deadline comes.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Error::Interrupted),
                output = future => Ok(output),
            }
        })
    }
}
