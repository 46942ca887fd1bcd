//! How a message gets from a source into the pipeline.
//!
//! A source pushes what it receives into its [`Intake`] and waits while the intake is full: the wait
//! is how the pipeline slows it down. [`Progress`] tells it what is logged, which is what a source
//! needs to resume: everything up to the cursor is safe, everything after it must come again.

use std::sync::Arc;

use bytes::Bytes;
use common::clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

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
    /// Its share of the bytes that may wait, given back when it is logged.
    _share: OwnedSemaphorePermit,
}

/// How far the pipeline is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many of the messages pushed since the process started are logged.
    pub logged: u64,
    /// Newest event time of all that is logged, in milliseconds since 1970.
    pub cursor: Option<i64>,
}

/// The pipeline is gone; there is nobody to push to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A source's end of the queue to the writer thread.
#[derive(Debug)]
pub struct Intake {
    queue: mpsc::Sender<Message>,
    bytes: Arc<Semaphore>,
    progress: watch::Receiver<Progress>,
    clock: Clock,
    pushed: u64,
}

impl Intake {
    /// An intake, and the writer thread's end of it.
    pub fn new(
        progress: watch::Receiver<Progress>,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES);
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        (Self { queue, bytes, progress, clock, pushed: 0 }, messages)
    }

    /// Hands a message to the pipeline, waiting while it is full.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn push(&mut self, payload: Bytes) -> Result<(), Closed> {
        let share = u32::try_from(payload.len()).unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES);
        let share = Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| Closed)?;
        let message = Message { payload, received_ms: self.clock.now_ms(), _share: share };
        self.queue.send(message).await.map_err(|_| Closed)?;
        self.pushed += 1;
        Ok(())
    }

    /// Waits until all that was pushed is logged, and returns the cursor.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn logged(&mut self) -> Result<Option<i64>, Closed> {
        let pushed = self.pushed;
        let progress = self.progress.wait_for(|progress| progress.logged >= pushed).await;
        progress.map(|progress| progress.cursor).map_err(|_| Closed)
    }

    /// Resolves when the pipeline is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}
