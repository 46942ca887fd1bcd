//! One client, from its first frame to its last.
//!
//! ```text
//!              ┌──────────── published, acknowledged ───────────┐
//!              ▼                                                │
//!   fill: next batch from the hub ──▶ flush ──done──▶ wait ─────┘
//!                                       │ blocked
//!                                       ▼
//!                   50 %: slow_down · 60 %: stall_warning, newest only · write deadline: bye
//! ```
//!
//! **Invariants.** A batch is added only when the one before has left for the kernel, so that the write
//! buffer holds one batch and [`CONTROLS`] control frames at most; then reading stops. A client is
//! closed for slowness only after `slow_down` and `stall_warning`. Every close by the server is
//! preceded by `bye`.
//!
//! Lag is what the hub has and the client has not been sent; where the client acknowledges, what it
//! has not acknowledged, because a browser takes everything off the socket, whatever the page does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::protocol::{
    Bye, ByeReason, ClientFrame, Cursor, Gap, Queries, Refusal, RefusalCode, ServerFrame, SlowDown,
    StallWarning,
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::hub::{Hub, Reader, Subscribed};
use crate::metrics::{Disconnect, Metrics};
use ladder::Rung;

mod ladder;

/// Control frames that may wait behind a blocked batch before reading stops.
const CONTROLS: usize = 16;
/// Bytes of frames that go out in one write, or one frame: about one result of 50 items. A client's
/// write buffer stays as large as its largest batch was, so that a larger one costs memory per client.
const BATCH: usize = 4 << 10;
/// Each client's read buffer lives as long as it does; its frames are short.
const READ_BUFFER: usize = 1 << 10;
/// More than any control frame takes.
const CONTROL_BYTES: usize = 1 << 10;

/// What sessions share.
#[derive(Debug, Clone)]
pub struct Service {
    /// Where results come from.
    pub hub: Arc<Hub>,
    /// What a client may take.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
    /// Cancelled when the process stops.
    pub shutdown: CancellationToken,
}

/// The WebSocket settings of a session.
pub fn websocket_config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(BATCH)
        .max_write_buffer_size(BATCH + limits.frame_bytes() + (CONTROLS + 4) * CONTROL_BYTES)
        .max_message_size(Some(limits.client_frame_bytes))
        .max_frame_size(Some(limits.client_frame_bytes))
}

/// One client.
pub struct Session<S> {
    socket: WebSocketStream<S>,
    service: Arc<Service>,
    reader: Option<Reader>,
    rung: Rung,
    /// The last cursor acknowledged, once the client has acknowledged any.
    acknowledged: Option<Cursor>,
    /// Since when what was written has not left, if anything has not.
    blocked_since: Option<Instant>,
    /// Control frames written since the last complete flush.
    controls: usize,
    /// Since when the client has been behind, if it is.
    behind_since: Option<Instant>,
    heard: Instant,
    pinged: Instant,
    bad_frames: u32,
}

/// What a session waits for.
enum Event {
    Incoming(Option<Result<Message, WsError>>),
    Flushed(Result<(), WsError>),
    Woken,
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A client that has shaken hands.
    pub fn new(socket: WebSocketStream<S>, service: Arc<Service>) -> Self {
        let now = Instant::now();
        Self {
            socket,
            service,
            reader: None,
            rung: Rung::default(),
            acknowledged: None,
            blocked_since: None,
            controls: 0,
            behind_since: None,
            heard: now,
            pinged: now,
            bad_frames: 0,
        }
    }

    /// Serves the client until one side ends it. What only the end needs is boxed: there are thousands
    /// of these futures, and each is as large as its largest state.
    pub async fn run(&mut self) -> Disconnect {
        let disconnect = self.serve().await;
        self.service.metrics.disconnects.with_label_values(&[disconnect.as_str()]).inc();
        match disconnect {
            Disconnect::Server(reason) => Box::pin(self.farewell(reason)).await,
            Disconnect::Client | Disconnect::Lost | Disconnect::Protocol => {}
        }
        disconnect
    }

