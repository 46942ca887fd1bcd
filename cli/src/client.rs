//! A client of the access-api that stays connected. When the connection ends, it connects again after a wait with
//! full jitter and resumes after the last cursor that it received, so that its reader misses nothing that the
//! server still has, and is told (`gap`, `skipped`) what the server no longer has.

use std::time::Duration;

use common::backoff::Backoff;
use common::protocol::{ByeReason, ClientFrame, Cursor, Queries, ServerFrame};
use common::secret::SecretUrl;
use futures_util::{SinkExt, StreamExt};
use http::Uri;
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) mod tests;

/// How many events may wait for a slow reader. When there are so many, the socket is not read, and the server conflates.
const WAITING: usize = 64;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(15);
/// After this many pings without any answer the connection counts as broken.
const UNANSWERED: u32 = 2;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Why a connection could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not a WebSocket address.
    #[error("this is not the address of an access-api, which looks like ws://127.0.0.1:8080/v1/ws")]
    Url,
    /// The server cannot be reached, or the connection broke.
    #[error("{url}: {source}; is `millrace up` or an access-api running there?")]
    Connection {
        /// Where to.
        url: SecretUrl,
        /// What happened.
        source: Box<WsError>,
    },
    /// Nothing was received for too long.
    #[error("{url}: nothing was received for {} s; the server or the network hangs", silent.as_secs())]
    Silent {
        /// Where to.
        url: SecretUrl,
        /// For how long.
        silent: Duration,
    },
    /// The server closed the connection.
    #[error("{url}: the server closed the connection ({why})")]
    Closed {
        /// Where to.
        url: SecretUrl,
        /// Its reason, or its close code.
        why: String,
    },
}

/// What happens while a server is followed.
#[derive(Debug)]
pub enum Event {
    /// A connection was made and the subscription sent.
    Connected,
    /// The server sent a frame.
    Frame(Box<ServerFrame>),
    /// The server sent a frame that this version does not know; it is ignored.
    Unknown(serde_json::Error),
    /// The connection could not be made or ended; another attempt follows after `retry_in`.
    Lost {
        /// Why.
        why: Error,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

impl Error {
    /// Whether another attempt may succeed.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Url => false,
            Self::Connection { .. } | Self::Silent { .. } | Self::Closed { .. } => true,
        }
    }
}

/// Subscribes to `queries` at `url` and goes on until `shutdown`, or until the receiver is dropped. The
/// channel ends then. Holds at most 64 events for a slow reader.
///
/// # Errors
/// If `url` is not a WebSocket URL. Whether a server answers is reported by the events.
pub fn follow(
    url: &str,
    queries: Queries,
    shutdown: CancellationToken,
) -> Result<mpsc::Receiver<Event>, Error> {
    let asked = url.parse::<Uri>().ok();
    let known = asked
        .is_some_and(|uri| matches!(uri.scheme_str(), Some("ws" | "wss")) && uri.host().is_some());
    if !known {
        return Err(Error::Url);
    }
    let (events, receiver) = mpsc::channel(WAITING);
    let follower = Follower {
        url: url.into(),
        queries,
        cursor: None,
        backoff: new_backoff(),
        retry: None,
        events,
    };
    // Boxed, because the future is large: it holds the handshake of a connection.
    let running = Box::pin(follower.run());
    tokio::spawn(async move { shutdown.run_until_cancelled(running).await });
    Ok(receiver)
}

struct Follower {
    url: SecretUrl,
    queries: Queries,
    /// Everything up to this cursor was handed to the reader.
    cursor: Option<Cursor>,
    backoff: Backoff,
    /// The wait that the server asked for in its `bye`.
    retry: Option<Duration>,
    events: mpsc::Sender<Event>,
}

/// The reader of the events is gone.
struct Unwanted;

