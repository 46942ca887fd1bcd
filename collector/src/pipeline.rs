//! From the sources to Kafka: two threads around the message log.
//!
//! ```text
//! sources ──▶ queues ──▶ journal thread ──▶ arrivals ──▶ delivery thread ──▶ producer ──▶ Kafka
//!                            │ writes, syncs                │  ▲ reads what is behind
//!                            └────────▶ message log ◀───────┘──┘ settles
//! ```
//!
//! The journal never waits for the delivery: while Kafka takes nothing, the log grows. The delivery never waits for the
//! journal's fsync, unless `log.mode` is `pessimistic`.
//!
//! | mode | an entry is sent | its receipt is released | what is not delivered |
//! |---|---|---|---|
//! | `hybrid` | when it is in the page cache | when it is on disk or in Kafka | is in the log |
//! | `pessimistic` | when it is on disk | when it is on disk | is in the log |
//! | `off` | at once | when it is in Kafka | is in memory, and keeps its share of the source's queue |
//!
//! What a log holds from before is sent from it in each mode.
//!
//! | a source has | what is different |
//! |---|---|
//! | `release = "both"` | its receipts are released when both have happened, and keep their messages' shares of its queue; its cursors are stored when Kafka has what they cover |
//! | `delivery = "at_most_once"` | its receipts are released when the entries are written, before they are sent; what was handed to a producer that is gone, or left by a former process, is dropped |
//! | `delivery = "at_least_once"`, and so have all | what was sent is not looked for in Kafka before it is sent again |

use std::sync::Arc;
use std::thread;

use common::admin::Condition;
use common::clock::Clock;
use common::message_log::{Appender, MessageLog, Recovered};
use common::trace::Tracer;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode};
use crate::error::Error;
use crate::intake::Queues;
use crate::metrics::Metrics;
use crate::positions::Positions;
use crate::receipt::Receipts;
use crate::traces::Traces;
use arrivals::Arrivals;
use backlog::Backlog;
use delivery::{Delivery, Parts, Promises};
use journal::{Cursors, Journal};
use outbox::Outbox;
use room::Room;
use wait::Waiter;

mod arrivals;
mod backlog;
mod delivery;
mod journal;
mod outbox;
mod room;
#[cfg(test)]
mod tests;
mod wait;

/// The threads, before they are started.
pub struct Pipeline {
    journal: Journal,
    delivery: Delivery,
    deadline: CancellationToken,
}

/// What the threads report to `/ready`.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// The message log can be written.
    pub log: Condition,
    /// Kafka can be written.
    pub kafka: Condition,
}

impl Pipeline {
    /// Puts the parts together, inside a runtime, on which the threads will wait until `deadline` is cancelled.
    ///
    /// # Errors
    /// When the producer cannot be built.
    pub fn new(
        config: &Config,
        (log, appender, found): (MessageLog, Appender, Recovered),
        queues: Queues,
        metrics: Metrics,
        conditions: Conditions,
        deadline: CancellationToken,
        tracer: Tracer,
    ) -> Result<Self, Error> {
        let waiter = Waiter::new(Handle::current(), deadline.clone());
        let (arrivals, receipts) = (Arc::<Arrivals>::default(), Arc::<Receipts>::default());
        let acks = queues.acks().clone();
        acks.begin(log.instance(), &found);
        metrics.ledger.begin(&found);
        let traces = Traces::new(tracer);
        let mode = config.log.mode;
        let room = Room {
            max_bytes: config.log.limit(),
            path: config.log.path.clone(),
            spare_bytes: config.log.write_ahead_bytes,
        };
        metrics.log_limit.set(i64::try_from(room.max_bytes).unwrap_or(i64::MAX));
        let delivery = Delivery::new(Parts {
            kafka: config.kafka.clone(),
            log: log.clone(),
            arrivals: Arc::clone(&arrivals),
            receipts: Arc::clone(&receipts),
            acks,
            progress: queues.progress().clone(),
            positions: Positions::from_named(&config.kafka, &found.positions),
            start: found.end,
            outbox: Outbox::new(&found, mode == Mode::Pessimistic),
            backlog: match mode {
                Mode::Hybrid | Mode::Pessimistic => Backlog::of(log.clone()),
                Mode::Off => Backlog::without_log_from(found.end, log.clone()),
            },
            clock: Clock::new(&config.service),
            reachable: conditions.kafka,
            metrics: metrics.clone(),
            waiter: waiter.clone(),
            traces: traces.clone(),
            promises: Promises {
                at_most_once: config.source.at_most_once(),
                looks: config.source.look(),
            },
        })?;
        let journal = Journal {
            log,
            clock: Clock::new(&config.service),
            appender,
            queues,
            arrivals,
            receipts,
            traces,
            mode,
            room,
            writable: conditions.log,
            metrics,
            waiter,
            syncing: None,
            unsynced: None,
            cursors: Cursors::default(),
            is_urgent: false,
            full: None,
        };
        Ok(Self { journal, delivery, deadline })
    }

    /// Works until all sources have ended and everything is delivered, or until the drain deadline.
    ///
    /// # Errors
    /// An error that trying again cannot solve. Logged entries that are not delivered stay in the log.
    pub async fn run(self) -> Result<(), Error> {
        let Self { journal, delivery, deadline } = self;
        let journal = start("journal", move || journal.run())?;
        let delivery = start("delivery", move || delivery.run())?;
        let ended = async |thread: oneshot::Receiver<Result<(), Error>>| {
            let outcome = thread.await.unwrap_or(Err(Error::Panicked));
            if outcome.is_err() {
                // One without the other is no use.
                deadline.cancel();
            }
            outcome
        };
        let (journal, delivery) = tokio::join!(ended(journal), ended(delivery));
        journal.and(delivery)
    }
}

/// Starts a thread. What it returns comes through the channel.
fn start(
    name: &str,
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let (done, outcome) = oneshot::channel();
    let run = move || {
        // Sending fails only if the process has given up waiting for the thread.
        let _unheard = done.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::Thread)?;
    Ok(outcome)
}
