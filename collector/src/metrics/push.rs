//! The metrics of sources that are sent to.

use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use common::metrics::Factory;

/// The statuses that are answered.
const STATUSES: [&str; 17] = [
    "200", "202", "400", "401", "403", "404", "405", "406", "408", "409", "413", "415", "422",
    "429", "500", "503", "other",
];

/// The metrics of all sources of kind `http_push`.
#[derive(Debug, Clone)]
pub(super) struct Push {
    answers: IntCounterVec,
    events: IntCounterVec,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
}

/// Those of one source.
#[derive(Debug, Clone)]
pub struct PushMetrics {
    source: String,
    answers: IntCounterVec,
    /// Events of requests that were acknowledged; bad ones are not.
    pub events: IntCounter,
    /// Open connections.
    connections: IntGauge,
    /// Connections for which there was no place.
    pub connections_refused: IntCounter,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub struct Connected(IntGauge);

impl Push {
    pub(super) fn new(make: Factory<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            answers: make.counters_of(
                "push_answers",
                "Requests to the source that were answered, by status",
                &["source", "status"],
            )?,
            events: make.counters(
                "push_acknowledged_events",
                "Events of requests that were acknowledged",
                "source",
                [],
            )?,
            connections: make.gauges(
                "push_connections",
                "Open connections to the source",
                "source",
                [],
            )?,
            connections_refused: make.counters(
                "push_connections_refused",
                "Connections that were refused because max_connections were open",
                "source",
                [],
            )?,
        })
    }

    pub(super) fn of_source(&self, name: &str) -> PushMetrics {
        for status in STATUSES {
            self.answers.with_label_values(&[name, status]);
        }
        PushMetrics {
            source: name.to_owned(),
            answers: self.answers.clone(),
            events: self.events.with_label_values(&[name]),
            connections: self.connections.with_label_values(&[name]),
            connections_refused: self.connections_refused.with_label_values(&[name]),
        }
    }
}

impl PushMetrics {
    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        let known = STATUSES.iter().find(|known| **known == status.as_str());
        self.answers.with_label_values(&[&*self.source, known.unwrap_or(&"other")]).inc();
    }

    /// How many requests were answered with this status.
    #[cfg(test)]
    pub fn answers(&self, status: u16) -> u64 {
        self.answers.with_label_values(&[&*self.source, &status.to_string()]).get()
    }

    /// Counts a connection.
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
