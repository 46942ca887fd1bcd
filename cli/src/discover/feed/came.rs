//! What a reader tells of a feed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

/// The largest message that is read, in bytes: as the collector's `max_message_bytes`.
pub(super) const MAX_MESSAGE: usize = 20 << 20;
/// What a reader tells.
#[derive(Debug)]
pub enum Came {
    /// How the collector has to read this feed. It may be told again when more is known.
    Source(Source),
    /// A message.
    Message {
        /// Its bytes.
        payload: Bytes,
        /// The type of the server-sent event.
        of: Option<Arc<str>>,
    },
    /// A message that is larger than 20 MiB.
    TooLarge,
}

/// The kind of a source of the collector, and how it divides what comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `websocket`.
    Websocket,
    /// `http_stream`.
    HttpStream(Framing),
    /// `sse`.
    Sse,
    /// `long_poll`.
    LongPoll(Framing),
    /// A recording, which `up` serves.
    Recording,
}

/// The key `framing` of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// An event each.
    One,
    /// An event in each line.
    Lines,
    /// One after another.
    Concatenated,
    /// The elements of an array, at this place if it is inside.
    Array(Option<String>),
}

/// The place to which readers send what came.
#[derive(Debug, Clone)]
pub(super) struct Outlet(mpsc::Sender<Came>);

/// Nobody wants more.
pub(super) struct Unwanted;

impl Outlet {
    pub(super) const fn new(sender: mpsc::Sender<Came>) -> Self {
        Self(sender)
    }

    pub(super) async fn send(&self, came: Came) -> Result<(), Unwanted> {
        self.0.send(came).await.map_err(|_| Unwanted)
    }

    /// The same, for a thread that may block.
    pub(super) fn send_blocking(&self, came: Came) -> Result<(), Unwanted> {
        self.0.blocking_send(came).map_err(|_| Unwanted)
    }

    /// Resolves when nobody wants more.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }

    pub(super) async fn message(&self, payload: Bytes) -> Result<(), Unwanted> {
        self.send(Came::Message { payload, of: None }).await
    }
}
