//! A WebSocket feed.
//!
//! | what happens | what is done |
//! |---|---|
//! | no byte for `ping_interval_ms` | a ping is sent |
//! | still no byte for `ping_timeout_ms` | the connection is given up |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter, see [`frames`] |
//! | a frame breaks the protocol | closed with 1002; it is unreadable |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use super::feed::{Closing, Frame, Lost, Protocol, Settings, Stream};
use super::resume_point::Begin;
use crate::config::Websocket as Section;
use crate::error::Error;
use connect::{Connector, Socket};
use frames::Seen;

mod connect;
mod frames;
#[cfg(test)]
mod tests;

/// How long sending a close frame may take; after that the connection is given up.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The protocol of a feed.
pub struct Websocket {
    connector: Connector,
    ping_interval: Duration,
    ping_timeout: Duration,
}

/// A connection to a feed.
pub struct Connected {
    socket: Socket,
    seen: Arc<Seen>,
    ping_interval: Duration,
    ping_timeout: Duration,
    /// How many messages have come.
    number: u64,
    /// What the server is told if it has broken the protocol.
    fault: Option<CloseCode>,
}

impl Websocket {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address, the headers or `ca_file` cannot be used.
    pub fn new(section: &Section) -> Result<Self, Error> {
        Ok(Self {
            connector: Connector::new(section)?,
            ping_interval: Duration::from_millis(section.ping_interval_ms),
            ping_timeout: Duration::from_millis(section.ping_timeout_ms),
        })
    }
}

impl Protocol for Websocket {
    type Stream = Connected;

    fn settings(&self) -> Settings {
        let Section { connect, resume, framing, .. } = self.connector.section();
        Settings { connect: connect.clone(), resume: resume.clone(), framing: framing.clone() }
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Connected, Lost> {
        let (socket, seen) = self.connector.connect(begin).await?;
        let Self { ping_interval, ping_timeout, .. } = *self;
        Ok(Connected { socket, seen, ping_interval, ping_timeout, number: 0, fault: None })
    }
}

impl Stream for Connected {
    async fn next(&mut self) -> Result<Frame, Lost> {
        let patience = self.ping_timeout;
        let (mut asked, mut heard) = (None, self.seen.bytes());
        let mut deadline = Instant::now() + self.ping_interval;
        let payload = loop {
            let frame = tokio::select! {
                biased;
                frame = self.socket.next() => frame,
                () = sleep_until(deadline) => {
                    let now = Instant::now();
                    let bytes = self.seen.bytes();
                    if bytes != heard {
                        // The feed lives: bytes arrive, for example of a large message on a slow line.
                        (asked, heard) = (None, bytes);
                    } else if let Some(until) = asked {
                        if now >= until {
                            return Err(Lost::new(format!("no answer to a ping within {} ms", patience.as_millis())));
                        }
                    } else {
                        asked = Some(now + patience);
                        match timeout(patience, self.socket.send(Message::Ping(Bytes::new()))).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => return Err(Lost::new(error.to_string())),
                            Err(_) => return Err(Lost::new("a ping could not be sent in time")),
                        }
                    }
                    let next = now + self.ping_interval;
                    deadline = asked.map_or(next, |until| until.min(next));
                    continue;
                }
            };
            match frame {
                Some(Ok(Message::Text(text))) => break Bytes::from(text),
                Some(Ok(Message::Binary(bytes))) => break bytes,
                // tungstenite answers pings itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    // Sends the answer. It does not matter if it does not arrive any more.
                    let _answered = timeout(CLOSE_DEADLINE, self.socket.flush()).await;
                    return Err(Lost::new(goodbye(frame)));
                }
                Some(Err(error)) => {
                    self.fault = fault(&error);
                    let why = error.to_string();
                    return Err(if self.fault.is_some() {
                        Lost::unreadable(why)
                    } else {
                        Lost::new(why)
                    });
                }
                None => return Err(Lost::new("the connection ended")),
            }
            (asked, heard) = (None, self.seen.bytes());
            deadline = Instant::now() + self.ping_interval;
        };
        let cut = self.seen.cut(self.number);
        self.number += 1;
        Ok(Frame { payload, cut, ..Frame::default() })
    }

    async fn close(mut self, closing: Closing) {
        let (code, reason) = match (closing, self.fault) {
            (Closing::Stopping, _) => (CloseCode::Away, "shutting down"),
            (Closing::Silent, _) => (CloseCode::Normal, "no message for too long"),
            (Closing::Lost, Some(fault)) => (fault, "unreadable"),
            (Closing::Lost, None) => return,
        };
        let frame = CloseFrame { code, reason: reason.into() };
        // The server may be gone already; the connection ends either way.
        if let Ok(Err(error)) = timeout(CLOSE_DEADLINE, self.socket.close(Some(frame))).await {
            tracing::debug!(%error, "close frame not sent");
        }
    }
}

fn goodbye(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(
        || "the server closed".to_owned(),
        |frame| format!("the server closed with {} '{}'", u16::from(frame.code), frame.reason),
    )
}

/// What a server is told whose frames cannot be read; `None` if the connection broke otherwise.
fn fault(error: &WsError) -> Option<CloseCode> {
    match error {
        WsError::Capacity(_) => Some(CloseCode::Size),
        WsError::Utf8(_) => Some(CloseCode::Invalid),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        WsError::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}
