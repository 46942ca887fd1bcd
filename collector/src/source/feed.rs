//! A feed that the collector connects to, whatever its [`Protocol`] is.
//!
//! On every connect except the first ever, a feed that can resume is asked for everything since the cursor of
//! what was received, after a restart of what was logged. So it sends again what was lost in a socket or a killed process. Events that come
//! twice are recognised by their id later. A feed that cannot resume has a gap at every interruption, from
//! the last message before it to the first one after it. A gap is counted and logged when it ends.
//!
//! | what happens | what is done |
//! |---|---|
//! | the connection ends or breaks, or connecting fails | reconnect |
//! | no message for `silence_timeout` | the connection is closed; reconnect; not ready until a message comes |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter |
//! | `framing` does not fit a frame | the frame is one dead letter |
//! | what comes next cannot be read | reconnect; if it comes again at the same cursor, and so on [`UNREADABLE`] times in a row, reconnect *without* resuming: a gap |
//!
//! Before a reconnect there is a random wait (full jitter). Its bound doubles until a connection brings a
//! message. A feed can ask for a longer one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::backoff::Backoff;
use common::event::Reason;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::framing::divide;
use super::resume_point::{Begin, ResumePoint};
use super::{End, Source};
use crate::config::{Connect, Framing, Resume};
use crate::cursor::Cursor;
use crate::intake::{Closed, Intake, Message};
use crate::metrics::SourceMetrics;
use crate::receipt::Receipt;
use gap::Gap;

#[cfg(test)]
pub(crate) mod following;
mod gap;

/// How messages come from a feed.
pub trait Protocol: Send + 'static {
    /// A connection to the feed.
    type Stream: Stream;

    /// What the configuration says of the feed, whatever its protocol is.
    fn settings(&self) -> Settings;

    /// How much longer than `connect_timeout_ms` connecting may take.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether what comes during an interruption is lost to a feed that is asked for this next.
    fn loses(&self, begin: &Begin) -> bool {
        *begin == Begin::Now
    }

    /// Connects.
    fn connect(&mut self, begin: &Begin)
    -> impl Future<Output = Result<Self::Stream, Lost>> + Send;
}

/// What the configuration says of a feed, whatever its protocol is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which feed it is.
    pub connect: Connect,
    /// How it is asked for what was missed.
    pub resume: Resume,
    /// How many messages a frame holds.
    pub framing: Framing,
}

/// What comes over one connection.
pub trait Stream: Send {
    /// Whether nothing is missing of what the feed should have kept.
    fn has_resumed(&self) -> bool {
        true
    }

    /// Resolves when messages come from now on. The source is ready then.
    fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }

    /// Waits for the next frame. It is also here that a peer is found to be dead.
    fn next(&mut self) -> impl Future<Output = Result<Frame, Lost>> + Send;

    /// Takes leave of the feed, if the protocol has a way to.
    fn close(self, closing: Closing) -> impl Future<Output = ()> + Send;
}

/// How many times in a row the same must be unreadable to be skipped. By the default waits that takes about ten seconds: a proxy
/// or a server that is just being replaced answers something strange for less.
pub(super) const UNREADABLE: u32 = 8;
/// How many bytes are kept of a message that is too large.
pub const CUT_BYTES: usize = 1024;

/// One or more messages, as `framing` says.
#[derive(Debug, Default)]
pub struct Frame {
    /// What came. No more than the first bytes if it was cut.
    pub payload: Bytes,
    /// If it was larger than `max_message_bytes`: how many bytes it had when it was cut.
    pub cut: Option<u64>,
    /// Where the feed resumes after it, if the protocol has cursors of its own.
    pub cursor: Option<Bytes>,
    /// For a feed that waits until it is safe.
    pub receipt: Option<Receipt>,
}

