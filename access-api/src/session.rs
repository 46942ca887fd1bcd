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
//! **Invariants.** A batch is added only when the kernel has taken the one before, so that the write buffer
//! holds at most one batch and [`CONTROLS`] control frames; when so many control frames wait, the client is not
//! read. A client is disconnected for slowness only after `slow_down` and `stall_warning` (see [`flow`]). Every
//! close by the server is preceded by `bye`, except after a violation of the WebSocket protocol. Every close by
//! the client is answered.
//!
//! A client is behind by what the hub has and the client was not sent. If the client acknowledges, what it was
//! sent and has not acknowledged counts too, because a browser reads everything from the socket even when the
//! page is busy.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::clock::Clock;
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

use crate::hub::{Hub, Reader, Subscribed, WRAPPING_BYTES};
use crate::limits::Limits;
use crate::metrics::{Disconnect, Metrics, WarningKind};
use flow::{CONTROLS, Flow};
use ladder::{Rung, SLOW_DOWN, STALL};

mod flow;
mod ladder;

/// The most bytes of frames in one batch, unless a single frame is larger: about one result of 50 items. A
/// client's write buffer stays as large as its largest batch was, so that larger batches cost memory per client.
const BATCH: usize = 4 << 10;
/// The size of each client's read buffer, which exists as long as the client. Frames of clients are short.
const READ_BUFFER: usize = 1 << 10;
/// An upper bound of the size of a control frame, in bytes.
const CONTROL_BYTES: usize = 1 << 10;
/// How many characters of an error message, which may quote a client's text, an answer repeats at most.
const ECHO: usize = 200;
/// How long a client whose cursor is ahead of what this process has read waits before it is sent a `gap`.
/// Such a cursor comes from another pod, and this one normally reads as far within moments.
const AHEAD: Duration = Duration::from_secs(5);

/// What sessions share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where results come from.
    pub hub: Arc<Hub>,
    /// Limits on what a client may use.
    pub limits: Limits,
    /// Where clients and frames are counted.
    pub metrics: Metrics,
    /// The clock whose time clients are told.
    pub clock: Clock,
    /// Cancelled when the process stops.
    pub shutdown: CancellationToken,
}

/// The WebSocket settings of a session.
pub fn websocket_config(limits: &Limits) -> WebSocketConfig {
    let controls = (usize::from(CONTROLS) + 4) * CONTROL_BYTES;
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(BATCH)
        .max_write_buffer_size(BATCH + limits.result_bytes + WRAPPING_BYTES + controls)
        .max_message_size(Some(limits.client_frame_bytes))
        .max_frame_size(Some(limits.client_frame_bytes))
}

/// One client.
pub struct Session<S> {
    socket: WebSocketStream<S>,
    shared: Arc<Shared>,
    subscription: Subscription,
    flow: Flow,
    /// The [`Hub::status_changes`] of the last `status` that the client was sent.
    told: Option<u64>,
    bad_frames: u32,
}

/// What the client has subscribed to.
enum Subscription {
    /// The client has not subscribed.
    None,
    /// The client waits until the hub has read as far as its cursor.
    Waiting(Box<Waiting>),
    /// The client gets results.
    Served(Reader),
}

struct Waiting {
    queries: Queries,
    cursor: Option<Cursor>,
    /// When to stop waiting for the cursor.
    until: Instant,
}

