//! The writer thread: logs and publishes messages, and acts on Kafka's answers.
//!
//! One turn takes the messages that have arrived since the last one (group commit). Every entry is given a
//! sequence and handed to the producer; then all are written to the log with one fsync, while librdkafka is
//! already sending. Answers are handled on this thread only and after the fsync, so that an entry is in the
//! log before its acknowledgement is handled.
//!
//! | what happens | what is done |
//! |---|---|
//! | the producer's queue is full | the batch is logged, then each entry waits for room; the source waits too |
//! | Kafka refuses an entry, or the producer breaks | see [`delivery`] |
//! | the log cannot be written | see [`journal`] |
//! | shutdown | the queue is emptied, then all answers are awaited; at the deadline what is left stays in the log |

use std::sync::Arc;
use std::time::Duration;

use common::admin::Condition;
use common::clock::Clock;
use common::event::identity::identify;
use common::event::{Reason, Schema};
use common::message_log::{Entry, MessageLog};
use common::trace::Tracer;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::source::cursor::Cursor;
use crate::source::{Logged, Message};
use crate::traces::Traces;
use delivery::Delivery;
use journal::Journal;
use wait::{Halt, Step, Waiter};

mod delivery;
mod journal;
#[cfg(test)]
mod tests;
mod wait;

/// A batch that reaches one of these limits is full. They bound what is written with one fsync, so that the
/// source does not wait for long. The last message may take a batch above the number of bytes.
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// How long the writer sleeps when nothing happens; then it checks the producer and truncates the log.
const TICK: Duration = Duration::from_secs(1);

/// The state of the writer thread.
pub struct Pipeline {
    source: Arc<str>,
    schema: Schema,
    max_event_bytes: usize,
    journal: Journal,
    delivery: Delivery,
    logged: watch::Sender<Logged>,
    metrics: Metrics,
    waiter: Waiter,
}

/// What the writer thread reports to `/ready`.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// The message log can be written.
    pub log: Condition,
    /// Kafka can be written.
    pub kafka: Condition,
}

/// Why a turn begins.
enum Next {
    Message(Message),
    Answers,
    /// Nothing happened for [`TICK`].
    Idle,
    /// The source is gone and its queue is empty.
    Closed,
}

// === impl Pipeline ===

impl Pipeline {
    /// Puts the parts together, inside a runtime, on which the thread will wait until `deadline` is cancelled.
    ///
    /// # Errors
    /// When the producer cannot be built.
    pub fn new(
        config: &Config,
        log: MessageLog,
        logged: watch::Sender<Logged>,
        metrics: Metrics,
        conditions: Conditions,
        deadline: CancellationToken,
        tracer: Tracer,
    ) -> Result<Self, Error> {
        let (name, source) = config.source.only().map_err(Error::Address)?;
        let cursor = Cursor::new(&source.resume, log.cursor(name).unwrap_or_default());
        let waiter = Waiter::new(Handle::current(), deadline);
        let clock = Clock::new(&config.service);
        let delivery = Delivery::new(
            &config.kafka,
            log.instance(),
            clock,
            conditions.kafka,
            metrics.clone(),
            waiter.clone(),
            Traces::new(tracer),
        )?;
        let name: Arc<str> = name.into();
        let journal = Journal::new(
            log,
            Arc::clone(&name),
            cursor,
            clock,
            conditions.log,
            metrics.clone(),
            waiter.clone(),
        );
        Ok(Self {
            source: name,
            schema: config.event.clone(),
            max_event_bytes: source.max_event_bytes,
            journal,
            delivery,
            logged,
            metrics,
            waiter,
        })
    }

    /// Works until the source is gone and everything is delivered, or until the drain deadline. Blocks.
    ///
    /// # Errors
    /// An error that trying again cannot solve. Logged entries that are not delivered stay in the log.
    pub fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), Error> {
        self.logged.send_modify(|logged| logged.cursor = self.journal.cursor());
        match self.work(&mut messages) {
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Deadline) => tracing::warn!(
                pending = self.journal.log().pending(),
                "drain deadline reached; the rest is in the log and will be sent at the next start"
            ),
            Ok(()) => tracing::info!(failed = self.journal.log().failures(), "drained"),
        }
        if let Err(Halt::Failed(error)) = self.delivery.close(&mut self.journal) {
            return Err(error);
        }
        self.journal.close()
    }

    fn work(&mut self, messages: &mut mpsc::Receiver<Message>) -> Step {
        self.journal.ready();
        self.journal.count();
        self.delivery.start(&mut self.journal)?;
        loop {
            match self.next(messages)? {
                Next::Message(first) => self.take(first, messages)?,
                Next::Answers => {}
                Next::Idle => self.delivery.probe(),
                Next::Closed => break,
            }
            self.delivery.settle(&mut self.journal)?;
            self.journal.truncate()?;
        }
        loop {
            self.delivery.settle(&mut self.journal)?;
            if self.journal.log().pending() == 0 && self.delivery.is_idle() {
                return Ok(());
            }
            self.waiter.wait(self.delivery.answered())?;
        }
    }

    fn next(&self, messages: &mut mpsc::Receiver<Message>) -> Step<Next> {
        if let Ok(message) = messages.try_recv() {
            return Ok(Next::Message(message));
        }
        self.waiter.wait(async {
            tokio::select! {
                biased;
                message = messages.recv() => message.map_or(Next::Closed, Next::Message),
                () = self.delivery.answered() => Next::Answers,
                () = tokio::time::sleep(TICK) => Next::Idle,
            }
        })
    }

    /// Logs and publishes `first` and whatever else has arrived.
    fn take(&mut self, first: Message, messages: &mut mpsc::Receiver<Message>) -> Step {
        let mut bytes = first.payload.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Ok(message) = messages.try_recv() else { break };
            bytes += message.payload.len();
            batch.push(message);
        }
        if let Some(last) = batch.last() {
            self.metrics.last_received.set_ms(last.received_ms);
        }
        let entries: Vec<_> =
            batch.iter().map(|message| (self.journal.allot(), self.entry(message))).collect();

        // What the producer accepts is sent while the log is written.
        let taken = entries
            .iter()
            .take_while(|(sequence, entry)| self.delivery.try_send(*sequence, entry).is_ok())
            .count();
        self.journal.append(&entries)?;
        // Counted when they are in the log, so that the collector's books balance at any moment.
        self.metrics.received.inc_by(batch.len() as u64);
        self.metrics.received_bytes.inc_by(bytes as u64);
        self.delivery.logged();
        self.logged.send_modify(|logged| {
            logged.messages += batch.len() as u64;
            logged.cursor = self.journal.cursor();
        });
        drop(batch);
        for (sequence, entry) in &entries[taken..] {
            self.delivery.send(&mut self.journal, *sequence, entry)?;
        }
        Ok(())
    }

    fn entry(&self, message: &Message) -> Entry {
        let payload = message.payload.clone();
        let known = match message.refused {
            Some(reason) => Err(reason),
            None if payload.len() > self.max_event_bytes => Err(Reason::TooLarge),
            None => identify(&payload, &self.schema),
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
}