/// Why a connection ended, or could not be established.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost {
    /// For people, and without secrets.
    pub why: String,
    /// Whether what comes next cannot be read, and reading it again would not help.
    pub unreadable: bool,
    /// How long the feed asks to be left alone.
    pub wait: Duration,
}

/// Why a connection is closed from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// This process is stopping.
    Stopping,
    /// The feed has sent no message for too long.
    Silent,
    /// The connection has ended already, or is of no use any more.
    Lost,
}

/// A source that follows a feed.
pub struct Feed<P> {
    name: Arc<str>,
    settings: Settings,
    protocol: P,
    metrics: SourceMetrics,
    connection: Connection,
}

/// What is needed while a feed is followed.
struct Follower<P> {
    feed: Feed<P>,
    intake: Intake,
    shutdown: CancellationToken,
    /// Where the feed resumes after what was pushed.
    point: ResumePoint,
    /// The gap that is open, until the next message comes.
    gap: Option<Gap>,
    /// When the last message came, in milliseconds since 1970.
    received_ms: Option<i64>,
    /// Where the feed would have resumed when something could not be read, and how many times in a row it could not.
    unreadable: Option<(ResumePoint, u32)>,
    /// Whether no message has come since a connection was given up because none came for `silence_timeout`.
    silent: bool,
    /// Whether messages come over the connection from now on.
    has_begun: bool,
}

/// Why following a connection ended.
#[derive(Debug)]
enum Ended {
    /// This process is stopping.
    Stopping,
    /// The feed has sent no message for this long.
    Silent(Duration),
    /// It was lost.
    Lost(Lost),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::Stopping
    }
}

// === impl Frame ===

impl Frame {
    /// A copy of `payload`, which was not cut.
    pub fn whole(payload: &[u8]) -> Self {
        Self { payload: Bytes::copy_from_slice(payload), ..Self::default() }
    }
}

// === impl Lost ===

impl Lost {
    /// The same may go well the next time.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), unreadable: false, wait: Duration::ZERO }
    }

    /// Reading the same again would not help.
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self { unreadable: true, ..Self::new(why) }
    }

    /// The feed asks not to be connected to for this long.
    pub fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self::new(why)
    }
}

// === impl Feed ===

impl<P: Protocol> Feed<P> {
    /// Prepares to follow the feed of the source of this name.
    pub fn new(
        name: &Arc<str>,
        protocol: P,
        metrics: SourceMetrics,
        connection: Connection,
    ) -> Self {
        let settings = protocol.settings();
        Self { name: Arc::clone(name), settings, protocol, metrics, connection }
    }
}

impl<P: Protocol> Source for Feed<P> {
    async fn run(self, intake: Intake, resume: Option<Cursor>, stop: CancellationToken) -> End {
        let point = ResumePoint::new(&self.settings.resume, resume.as_ref());
        self.metrics.cursor.set(point.position());
        let follower = Follower {
            feed: self,
            intake,
            shutdown: stop,
            point,
            gap: None,
            received_ms: None,
            unreadable: None,
            silent: false,
            has_begun: false,
        };
        follower.run(resume.is_some()).await
    }
}

// === impl Follower ===