    async fn serve(&mut self) -> Disconnect {
        let shutdown = self.service.shutdown.clone();
        let mut wake_ups = self.service.hub.wake_ups();
        let alarm = tokio::time::sleep(self.service.limits.ping_interval());
        tokio::pin!(alarm);
        loop {
            if let Err(disconnect) = self.step(Instant::now()) {
                return disconnect;
            }
            let deadline = self.next_deadline();
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => Event::Shutdown,
                event = std::future::poll_fn(|context| self.poll_socket(context)) => event,
                // The hub lives as long as this session.
                _changed = wake_ups.changed() => Event::Woken,
                () = &mut alarm => Event::Woken,
            };
            match event {
                Event::Woken => {}
                Event::Shutdown => return Disconnect::Server(ByeReason::Shutdown),
                Event::Flushed(Ok(())) => {
                    self.blocked_since = None;
                    self.controls = 0;
                }
                Event::Incoming(Some(Ok(message))) => {
                    if let Err(disconnect) = self.hear(message) {
                        return disconnect;
                    }
                }
                Event::Incoming(None) => return Disconnect::Client,
                Event::Flushed(Err(error)) | Event::Incoming(Some(Err(error))) => {
                    return self.broken(error).await;
                }
            }
        }
    }

    fn poll_socket(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if self.blocked_since.is_some()
            && let Poll::Ready(outcome) = Pin::new(&mut self.socket).poll_flush(context)
        {
            return Poll::Ready(Event::Flushed(outcome));
        }
        if self.controls < CONTROLS
            && let Poll::Ready(incoming) = Pin::new(&mut self.socket).poll_next(context)
        {
            return Poll::Ready(Event::Incoming(incoming));
        }
        Poll::Pending
    }

    /// Everything that the state and the time call for.
    fn step(&mut self, now: Instant) -> Result<(), Disconnect> {
        let limits = self.service.limits;
        if now - self.heard >= limits.idle_timeout() {
            return Err(Disconnect::Server(ByeReason::Idle));
        }
        self.climb(now)?;
        if self.blocked_since.is_some_and(|since| now - since >= limits.write_deadline()) {
            return Err(Disconnect::Server(ByeReason::Stalled));
        }
        if self.blocked_since.is_none()
            && now - self.heard.max(self.pinged) >= limits.ping_interval()
        {
            self.pinged = now;
            self.write(Message::Ping(bytes::Bytes::new()))?;
        }
        self.fill()
    }

    /// Warns a client that falls behind, each rung once.
    fn climb(&mut self, now: Instant) -> Result<(), Disconnect> {
        let percent = self.percent_full(now);
        match (percent, self.behind_since) {
            (0, _) => self.behind_since = None,
            (_, None) => self.behind_since = Some(now),
            (_, Some(_)) => {}
        }
        for rung in self.rung.observe(percent) {
            match rung {
                Rung::Flowing => {}
                Rung::SlowDown => self.slow_down(percent)?,
                Rung::Stalled => {
                    let hub = &self.service.hub;
                    let skipped = self.reader.as_mut().map_or(0, |reader| reader.conflate(hub));
                    self.stall_warning(percent, skipped)?;
                }
            }
        }
        Ok(())
    }

    fn percent_full(&self, now: Instant) -> u8 {
        let blocked = self
            .blocked_since
            .map_or(0, |since| percent_of(now - since, self.service.limits.write_deadline()));
        blocked.max(self.percent_behind())
    }

    fn percent_behind(&self) -> u8 {
        let hub = &self.service.hub;
        self.reader.as_ref().map_or(0, |reader| {
            let unacknowledged =
                self.acknowledged.map_or(0, |cursor| reader.percent_unacknowledged(hub, cursor));
            unacknowledged.max(reader.percent_behind(hub))
        })
    }

    /// Whether the client has been sent so much that it has not acknowledged that it gets no more.
    fn is_held(&self) -> bool {
        let (Some(acknowledged), Some(reader)) = (self.acknowledged, &self.reader) else {
            return false;
        };
        let outstanding = reader
            .cursor()
            .is_some_and(|sent| sent.stream == acknowledged.stream && sent.seq > acknowledged.seq);
        outstanding
            && reader.percent_unacknowledged(&self.service.hub, acknowledged) >= ladder::STALL
    }

    /// The next batch, if the one before is out.
    fn fill(&mut self) -> Result<(), Disconnect> {
        if self.blocked_since.is_some() || self.is_held() {
            return Ok(());
        }
        let hub = Arc::clone(&self.service.hub);
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut skipped = if self.rung == Rung::Stalled { reader.conflate(&hub) } else { 0 };
        let batch = reader.take(&hub, BATCH);
        skipped += batch.skipped;
        if let Some(gap) = batch.gap {
            self.acknowledged = None;
            self.gap(gap)?;
        }
        if skipped > 0 {
            // Should the ring have run over between two looks, this is the first that is seen of it.
            if self.rung.observe(ladder::STALL).contains(&Rung::SlowDown) {
                self.slow_down(ladder::STALL)?;
            }
            self.stall_warning(ladder::STALL, skipped)?;
        }
        self.service.metrics.deliveries.inc_by(batch.frames.len() as u64);
        for (frame, as_snapshot) in batch.frames {
            let text = if as_snapshot { hub.snapshot_text(&frame) } else { frame.result() };
            self.write(Message::Text(text))?;
        }
        Ok(())
    }

    fn slow_down(&mut self, percent_full: u8) -> Result<(), Disconnect> {
        self.service.metrics.warnings.with_label_values(&["slow_down"]).inc();
        let frame = SlowDown { percent_full, lag_ms: self.lag_ms(), cursor: self.cursor() };
        self.control(&ServerFrame::SlowDown(frame))
    }

    fn stall_warning(&mut self, percent_full: u8, skipped: u64) -> Result<(), Disconnect> {
        self.service.metrics.warnings.with_label_values(&["stall_warning"]).inc();
        self.service.metrics.results_skipped.inc_by(skipped);
        let frame =
            StallWarning { percent_full, lag_ms: self.lag_ms(), skipped, cursor: self.cursor() };
        self.control(&ServerFrame::StallWarning(frame))
    }

    fn lag_ms(&self) -> u64 {
        let since = self.behind_since.map_or(Duration::ZERO, |since| since.elapsed());
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Where the client would resume.
    fn cursor(&self) -> Option<Cursor> {
        self.reader.as_ref().and_then(Reader::cursor)
    }

    fn gap(&mut self, gap: Gap) -> Result<(), Disconnect> {
        self.service.metrics.warnings.with_label_values(&["gap"]).inc();
        self.control(&ServerFrame::Gap(gap))
    }

    fn hear(&mut self, message: Message) -> Result<(), Disconnect> {
        self.heard = Instant::now();
        match message {
            Message::Text(text) => match serde_json::from_str::<ClientFrame>(&text) {
                Ok(ClientFrame::Subscribe { queries, cursor }) => self.subscribe(queries, cursor),
                Ok(ClientFrame::Ack { cursor }) => self.acknowledge(cursor),
                Err(error) => self.refuse(&format!("{error}; send a subscribe or an ack")),
            },
            Message::Binary(_) => self.refuse("binary; send json as text"),
            // The pong is queued by the library; a close is answered by it, and ends the stream.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn subscribe(&mut self, queries: Queries, cursor: Option<Cursor>) -> Result<(), Disconnect> {
        let Subscribed { reader, gap, outcome, unknown } =
            self.service.hub.subscribe(queries, cursor);
        self.reader = Some(reader);
        self.acknowledged = None;
        if let Some(outcome) = outcome {
            self.service.metrics.resumes.with_label_values(&[outcome.as_str()]).inc();
        }
        if let Some(gap) = gap {
            self.gap(gap)?;
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let message = unknown_queries(&unknown);
        self.control(&ServerFrame::Error(Refusal { code: RefusalCode::UnknownQuery, message }))
    }

    fn acknowledge(&mut self, cursor: Cursor) -> Result<(), Disconnect> {
        let Some(sent) = self.cursor() else {
            return self.refuse("an ack before anything was sent; subscribe first");
        };
        if cursor.stream == sent.stream {
            let seq = cursor.seq.min(sent.seq);
            let before = self.acknowledged.map_or(0, |acknowledged| acknowledged.seq);
            self.acknowledged = Some(Cursor { seq: seq.max(before), ..sent });
        }
        Ok(())
    }

    fn refuse(&mut self, what: &str) -> Result<(), Disconnect> {
        self.service.metrics.bad_frames.inc();
        self.bad_frames += 1;
        let message = format!("cannot read this frame: {what}");
        self.control(&ServerFrame::Error(Refusal { code: RefusalCode::BadFrame, message }))?;
        if self.bad_frames > self.service.limits.bad_frames {
            return Err(Disconnect::Server(ByeReason::BadFrames));
        }
        Ok(())
    }

    fn control(&mut self, frame: &ServerFrame) -> Result<(), Disconnect> {
        self.controls += 1;
        // A frame of texts and numbers always has a JSON form.
        let text = serde_json::to_string(frame).unwrap_or_default();
        self.write(Message::text(text))
    }

    fn write(&mut self, message: Message) -> Result<(), Disconnect> {
        self.blocked_since.get_or_insert_with(Instant::now);
        Pin::new(&mut self.socket).start_send(message).map_err(|error| match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(_) => {
                Disconnect::Client
            }
            WsError::WriteBufferFull(_) => Disconnect::Server(ByeReason::Stalled),
            _ => Disconnect::Lost,
        })
    }

    fn next_deadline(&self) -> Instant {
        let limits = &self.service.limits;
        let next = self.blocked_since.map_or_else(
            || self.heard.max(self.pinged) + limits.ping_interval(),
            |since| since + limits.write_deadline() * self.rung.next_percent() / 100,
        );
        next.min(self.heard + limits.idle_timeout())
    }

    /// The stream gave an error: it gives nothing more, but a last frame may still go out.
    async fn broken(&mut self, error: WsError) -> Disconnect {
        let code = match error {
            WsError::Capacity(_) => return Disconnect::Server(ByeReason::TooLarge),
            WsError::ConnectionClosed | WsError::AlreadyClosed => return Disconnect::Client,
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return Disconnect::Lost;
            }
            WsError::Protocol(_) => CloseCode::Protocol,
            WsError::Utf8(_) => CloseCode::Invalid,
            _ => return Disconnect::Lost,
        };
        Box::pin(self.close(CloseFrame { code, reason: "protocol violation".into() })).await;
        Disconnect::Protocol
    }

    async fn farewell(&mut self, reason: ByeReason) {
        let cursor = self.cursor();
        let retry_ms = rand::rng().random_range(0..=self.service.limits.retry_ms);
        // Both fail only when the client is gone, and then there is nobody to tell.
        let _gone = self.control(&ServerFrame::Bye(Bye { reason, cursor, retry_ms }));
        let text = cursor.map_or_else(
            || reason.as_str().to_owned(),
            |cursor| format!("{} {cursor}", reason.as_str()),
        );
        self.close(CloseFrame { code: reason.close_code().into(), reason: text.into() }).await;
    }

    /// Closes, and gives the client a while to take what is under way: a socket that is dropped while
    /// something from the peer is unread is reset, and what it still had to send is lost.
    async fn close(&mut self, frame: CloseFrame) {
        let closing = async {
            if Pin::new(&mut self.socket).start_send(Message::Close(Some(frame))).is_err()
                || self.socket.flush().await.is_err()
            {
                return;
            }
            while let Some(Ok(_)) = self.socket.next().await {}
            let stream = self.socket.get_mut();
            let mut unread = [0; 1024];
            if stream.shutdown().await.is_ok() {
                while stream.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
            }
        };
        // Past the grace the connection is dropped, whatever it holds.
        let _in_time = tokio::time::timeout(self.service.limits.close_grace(), closing).await;
    }
}

fn unknown_queries(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(3)
        .map(|name| format!("`{}`", name.chars().take(64).collect::<String>()))
        .collect();
    let more = names.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "nothing has been published of {}{more}; GET /v1/queries lists what there is",
        shown.join(", ")
    )
}

fn percent_of(part: Duration, whole: Duration) -> u8 {
    u8::try_from((part.as_nanos() * 100 / whole.as_nanos().max(1)).min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests;
