//! A WebSocket feed.
//!
//! On every connect except the first ever, a feed that can resume is asked for everything since the cursor of
//! what was received, after a restart of what was logged. So it sends again what was lost in a socket or a killed process. Events that come
//! twice are recognised by their id later. A feed that cannot resume has a gap at every interruption, from
//! the last message before it to the first one after it. A gap is counted and logged when it ends.
//!
//! | what happens | what is done |
//! |---|---|
//! | no byte for `ping_interval_ms` | a ping is sent |
//! | still no byte for `ping_timeout_ms` | the connection is given up; reconnect |
//! | no message for `silence_timeout` | the connection is closed; reconnect; not ready until a message comes |
//! | the server closes, with or without a `bye` | reconnect |
//! | the connection breaks, or connecting fails | reconnect |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter, see [`frames`] |
//! | `framing` does not fit a frame | the frame is one dead letter |
//! | a frame breaks the protocol | closed with 1002; reconnect; if it comes again at the same cursor, reconnect *without* resuming: a gap |
//!
//! Before a reconnect there is a random wait (full jitter). Its bound doubles until a connection brings a
//! message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::backoff::Backoff;
use common::event::Reason;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::framing::split;
use super::resume_point::ResumePoint;
use crate::config::{Framing, Resume, Source as Section};
use crate::error::Error;
use crate::intake::{Closed, Cursor, Intake, Message as Received};
use crate::metrics::SourceMetrics;
use connect::{Begin, Connector, Socket};
use frames::Seen;

mod connect;
mod frames;
#[cfg(test)]
mod tests;

/// How long sending a close frame may take; after that the connection is given up.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A feed.
pub struct Websocket {
    name: Arc<str>,
    source: Section,
    connector: Connector,
    metrics: SourceMetrics,
    connection: Connection,
}

/// What is needed to follow a feed.
struct Follower {
    name: Arc<str>,
    source: Section,
    connector: Connector,
    intake: Intake,
    metrics: SourceMetrics,
    connection: Connection,
    shutdown: CancellationToken,
    /// Where the feed resumes after what was pushed.
    resume: ResumePoint,
    /// The gap that is open, until the next message comes.
    gap: Option<Gap>,
    /// When the last message came, in milliseconds since 1970.
    received_ms: Option<i64>,
    /// The cursor at the last frame that could not be read.
    unreadable: Option<i64>,
    /// Whether the last connection was given up because no message came for `silence_timeout`.
    silent: bool,
}

/// An interval whose messages are missing.
#[derive(Debug)]
struct Gap {
    /// When the last message before it came, in milliseconds since 1970; `None` if there was none.
    after_ms: Option<i64>,
    why: &'static str,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// This process is stopping.
    Shutdown,
    /// The server closed the connection, it broke, or it could not be established.
    Lost(String),
    /// The feed answers pings, but has sent no message for this long.
    Silent(Duration),
    /// The next frame cannot be read, and reading it again would not help.
    Unreadable { close: CloseCode, why: String },
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Shutdown
    }
}

// === impl Websocket ===

impl Websocket {
    /// Prepares to follow the source of this name.
    ///
    /// # Errors
    /// When its address, its headers or its `ca_file` cannot be used.
    pub fn new(
        name: &Arc<str>,
        source: &Section,
        metrics: SourceMetrics,
        connection: Connection,
    ) -> Result<Self, Error> {
        Ok(Self {
            name: Arc::clone(name),
            connector: Connector::new(source)?,
            source: source.clone(),
            metrics,
            connection,
        })
    }
}

impl super::Source for Websocket {
    async fn run(
        self,
        intake: Intake,
        resume: Option<Cursor>,
        stop: CancellationToken,
    ) -> super::End {
        let Self { name, source, connector, metrics, connection } = self;
        let point = ResumePoint::new(&source.resume, resume.as_ref());
        metrics.cursor.set(point.position());
        let follower = Follower {
            name,
            source,
            connector,
            intake,
            metrics,
            connection,
            shutdown: stop,
            resume: point,
            gap: None,
            received_ms: None,
            unreadable: None,
            silent: false,
        };
        follower.run(resume.is_some()).await
    }
}

// === impl Follower ===

