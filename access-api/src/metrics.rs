//! The access-api's metrics, all named `millrace_access_api_…`.

use common::metrics::{Factory, Timestamp};
use common::protocol::ByeReason;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::hub::state::{Dropped, Resume};

/// Handles to the metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// WebSocket clients connected.
    pub clients: IntGauge,
    /// Connections open, of any kind.
    pub connections: IntGauge,
    /// How many connections may be open, by [`Cap`].
    pub connections_limit: IntGaugeVec,
    /// Connections answered 503 because too many were open, by [`Cap`].
    pub connections_refused: IntCounterVec,
    /// WebSocket handshakes refused, by [`Refusal`].
    pub handshakes_refused: IntCounterVec,
    /// Frames of results turned into text, by [`FrameKind`].
    pub frames_encoded: IntCounterVec,
    /// Frames of results handed to clients' sockets.
    pub deliveries: IntCounter,
    /// Results that were not sent to slow clients.
    pub results_skipped: IntCounter,
    /// Warnings sent, by [`WarningKind`].
    pub warnings: IntCounterVec,
    /// Clients' frames that could not be read.
    pub bad_frames: IntCounter,
    /// WebSocket clients disconnected, by [`Disconnect`].
    pub disconnects: IntCounterVec,
    /// Cursors given with `subscribe`, by [`Resume`].
    pub resumes: IntCounterVec,
    /// Results read from Kafka and shown.
    pub results: IntCounter,
    /// Results not shown, by [`Dropped`].
    pub results_dropped: IntCounterVec,
    /// When the newest result that is shown was published.
    pub newest_result: Timestamp,
    /// From the receipt of the newest event in a result to its place in the ring. Only results that reflect a newer
    /// event than the ones of their query before count, and none that was there when reading began.
    pub result_latency: Histogram,
    /// 1 while Kafka answers.
    pub kafka_up: IntGauge,
    /// Records in the topic of results that are not read yet, as of the last second.
    pub consumer_lag: IntGauge,
    /// Errors of the Kafka client.
    pub consumer_errors: IntCounter,
}

/// What bounds the number of connections: the label `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// That of WebSockets.
    Websockets,
    /// That of other connections.
    Requests,
    /// That of one address.
    Address,
}

/// Why a handshake is refused: the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request asks for no upgrade, or lacks a valid key.
    Handshake,
    /// The request asks for another version than 13.
    Version,
    /// The page that asks is not allowed to read results.
    Origin,
    /// The client offers subprotocols, and ours is not among them.
    Subprotocol,
    /// The topic of results was not read to its end yet.
    Reading,
    /// All places for WebSockets are taken.
    Full,
}

/// As what a result is encoded: the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// As news.
    Result,
    /// As what a client begins with.
    Snapshot,
}

/// A warning to a client: the label `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningKind {
    /// It is behind.
    SlowDown,
    /// It is so far behind that it is given the newest results only.
    StallWarning,
    /// It has missed results.
    Gap,
}

/// Why a WebSocket client was disconnected: the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnect {
    /// The client closed the connection.
    Client,
    /// The connection broke.
    Lost,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// The server closed the connection.
    Server(ByeReason),
}

impl Cap {
    /// Every cap.
    pub const ALL: [Self; 3] = [Self::Websockets, Self::Requests, Self::Address];

    /// The value of the label `cap`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Websockets => "websockets",
            Self::Requests => "requests",
            Self::Address => "address",
        }
    }
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Handshake,
        Self::Version,
        Self::Origin,
        Self::Subprotocol,
        Self::Reading,
        Self::Full,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Version => "version",
            Self::Origin => "origin",
            Self::Subprotocol => "subprotocol",
            Self::Reading => "reading",
            Self::Full => "too_many_connections",
        }
    }
}

impl FrameKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Result, Self::Snapshot];

    /// The value of the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Snapshot => "snapshot",
        }
    }
}

impl WarningKind {
    /// Every warning.
    pub const ALL: [Self; 3] = [Self::SlowDown, Self::StallWarning, Self::Gap];

    /// The value of the label `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowDown => "slow_down",
            Self::StallWarning => "stall_warning",
            Self::Gap => "gap",
        }
    }
}

impl Disconnect {
    /// Every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [Self::Client, Self::Lost, Self::Protocol];
        own.into_iter().chain(ByeReason::ALL.map(Self::Server))
    }

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
            Self::Server(reason) => reason.as_str(),
        }
    }
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let make = Factory::new(registry, "access_api");
        Ok(Self {
            clients: make.gauge("clients", "WebSocket clients connected")?,
            connections: make.gauge("connections", "connections open, of any kind")?,
            connections_limit: make.gauges(
                "connections_limit",
                "how many connections may be open",
                "cap",
                Cap::ALL.map(Cap::as_str),
            )?,
            connections_refused: make.counters(
                "connections_refused",
                "connections answered 503 because too many were open",
                "cap",
                Cap::ALL.map(Cap::as_str),
            )?,
            handshakes_refused: make.counters(
                "handshakes_refused",
                "WebSocket handshakes refused",
                "reason",
                Refusal::ALL.map(Refusal::as_str),
            )?,
            frames_encoded: make.counters(
                "frames_encoded",
                "frames of results turned into text",
                "kind",
                FrameKind::ALL.map(FrameKind::as_str),
            )?,
            deliveries: make
                .counter("deliveries", "frames of results handed to clients' sockets")?,
            results_skipped: make
                .counter("results_skipped", "results that were not sent to slow clients")?,
            warnings: make.counters(
                "warnings",
                "warnings sent to clients",
                "kind",
                WarningKind::ALL.map(WarningKind::as_str),
            )?,
            bad_frames: make.counter("bad_frames", "clients' frames that could not be read")?,
            disconnects: make.counters(
                "disconnects",
                "WebSocket clients disconnected",
                "reason",
                Disconnect::all().map(Disconnect::as_str),
            )?,
            resumes: make.counters(
                "resumes",
                "cursors given with subscribe",
                "outcome",
                Resume::ALL.map(Resume::as_str),
            )?,
            results: make.counter("results", "results read from Kafka and shown")?,
            results_dropped: make.counters(
                "results_dropped",
                "results read from Kafka and not shown",
                "reason",
                Dropped::ALL.map(Dropped::as_str),
            )?,
            newest_result: make
                .timestamp("newest_result", "when the newest result that is shown was published")?,
            result_latency: make.seconds(
                "result_latency",
                "from the receipt of the newest event in a result to its place in the ring",
                &[
                    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
                    30.0, 60.0, 300.0,
                ],
            )?,
            kafka_up: make.gauge("kafka_up", "1 while Kafka answers, else 0")?,
            consumer_lag: make
                .gauge("consumer_lag_records", "results in Kafka that are not read yet")?,
            consumer_errors: make.counter("consumer_errors", "errors of the Kafka client")?,
        })
    }
}

/// Keeps a gauge one higher until it is dropped.
#[derive(Debug)]
pub struct Gauged(IntGauge);

impl Gauged {
    /// Raises `gauge` by one.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}