/// What a session waits for.
enum Event {
    Incoming(Option<Result<Message, WsError>>),
    Flushed(Result<(), WsError>),
    Woken,
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A client whose handshake is done.
    pub fn new(socket: WebSocketStream<S>, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            shared,
            subscription: Subscription::None,
            flow: Flow::new(Instant::now()),
            told: None,
            bad_frames: 0,
        }
    }

    /// Serves the client until one side ends the connection. Futures that only the end needs are boxed,
    /// because there are thousands of these futures and each is as large as its largest state.
    pub async fn run(&mut self) -> Disconnect {
        let disconnect = self.serve().await;
        self.shared.metrics.disconnects.with_label_values(&[disconnect.as_str()]).inc();
        match disconnect {
            Disconnect::Server(reason) => Box::pin(self.farewell(reason)).await,
            // Its close is answered; otherwise the client would take the connection for broken.
            Disconnect::Client => Box::pin(self.part()).await,
            Disconnect::Lost | Disconnect::Protocol => {}
        }
        disconnect
    }

    async fn serve(&mut self) -> Disconnect {
        let shutdown = self.shared.shutdown.clone();
        let mut wake_ups = self.shared.hub.wake_ups();
        let alarm = tokio::time::sleep(self.shared.limits.ping_interval());
        tokio::pin!(alarm);
        loop {
            let now = Instant::now();
            if let Err(disconnect) = self.step(now) {
                return disconnect;
            }
            let deadline = self.deadline(now);
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => Event::Shutdown,
                event = std::future::poll_fn(|context| self.poll_socket(context)) => event,
                // It cannot fail, because the hub lives as long as this session.
                _changed = wake_ups.changed() => Event::Woken,
                () = &mut alarm => Event::Woken,
            };
            match event {
                Event::Woken => {}
                Event::Shutdown => return Disconnect::Server(ByeReason::Shutdown),
                Event::Flushed(Ok(())) => self.flow.flushed(),
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
        if self.flow.is_blocked()
            && let Poll::Ready(outcome) = Pin::new(&mut self.socket).poll_flush(context)
        {
            return Poll::Ready(Event::Flushed(outcome));
        }
        if self.flow.may_read(Instant::now())
            && let Poll::Ready(incoming) = Pin::new(&mut self.socket).poll_next(context)
        {
            return Poll::Ready(Event::Incoming(incoming));
        }
        Poll::Pending
    }

    /// Does everything that is due at `now`: warnings, pings, `status`, and the next batch.
    fn step(&mut self, now: Instant) -> Result<(), Disconnect> {
        let shared = Arc::clone(&self.shared);
        let behind = match &mut self.subscription {
            Subscription::Served(reader) => shared.hub.behind(reader),
            Subscription::None | Subscription::Waiting(_) => Default::default(),
        };
        let climb =
            self.flow.observe(now, behind.position.max(behind.unacknowledged), &shared.limits);
        for rung in climb.rungs {
            match rung {
                Rung::Flowing => {}
                Rung::SlowDown => self.slow_down(climb.percent)?,
                Rung::Stalled => {
                    let skipped = match &mut self.subscription {
                        Subscription::Served(reader) => shared.hub.conflate(reader),
                        Subscription::None | Subscription::Waiting(_) => 0,
                    };
                    self.stall_warning(climb.percent, skipped)?;
                }
            }
        }
        if let Some(reason) = self.flow.overdue(now, &shared.limits) {
            return Err(Disconnect::Server(reason));
        }
        if self.flow.is_ping_due(now, &shared.limits) {
            self.flow.pinged(now);
            self.write(Message::Ping(bytes::Bytes::new()))?;
        }
        self.tell_status()?;
        self.begin(now)?;
        // A client that has much to acknowledge gets no more results until it acknowledges.
        if self.flow.is_blocked() || behind.unacknowledged >= STALL {
            return Ok(());
        }
        // Close to that point it gets one frame at a time, so that it does not pass the point by a batch.
        self.fill(&shared.hub, if behind.unacknowledged >= SLOW_DOWN { 1 } else { BATCH })
    }

    fn deadline(&self, now: Instant) -> Instant {
        let deadline = self.flow.deadline(now, &self.shared.limits);
        match &self.subscription {
            Subscription::Waiting(waiting) if waiting.until > now => deadline.min(waiting.until),
            _ => deadline,
        }
    }

    /// Sends `status` to a client that has subscribed, if it was not sent the current one.
    fn tell_status(&mut self) -> Result<(), Disconnect> {
        let changes = self.shared.hub.status_changes();
        if matches!(self.subscription, Subscription::None) || self.told == Some(changes) {
            return Ok(());
        }
        self.told = Some(changes);
        let status = self.shared.hub.status(self.shared.clock.now_ms());
        self.control(&ServerFrame::Status(status))
    }

    /// Begins to serve a waiting subscription once that is possible.
    fn begin(&mut self, now: Instant) -> Result<(), Disconnect> {
        let hub = &self.shared.hub;
        let Subscription::Waiting(waiting) = &mut self.subscription else { return Ok(()) };
        if !hub.is_complete() || !(hub.has_reached(waiting.cursor) || now >= waiting.until) {
            return Ok(());
        }
        let queries = std::mem::replace(&mut waiting.queries, Queries::All);
        let Subscribed { reader, gap, outcome, unknown } = hub.subscribe(queries, waiting.cursor);
        self.subscription = Subscription::Served(reader);
        if let Some(outcome) = outcome {
            self.shared.metrics.resumes.with_label_values(&[outcome.as_str()]).inc();
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

    /// Writes the next batch: at most `budget` bytes, or one larger frame.
    fn fill(&mut self, hub: &Hub, budget: usize) -> Result<(), Disconnect> {
        let Subscription::Served(reader) = &mut self.subscription else { return Ok(()) };
        let mut skipped = if self.flow.is_stalled() { hub.conflate(reader) } else { 0 };
        let batch = hub.take(reader, budget);
        skipped += batch.skipped;
        if let Some(gap) = batch.gap {
            self.gap(gap)?;
        }
        if skipped > 0 {
            // The ring may have overflowed since the last step; then the client was not warned before.
            let climb = self.flow.observe(Instant::now(), STALL, &self.shared.limits);
            if climb.rungs.contains(&Rung::SlowDown) {
                self.slow_down(STALL)?;
            }
            self.stall_warning(STALL, skipped)?;
        }
        self.shared.metrics.deliveries.inc_by(batch.frames.len() as u64);
        for (frame, as_snapshot) in batch.frames {
            let text = if as_snapshot { hub.snapshot_text(&frame) } else { frame.result() };
            self.write(Message::Text(text))?;
        }
        Ok(())
    }

    fn slow_down(&mut self, percent_full: u8) -> Result<(), Disconnect> {
        self.shared.metrics.warnings.with_label_values(&[WarningKind::SlowDown.as_str()]).inc();
        let lag_ms = self.flow.lag_ms(Instant::now());
        let frame = SlowDown { percent_full, lag_ms, cursor: self.cursor() };
        self.control(&ServerFrame::SlowDown(frame))
    }

    fn stall_warning(&mut self, percent_full: u8, skipped: u64) -> Result<(), Disconnect> {
        self.shared.metrics.warnings.with_label_values(&[WarningKind::StallWarning.as_str()]).inc();
        self.shared.metrics.results_skipped.inc_by(skipped);
        let lag_ms = self.flow.lag_ms(Instant::now());
        let frame = StallWarning { percent_full, lag_ms, skipped, cursor: self.cursor() };
        self.control(&ServerFrame::StallWarning(frame))
    }

    /// The cursor from which the client would resume.
    fn cursor(&self) -> Option<Cursor> {
        match &self.subscription {
            Subscription::None => None,
            Subscription::Waiting(waiting) => waiting.cursor,
            Subscription::Served(reader) => reader.cursor(),
        }
    }

    fn gap(&mut self, gap: Gap) -> Result<(), Disconnect> {
        self.shared.metrics.warnings.with_label_values(&[WarningKind::Gap.as_str()]).inc();
        self.control(&ServerFrame::Gap(gap))
    }

    fn hear(&mut self, message: Message) -> Result<(), Disconnect> {
        let now = Instant::now();
        self.flow.heard(now, &self.shared.limits);
        match message {
            Message::Text(text) => match serde_json::from_str::<ClientFrame>(&text) {
                Ok(ClientFrame::Subscribe { queries, cursor }) => {
                    self.subscribe(now, queries, cursor)
                }
                Ok(ClientFrame::Ack { cursor }) => self.acknowledge(cursor),
                Err(error) => {
                    let error: String = error.to_string().chars().take(ECHO).collect();
                    self.refuse(&format!("{error}; send a subscribe or an ack"))
                }
            },
            Message::Binary(_) => self.refuse("it is binary; send JSON as text"),
            Message::Close(_) => Err(Disconnect::Client),
            // The library has queued a pong, which takes room in the write buffer.
            Message::Ping(_) => {
                self.flow.wrote_control(now);
                Ok(())
            }
            Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn subscribe(
        &mut self,
        now: Instant,
        queries: Queries,
        cursor: Option<Cursor>,
    ) -> Result<(), Disconnect> {
        let most = self.shared.limits.queries;
        if let Queries::Named(names) = &queries
            && names.len() > most
        {
            return self.refuse(&format!(
                "it names {} queries; name at most {most}, or \"*\"",
                names.len()
            ));
        }
        let until = now + AHEAD;
        self.subscription = Subscription::Waiting(Box::new(Waiting { queries, cursor, until }));
        self.told = None;
        Ok(())
    }

    fn acknowledge(&mut self, cursor: Cursor) -> Result<(), Disconnect> {
        match &mut self.subscription {
            Subscription::None => {
                self.refuse("it is an ack before anything was sent; subscribe first")
            }
            // The ack is for results of the subscription before, which do not count any more.
            Subscription::Waiting(_) => Ok(()),
            Subscription::Served(reader) => {
                self.shared.hub.acknowledge(reader, cursor);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, what: &str) -> Result<(), Disconnect> {
        self.shared.metrics.bad_frames.inc();
        self.bad_frames = self.bad_frames.saturating_add(1);
        let message = format!("cannot read this frame: {what}");
        self.control(&ServerFrame::Error(Refusal { code: RefusalCode::BadFrame, message }))?;
        if self.bad_frames > self.shared.limits.bad_frames {
            return Err(Disconnect::Server(ByeReason::BadFrames));
        }
        Ok(())
    }

    fn control(&mut self, frame: &ServerFrame) -> Result<(), Disconnect> {
        self.flow.wrote_control(Instant::now());
        // It cannot fail: a frame consists of texts and numbers.
        let text = serde_json::to_string(frame).unwrap_or_default();
        self.write(Message::text(text))
    }

    fn write(&mut self, message: Message) -> Result<(), Disconnect> {
        self.flow.wrote(Instant::now());
        Pin::new(&mut self.socket).start_send(message).map_err(|error| match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Protocol(_) => {
                Disconnect::Client
            }
            WsError::WriteBufferFull(_) => Disconnect::Server(ByeReason::Stalled),
            _ => Disconnect::Lost,
        })
    }

    /// Reading or writing failed: nothing more can be read, but a last frame may still be sent.
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
        let retry_ms = rand::rng().random_range(0..=self.shared.limits.retry_ms);
        // It fails only when the client is gone, and then nobody can be told.
        let _gone = self.control(&ServerFrame::Bye(Bye { reason, cursor, retry_ms }));
        let text = cursor.map_or_else(
            || reason.as_str().to_owned(),
            |cursor| format!("{} {cursor}", reason.as_str()),
        );
        self.close(CloseFrame { code: reason.close_code().into(), reason: text.into() }).await;
    }

    async fn close(&mut self, frame: CloseFrame) {
        // It fails when the client has closed already; its close still has to be answered.
        let _closing = Pin::new(&mut self.socket).start_send(Message::Close(Some(frame)));
        self.part().await;
    }

    /// Gives the client time to read what was written. A socket that is dropped while something from the peer
    /// is unread is reset, and what it still had to send is lost.
    async fn part(&mut self) {
        let parting = async {
            // It fails when both sides have closed, which is the goal.
            let _closed = self.socket.flush().await;
            while let Some(Ok(_)) = self.socket.next().await {}
            let stream = self.socket.get_mut();
            let mut unread = [0; 1024];
            if stream.shutdown().await.is_ok() {
                while stream.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
            }
        };
        // After the grace period the connection is dropped even if something was not sent.
        let _in_time = tokio::time::timeout(self.shared.limits.close_grace(), parting).await;
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
        "no result of {}{more} has been published; GET /v1/queries lists the queries that have one",
        shown.join(", ")
    )
}

#[cfg(test)]
mod tests;