impl Follower {
    /// Follows the feed. `connected_before` says that there was an earlier connection.
    async fn run(mut self, connected_before: bool) -> super::End {
        let mut backoff = Backoff::new(
            Duration::from_millis(self.source.reconnect_base_ms),
            Duration::from_millis(self.source.reconnect_cap_ms),
        );
        let mut begin = Begin::AsConfigured;
        if connected_before {
            begin = Begin::From(self.resume.position());
            if self.source.resume == Resume::None {
                self.received_ms = Some(self.resume.position()).filter(|&position| position > 0);
                self.open_gap("the source cannot resume");
            }
        }
        loop {
            let before = self.received_ms;
            let (connected, end) = match self.connect(begin).await {
                Ok((mut socket, seen)) => {
                    self.metrics.connected.set(1);
                    let end = self.follow(&mut socket, &seen).await;
                    self.metrics.connected.set(0);
                    close(&mut socket, &end).await;
                    (true, end)
                }
                Err(end) => (false, end),
            };
            self.silent = matches!(end, End::Silent(_));
            let Some(why) = end.why() else { return self.ended() };
            self.metrics.disconnects.inc();
            self.connection.unset(format!("{}: {why}", self.source.url));
            if connected {
                begin = self.next(&end);
            }
            let received = self.received_ms != before;
            if received && !matches!(end, End::Unreadable { .. }) {
                backoff.reset();
            }
            let delay = backoff.next_delay(&mut rand::rng());
            let (source, delay_ms) = (&*self.name, delay.as_millis());
            tracing::warn!(
                source,
                why,
                received,
                delay_ms,
                "no connection to the source, trying again"
            );
            tokio::select! {
                () = self.shutdown.cancelled() => return self.ended(),
                () = self.intake.closed() => return self.ended(),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    fn ended(&self) -> super::End {
        if self.shutdown.is_cancelled() { super::End::Stopped } else { super::End::Closed }
    }

    /// From where the feed is asked to begin after a connection that ended with `end`.
    fn next(&mut self, end: &End) -> Begin {
        // All that was received is in the queue, and nothing but the end of this process keeps it from the log.
        let cursor = self.resume.position();
        if self.source.resume == Resume::None {
            self.open_gap("the source cannot resume");
            return Begin::From(cursor);
        }
        if matches!(end, End::Unreadable { .. }) {
            if self.unreadable.is_some_and(|unreadable| cursor <= unreadable) {
                self.open_gap("the source cannot resume after something unreadable");
                return Begin::Now;
            }
            self.unreadable = Some(cursor);
        }
        Begin::From(cursor)
    }

    fn open_gap(&mut self, why: &'static str) {
        // A gap that is still open continues.
        let after_ms = self.received_ms;
        self.gap.get_or_insert(Gap { after_ms, why });
    }

    /// Notes that a message came.
    fn received(&mut self, now_ms: i64) {
        self.received_ms = Some(now_ms);
        let Some(gap) = self.gap.take() else { return };
        self.metrics.gaps.inc();
        let length_ms = gap.after_ms.map(|after_ms| now_ms.saturating_sub(after_ms).max(0));
        self.metrics.gap_ms.inc_by(length_ms.unwrap_or_default().unsigned_abs());
        tracing::warn!(
            source = &*self.name,
            from_ms = gap.after_ms,
            to_ms = now_ms,
            length_ms,
            why = gap.why,
            "gap: messages that came in between are missing"
        );
    }

    async fn connect(&self, begin: Begin) -> Result<(Socket, Arc<Seen>), End> {
        let deadline = Duration::from_millis(self.source.connect_timeout_ms);
        let outcome = tokio::select! {
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.intake.closed() => return Err(End::Shutdown),
            outcome = timeout(deadline, Box::pin(self.connector.connect(begin))) => outcome,
        };
        match outcome {
            Ok(Ok(connection)) => {
                tracing::info!(source = &*self.name, url = %self.source.url, ?begin, "connected");
                self.metrics.connects.inc();
                if !self.silent {
                    self.connection.set();
                }
                Ok(connection)
            }
            Ok(Err(why)) => Err(End::Lost(why)),
            Err(_) => Err(End::Lost(format!("no connection within {} ms", deadline.as_millis()))),
        }
    }

    /// Takes messages until the connection ends.
    async fn follow(&mut self, socket: &mut Socket, seen: &Seen) -> End {
        let interval = Duration::from_millis(self.source.ping_interval_ms);
        let patience = Duration::from_millis(self.source.ping_timeout_ms);
        let silence = self.source.silence_timeout.unwrap_or(Duration::MAX);
        let (mut asked, mut heard) = (None, seen.bytes());
        let mut deadline = Instant::now() + interval;
        let mut message_at = Instant::now();
        for number in 0.. {
            let payload = loop {
                let silent_at = message_at.checked_add(silence);
                let silent = async {
                    match silent_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let frame = tokio::select! {
                    biased;
                    () = self.shutdown.cancelled() => return End::Shutdown,
                    frame = socket.next() => frame,
                    () = silent => return End::Silent(silence),
                    () = sleep_until(deadline) => {
                        let now = Instant::now();
                        let bytes = seen.bytes();
                        if bytes != heard {
                            // The feed lives: bytes arrive, for example of a large message on a slow line.
                            (asked, heard) = (None, bytes);
                        } else if let Some(until) = asked {
                            if now >= until {
                                return End::Lost(format!("no answer to a ping within {} ms", patience.as_millis()));
                            }
                        } else {
                            asked = Some(now + patience);
                            match timeout(patience, socket.send(Message::Ping(Bytes::new()))).await {
                                Ok(Ok(())) => {}
                                Ok(Err(error)) => return End::Lost(error.to_string()),
                                Err(_) => return End::Lost("a ping could not be sent in time".to_owned()),
                            }
                        }
                        deadline = asked.map_or(now + interval, |until| until.min(now + interval));
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
                        let _answered = timeout(CLOSE_DEADLINE, socket.flush()).await;
                        return End::Lost(goodbye(frame));
                    }
                    Some(Err(error)) => return ended(error),
                    None => return End::Lost("the connection ended".to_owned()),
                }
                (asked, heard) = (None, seen.bytes());
                deadline = Instant::now() + interval;
            };
            if let Err(end) = self.take(payload, seen.cut(number)).await {
                return end;
            }
            // The clocks start only now, because nothing was read while the queue was full.
            (asked, heard) = (None, seen.bytes());
            deadline = Instant::now() + interval;
            message_at = Instant::now();
        }
        End::Lost("more messages than can be counted".to_owned())
    }

    /// Hands the messages of a frame to the pipeline. `cut` is the length of the whole message in bytes, if it
    /// was cut.
    async fn take(&mut self, payload: Bytes, cut: Option<u64>) -> Result<(), End> {
        if self.silent {
            self.silent = false;
            self.connection.set();
        }
        self.received(self.intake.now_ms());
        if let Some(bytes) = cut {
            let (source, limit) = (&*self.name, self.source.max_message_bytes);
            tracing::warn!(
                source,
                bytes,
                limit,
                "a message is too large; its first bytes are a dead letter, the rest is dropped"
            );
            return self.push(payload, Some(Reason::TooLarge)).await;
        }
        if self.source.framing == Framing::One {
            return self.push(payload, None).await;
        }
        match split(&self.source.framing, &payload) {
            Err(reason) => self.push(payload.clone(), Some(reason)).await,
            Ok(messages) => {
                for message in messages {
                    // Copied, because a slice would keep the whole frame in memory.
                    self.push(Bytes::copy_from_slice(&message), None).await?;
                }
                Ok(())
            }
        }
    }

    async fn push(&mut self, payload: Bytes, refused: Option<Reason>) -> Result<(), End> {
        let received_ms = self.intake.now_ms();
        let identity = match refused {
            Some(reason) => Err(reason),
            None => self.intake.identify(&payload),
        };
        let before = self.resume.position();
        self.resume.observe(received_ms, identity.as_ref().ok().and_then(|event| event.time_ms));
        let position = self.resume.position();
        let cursor = (position != before).then(|| self.resume.cursor());
        let message = Received { payload, received_ms, identity, cursor, receipt: None };
        tokio::select! {
            // A full queue must not delay a shutdown. The feed will send again what is not taken now.
            () = self.shutdown.cancelled() => Err(End::Shutdown),
            pushed = self.intake.push(message) => {
                self.metrics.cursor.set(position);
                Ok(pushed?)
            }
        }
    }
}

// === impl End ===

impl End {
    /// The reason for people; `None` if this process is stopping.
    fn why(&self) -> Option<String> {
        match self {
            Self::Shutdown => None,
            Self::Lost(why) | Self::Unreadable { why, .. } => Some(why.clone()),
            Self::Silent(silence) => {
                Some(format!("no message for {} ms, the silence_timeout", silence.as_millis()))
            }
        }
    }
}

fn goodbye(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(
        || "the server closed".to_owned(),
        |frame| format!("the server closed with {} '{}'", u16::from(frame.code), frame.reason),
    )
}

fn ended(error: WsError) -> End {
    let why = error.to_string();
    match error {
        WsError::Capacity(_) => End::Unreadable { close: CloseCode::Size, why },
        WsError::Utf8(_) => End::Unreadable { close: CloseCode::Invalid, why },
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost(why),
        WsError::Protocol(_) => End::Unreadable { close: CloseCode::Protocol, why },
        _ => End::Lost(why),
    }
}

async fn close(socket: &mut Socket, end: &End) {
    let (code, reason) = match end {
        End::Shutdown => (CloseCode::Away, "shutting down"),
        End::Unreadable { close, .. } => (*close, "unreadable"),
        End::Silent(_) => (CloseCode::Normal, "no message for too long"),
        End::Lost(_) => return,
    };
    let frame = CloseFrame { code, reason: reason.into() };
    // The server may be gone already; the connection ends either way.
    if let Ok(Err(error)) = timeout(CLOSE_DEADLINE, socket.close(Some(frame))).await {
        tracing::debug!(%error, "close frame not sent");
    }
}