impl<P: Protocol> Follower<P> {
    /// Follows the feed. `connected_before` says that there was an earlier connection.
    async fn run(mut self, connected_before: bool) -> End {
        let mut backoff = Backoff::new(
            Duration::from_millis(self.feed.settings.connect.reconnect_base_ms),
            Duration::from_millis(self.feed.settings.connect.reconnect_cap_ms),
        );
        let mut begin = Begin::AsConfigured;
        if connected_before {
            self.received_ms = self.point.received_ms();
            begin = self.resume();
        }
        loop {
            let before = self.received_ms;
            let (connected, ended) = match self.connect(&begin).await {
                Ok(mut stream) => {
                    if !stream.has_resumed() && begin != Begin::AsConfigured {
                        self.open_gap("the feed does not know any more what was missed");
                    }
                    let ended = self.follow(&mut stream).await;
                    self.feed.metrics.connected.set(0);
                    stream.close(ended.closing()).await;
                    (true, ended)
                }
                Err(ended) => (false, ended),
            };
            self.silent |= matches!(ended, Ended::Silent(_));
            let lost = match ended {
                Ended::Stopping => return self.end(),
                Ended::Lost(lost) => lost,
                Ended::Silent(silence) => Lost::new(format!(
                    "no message for {} ms, the silence_timeout",
                    silence.as_millis()
                )),
            };
            let why = &*lost.why;
            self.feed.metrics.disconnects.inc();
            self.feed.connection.unset(format!("{}: {why}", self.feed.settings.connect.url));
            if lost.unreadable {
                begin = self.resume_or_skip();
            } else if connected {
                self.unreadable = None;
                begin = self.resume();
            }
            let received = self.received_ms != before;
            if received && !lost.unreadable {
                backoff.reset();
            }
            let delay = lost.wait + backoff.next_delay(&mut rand::rng());
            let (source, delay_ms) = (&*self.feed.name, delay.as_millis());
            tracing::warn!(
                source,
                why,
                received,
                delay_ms,
                "no connection to the source, trying again"
            );
            tokio::select! {
                () = self.shutdown.cancelled() => return self.end(),
                () = self.intake.closed() => return self.end(),
                () = sleep(delay) => {}
            }
        }
    }

    fn end(&self) -> End {
        if self.shutdown.is_cancelled() { End::Stopped } else { End::Closed }
    }

    /// From where the feed is asked to begin after an interruption.
    fn resume(&mut self) -> Begin {
        // All that was received is in the queue, and nothing but the end of this process keeps it from the log.
        let begin = self.point.begin();
        if self.feed.protocol.loses(&begin) {
            self.open_gap("the source cannot resume");
        }
        begin
    }

    /// The same after something that could not be read. What stays unreadable is skipped.
    fn resume_or_skip(&mut self) -> Begin {
        let before = self.unreadable.take().filter(|(point, _)| !self.point.is_after(point));
        let times = before.map_or(1, |(_, times)| times + 1);
        self.unreadable = Some((self.point.clone(), times));
        if times >= UNREADABLE {
            self.open_gap("the source cannot resume after something unreadable");
            return Begin::Now;
        }
        self.resume()
    }

    fn open_gap(&mut self, why: &'static str) {
        // A gap that is still open continues.
        let after_ms = self.received_ms;
        self.gap.get_or_insert(Gap { after_ms, why });
    }

    /// Notes that a message came.
    fn received(&mut self, now_ms: i64) {
        self.received_ms = Some(now_ms);
        if let Some(Gap { after_ms, why }) = self.gap.take() {
            self.intake.missed().gap(after_ms, None, why);
        }
    }

    async fn connect(&mut self, begin: &Begin) -> Result<P::Stream, Ended> {
        let deadline = Duration::from_millis(self.feed.settings.connect.connect_timeout_ms)
            + self.feed.protocol.patience();
        let outcome = tokio::select! {
            () = self.shutdown.cancelled() => return Err(Ended::Stopping),
            () = self.intake.closed() => return Err(Ended::Stopping),
            outcome = timeout(deadline, Box::pin(self.feed.protocol.connect(begin))) => outcome,
        };
        match outcome {
            Ok(Ok(stream)) => {
                let url = &self.feed.settings.connect.url;
                tracing::info!(source = &*self.feed.name, %url, %begin, "connected");
                self.feed.metrics.connects.inc();
                Ok(stream)
            }
            Ok(Err(lost)) => Err(Ended::Lost(lost)),
            Err(_) => {
                let why = format!("no connection within {} ms", deadline.as_millis());
                Err(Ended::Lost(Lost::new(why)))
            }
        }
    }

