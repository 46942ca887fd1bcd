//! How a message gets from a source into the pipeline.
//!
//! A source pushes what it receives into its [`Intake`] and waits while the intake is full: the wait
//! is how the pipeline slows it down. [`Logged`] tells it what is logged, which is what a source
//! needs to resume: everything up to the cursor is safe, everything after it must come again.

use std::sync::Arc;

use bytes::Bytes;
use common::clock::Clock;
use common::event::Reason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

pub mod cursor;
pub mod framing;
pub mod websocket;

/// Messages that wait for the writer thread; then the source waits.
const QUEUE_MESSAGES: usize = 1024;
/// Bytes of messages that are received and not logged; then the source waits.
const QUEUE_BYTES: u32 = 64 << 20;

/// A message as received.
#[derive(Debug)]
pub struct Message {
    /// Byte for byte.
    pub payload: Bytes,
    /// When, in milliseconds since 1970.
    pub received_ms: i64,
    /// Why it is no event whatever it holds, if its source knows that.
    pub refused: Option<Reason>,
    /// Its share of the bytes that may wait, given back when it is logged.
    _share: OwnedSemaphorePermit,
}

/// What is in the message log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logged {
    /// How many of the messages pushed since the process started are logged.
    pub messages: u64,
    /// Where the source goes on after them, see [`cursor::Cursor`]; in milliseconds since 1970.
    pub cursor: i64,
}

/// The pipeline is gone; there is nobody to push to.
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
    /// An intake, and the writer thread's end of it.
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

    /// Waits until all that was pushed is logged, and returns the cursor.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn logged(&mut self) -> Result<i64, Closed> {
        let pushed = self.pushed;
        let logged = self.logged.wait_for(|logged| logged.messages >= pushed).await;
        logged.map(|logged| logged.cursor).map_err(|_| Closed)
    }

    /// What a message that is received now gets for its time.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Resolves when the pipeline is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}
