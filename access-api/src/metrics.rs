//! The access-api's metrics, all named `millrace_access_api_…`.

use common::metrics::Factory;
use common::protocol::ByeReason;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

/// Handles to the metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// WebSocket clients connected.
    pub clients: IntGauge,
    /// Connections open, of any kind.
    pub connections: IntGauge,
    /// Connections answered 503 because too many were open, by `cap`: `websockets`, `requests`,
    /// `address`.
    pub connections_refused: IntCounterVec,
    /// WebSocket handshakes refused, by `reason`: `origin`, `version`, `handshake`,
    /// `subprotocol`, `reading`, `too_many_connections`.
    pub handshakes_refused: IntCounterVec,
    /// Frames of results turned into text, by `kind`: `result`, `snapshot`.
    pub frames_encoded: IntCounterVec,
    /// Frames of results handed to clients' sockets.
    pub deliveries: IntCounter,
    /// Results that were not sent to slow clients.
    pub results_skipped: IntCounter,
    /// Warnings sent, by `kind`: `slow_down`, `stall_warning`, `gap`.
    pub warnings: IntCounterVec,
    /// Clients' frames that could not be read.
    pub bad_frames: IntCounter,
    /// WebSocket clients disconnected, by `reason`, see [`Disconnect`].
    pub disconnects: IntCounterVec,
    /// Cursors given with `subscribe`, by `outcome`: `resumed`, `too_old`, `other_stream`, `ahead`.
    pub resumes: IntCounterVec,
    /// Results read from Kafka and shown.
    pub results: IntCounter,
    /// Results not shown, by `reason`: `stale` (version below the one shown), `unchanged`,
    /// `malformed`, `too_large`, `too_many_queries`, `foreign_key` (the record's key is not the query's
    /// name), `other_stream`.
    pub results_dropped: IntCounterVec,
    /// Records in the topic of results that are not read yet, as of the last second.
    pub consumer_lag: IntGauge,
    /// Errors of the Kafka client.
    pub consumer_errors: IntCounter,
}

/// Why a WebSocket client was disconnected.
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

impl Disconnect {
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
            connections_refused: make.counters(
                "connections_refused",
                "connections answered 503 because too many were open",
                "cap",
            )?,
            handshakes_refused: make.counters(
                "handshakes_refused",
                "WebSocket handshakes refused",
                "reason",
            )?,
            frames_encoded: make.counters(
                "frames_encoded",
                "frames of results turned into text",
                "kind",
            )?,
            deliveries: make
                .counter("deliveries", "frames of results handed to clients' sockets")?,
            results_skipped: make
                .counter("results_skipped", "results that were not sent to slow clients")?,
            warnings: make.counters("warnings", "warnings sent to clients", "kind")?,
            bad_frames: make.counter("bad_frames", "clients' frames that could not be read")?,
            disconnects: make.counters(
                "disconnects",
                "WebSocket clients disconnected",
                "reason",
            )?,
            resumes: make.counters("resumes", "cursors given with subscribe", "outcome")?,
            results: make.counter("results", "results read from Kafka and shown")?,
            results_dropped: make.counters(
                "results_dropped",
                "results read from Kafka and not shown",
                "reason",
            )?,
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