impl Follower {
    async fn run(mut self) -> Result<(), Unwanted> {
        loop {
            let why = self.connection().await?;
            let jitter = self.backoff.next_delay(&mut rand::rng());
            let retry_in = self.retry.take().unwrap_or_default() + jitter;
            self.tell(Event::Lost { why, retry_in }).await?;
            tokio::time::sleep(retry_in).await;
        }
    }

    /// Follows one connection until it ends. Returns why it ended.
    async fn connection(&mut self) -> Result<Error, Unwanted> {
        let connected =
            tokio::time::timeout(CONNECT_DEADLINE, connect_async(self.url.reveal())).await;
        let mut socket = match connected {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(source)) => return Ok(self.broken(source)),
            Err(_) => return Ok(self.silent(CONNECT_DEADLINE)),
        };
        let subscribe =
            ClientFrame::Subscribe { queries: self.queries.clone(), cursor: self.cursor };
        if let Err(source) = socket.send(text(&subscribe)).await {
            return Ok(self.broken(source));
        }
        self.tell(Event::Connected).await?;

        let mut pings =
            tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        let mut unanswered = 0;
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = pings.tick() => {
                    if unanswered == UNANSWERED {
                        return Ok(self.silent(PING_EVERY * (UNANSWERED + 1)));
                    }
                    unanswered += 1;
                    if let Err(source) = socket.send(Message::Ping(bytes::Bytes::new())).await {
                        return Ok(self.broken(source));
                    }
                    continue;
                }
            };
            unanswered = 0;
            match message {
                Some(Ok(Message::Text(frame))) => {
                    if let Some(why) = self.frame(&frame).await? {
                        return Ok(why);
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map_or_else(
                        || "no reason given".to_owned(),
                        |frame| closed(frame.code, &frame.reason),
                    );
                    return Ok(Error::Closed { url: self.url.clone(), why });
                }
                Some(Ok(_)) => {}
                Some(Err(source)) => return Ok(self.broken(source)),
                None => {
                    return Ok(Error::Closed {
                        url: self.url.clone(),
                        why: "without a close frame".to_owned(),
                    });
                }
            }
        }
    }

    /// Hands a frame to the reader. A `bye` ends the connection: then the reason is returned.
    async fn frame(&mut self, frame: &str) -> Result<Option<Error>, Unwanted> {
        let frame: ServerFrame = match serde_json::from_str(frame) {
            Ok(frame) => frame,
            Err(error) => return self.tell(Event::Unknown(error)).await.map(|()| None),
        };
        // Only a frame that can be read shows that the server works.
        self.backoff.reset();
        let cursor = frame.cursor();
        let bye = match &frame {
            ServerFrame::Bye(bye) => Some(*bye),
            _ => None,
        };
        self.tell(Event::Frame(Box::new(frame))).await?;
        // It is set after the frame was handed over, because the cursor says what the reader has seen.
        self.cursor = cursor.or(self.cursor);
        Ok(bye.map(|bye| {
            self.retry = Some(Duration::from_millis(bye.retry_ms).min(LONGEST_RETRY));
            Error::Closed { url: self.url.clone(), why: ByeReason::as_str(bye.reason).to_owned() }
        }))
    }

    async fn tell(&self, event: Event) -> Result<(), Unwanted> {
        self.events.send(event).await.map_err(|_| Unwanted)
    }

    fn broken(&self, source: WsError) -> Error {
        Error::Connection { url: self.url.clone(), source: Box::new(source) }
    }

    fn silent(&self, silent: Duration) -> Error {
        Error::Silent { url: self.url.clone(), silent }
    }
}

const fn new_backoff() -> Backoff {
    Backoff::new(FIRST_RETRY, LONGEST_RETRY)
}

fn closed(code: CloseCode, reason: &str) -> String {
    if reason.is_empty() { format!("code {code}") } else { format!("code {code}, {reason}") }
}

fn text(frame: &ClientFrame) -> Message {
    #[expect(clippy::expect_used, reason = "names and numbers only")]
    let text = serde_json::to_string(frame).expect("a frame is JSON");
    Message::text(text)
}
