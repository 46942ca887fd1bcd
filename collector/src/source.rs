//! How a message gets from a source into the pipeline.
//!
//! A source pushes what it receives into its [`Intake`] and waits while the intake is full; this is how the
//! pipeline slows it down. [`Logged`] tells the source from where to resume: everything up to the cursor is
//! safe, everything after it must be sent again by the feed.

use std::sync::Arc;

use bytes::Bytes;
use common::clock::Clock;
use common::event::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

pub mod cursor;
pub mod framing;
pub mod websocket;

/// How many messages may wait for the writer thread; if there are more, the source waits.
const QUEUE_MESSAGES: usize = 1024;
/// How many bytes of messages may be received and not logged; if there are more, the source waits.
const QUEUE_BYTES: u32 = 64 << 20;

/// A message as received.
#[derive(Debug)]
pub struct Message {
    /// What was received, byte for byte.
    pub payload: Bytes,
    /// When it was received, in milliseconds since 1970.
    pub received_ms: i64,
    /// Why it cannot be an event whatever its payload is, if its source knows that.
    pub refused: Option<Reason>,
    /// Its share of [`QUEUE_BYTES`], released when it is logged.
    _share: OwnedSemaphorePermit,
}

/// What is in the message log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logged {
    /// How many of the messages pushed since the process started are logged.
    pub messages: u64,
    /// Where the source would resume after them, see [`cursor::Cursor`]; in milliseconds since 1970.
    pub cursor: i64,
}

/// The error of an intake whose pipeline has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A source's end of the queue to the writer thread.
#[derive(Debug)]
pub struct Intake {
    queue: mpsc::Sender<Message>,
    bytes: Arc<Semaphore>,
    logged: watch::Receiver<Logged>,
    clock: Clock,
    pushed: u64,
}

impl Intake {
    /// An intake, and the other end of its queue, which the writer thread reads.
    pub fn new(logged: watch::Receiver<Logged>, clock: Clock) -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES);
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        (Self { queue, bytes, logged, clock, pushed: 0 }, messages)
    }

    /// Hands a message to the pipeline, waiting while it is full.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn push(&mut self, payload: Bytes, refused: Option<Reason>) -> Result<(), Closed> {
        let share = u32::try_from(payload.len()).unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES);
        let share = Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| Closed)?;
        let message = Message { payload, received_ms: self.now_ms(), refused, _share: share };
        self.queue.send(message).await.map_err(|_| Closed)?;
        self.pushed += 1;
        Ok(())
    }

    /// Waits until every message that was pushed is logged, and returns the cursor.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn logged(&mut self) -> Result<i64, Closed> {
        let pushed = self.pushed;
        let logged = self.logged.wait_for(|logged| logged.messages >= pushed).await;
        logged.map(|logged| logged.cursor).map_err(|_| Closed)
    }

    /// The time that a message gets that is received now, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Resolves when the pipeline is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}