    /// Takes frames until the connection ends.
    async fn follow(&mut self, stream: &mut P::Stream) -> Ended {
        let silence = self.feed.settings.connect.silence_timeout.unwrap_or(Duration::MAX);
        let mut message_at = Instant::now();
        let begun = stream.begun();
        self.has_begun = false;
        tokio::pin!(begun);
        loop {
            let silent_at = message_at.checked_add(silence);
            let silent = async {
                match silent_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ended::Stopping,
                () = &mut begun, if !self.has_begun => {
                    self.has_begun = true;
                    self.feed.metrics.connected.set(1);
                    if !self.silent {
                        self.feed.connection.set();
                    }
                    continue;
                }
                frame = stream.next() => frame,
                () = silent => return Ended::Silent(silence),
            };
            let taken = match frame {
                Ok(frame) => self.take(frame).await,
                Err(lost) => Err(Ended::Lost(lost)),
            };
            match taken {
                // The clock starts only now, because nothing was read while the queue was full.
                Ok(messages) if messages > 0 => message_at = Instant::now(),
                Ok(_) => {}
                Err(ended) => return ended,
            }
        }
    }

    /// Hands the messages of a frame to the pipeline. Returns how many there were.
    async fn take(&mut self, frame: Frame) -> Result<usize, Ended> {
        let Frame { payload, cut, cursor, receipt } = frame;
        if let Some(bytes) = cut {
            let (source, limit) = (&*self.feed.name, self.feed.settings.connect.max_message_bytes);
            tracing::warn!(
                source,
                bytes,
                limit,
                "a message is too large; its first bytes are a dead letter, the rest is dropped"
            );
            return self.push(&payload, Some(Reason::TooLarge), cursor, receipt).await;
        }
        let (mut messages, mut count) =
            (divide(&self.feed.settings.framing, &payload).peekable(), 0);
        let at_most_once = self.intake.is_at_most_once();
        while let Some((message, refused)) = messages.next() {
            // Only after all of them may the feed resume after the frame; or with the first, so that none comes twice.
            let is_at = if at_most_once { count == 0 } else { messages.peek().is_none() };
            let cursor = cursor.clone().filter(|_| is_at);
            let receipt = receipt.as_ref().map(Receipt::another);
            count += self.push(message, refused, cursor, receipt).await?;
        }
        if let Some(receipt) = receipt {
            receipt.waive();
        }
        Ok(count)
    }

    /// Hands one message to the pipeline, and returns that it was one.
    async fn push(
        &mut self,
        payload: &[u8],
        refused: Option<Reason>,
        given: Option<Bytes>,
        receipt: Option<Receipt>,
    ) -> Result<usize, Ended> {
        let received_ms = self.intake.now_ms();
        // What a session has kept may come before.
        if std::mem::take(&mut self.silent) && self.has_begun {
            self.feed.connection.set();
        }
        self.received(received_ms);
        let identity = match refused {
            Some(reason) => Err(reason),
            None => self.intake.identify(payload),
        };
        let before = self.point.cursor();
        let time_ms = identity.as_ref().ok().and_then(|event| event.time_ms);
        self.point.observe(received_ms, time_ms, given);
        let cursor = Some(self.point.cursor()).filter(|cursor| *cursor != before);
        // Copied, because a slice would keep everything in memory that the message came with.
        let payload = Bytes::copy_from_slice(payload);
        let message = Message { payload, received_ms, identity, cursor, receipt };
        tokio::select! {
            // A full queue must not delay a shutdown. The feed will send again what is not taken now.
            () = self.shutdown.cancelled() => Err(Ended::Stopping),
            pushed = self.intake.push(message) => {
                self.feed.metrics.cursor.set(self.point.position());
                pushed?;
                Ok(1)
            }
        }
    }
}

// === impl Ended ===

impl Ended {
    const fn closing(&self) -> Closing {
        match self {
            Self::Stopping => Closing::Stopping,
            Self::Silent(_) => Closing::Silent,
            Self::Lost(_) => Closing::Lost,
        }
    }
}
