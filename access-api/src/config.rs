//! What the access-api can be told.

use std::net::SocketAddr;
use std::time::Duration;

use common::config::{Invalid, Service, TierConfig};
use common::kafka::Kafka;
use serde::{Deserialize, Serialize};

use crate::routes::Origin;

/// The configuration of the access-api.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Pages from elsewhere that may open a WebSocket, as `https://host[:port]`. The page's own
    /// origin and clients that are no browsers always may.
    pub allowed_origins: Vec<String>,
    /// What every tier has.
    pub service: Service,
    /// Where the results come from.
    pub kafka: Kafka,
    /// How much history is kept for clients that fall behind or come back.
    pub ring: Ring,
    /// What one client, or all of them, may take.
    pub limits: Limits,
}

/// How much history is kept, for all clients together. Section `ring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ring {
    /// Most frames.
    pub frames: usize,
    /// Most bytes of frames.
    pub bytes: usize,
}

/// What clients may take. Section `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most connections at once; a further one gets 503.
    pub connections: usize,
    /// Most queries that are shown; results of a further one are refused and counted.
    pub queries: usize,
    /// The largest result that is shown, in bytes.
    pub result_bytes: usize,
    /// The largest frame that a client may send, in bytes.
    pub client_frame_bytes: usize,
    /// Frames without sense that are answered before the connection is closed.
    pub bad_frames: u32,
    /// The kernel's send buffer per connection, in bytes; Linux doubles it for its bookkeeping.
    /// Small, so that a client that stops reading is noticed before megabytes are under way.
    pub send_buffer_bytes: u32,
    /// How long a request's head may take, in milliseconds.
    pub header_timeout_ms: u64,
    /// How often a quiet client is pinged, in milliseconds.
    pub ping_interval_ms: u64,
    /// A client not heard for so long, not even by a pong, is gone; in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long a write may take, in milliseconds: half of it brings `slow_down`, 60 % the
    /// `stall_warning`, all of it the end.
    pub write_deadline_ms: u64,
    /// How long a connection that is being closed may take to read the last frames, in milliseconds.
    pub close_grace_ms: u64,
    /// Clients that are sent away are told to wait for up to this long, in milliseconds.
    pub retry_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allowed_origins: Vec::new(),
            service: Service::on_port(9083),
            kafka: Kafka::default(),
            ring: Ring::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self { frames: 1024, bytes: 16 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            queries: 256,
            result_bytes: 1 << 20,
            client_frame_bytes: 64 << 10,
            bad_frames: 32,
            send_buffer_bytes: 32 << 10,
            header_timeout_ms: 10_000,
            ping_interval_ms: 20_000,
            idle_timeout_ms: 60_000,
            write_deadline_ms: 10_000,
            close_grace_ms: 5_000,
            retry_ms: 3_000,
        }
    }
}

impl Limits {
    pub(crate) const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(crate) const fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    pub(crate) const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    pub(crate) const fn write_deadline(&self) -> Duration {
        Duration::from_millis(self.write_deadline_ms)
    }

    pub(crate) const fn close_grace(&self) -> Duration {
        Duration::from_millis(self.close_grace_ms)
    }
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = self.kafka.problems();
        for origin in &self.allowed_origins {
            if Origin::parse(origin).is_none() {
                problems.push(format!("allowed_origins: `{origin}` is no origin; write https://host or https://host:port"));
            }
        }
        let limits = &self.limits;
        let counts = [
            ("ring.frames", self.ring.frames as u64),
            ("ring.bytes", self.ring.bytes as u64),
            ("limits.connections", limits.connections as u64),
            ("limits.queries", limits.queries as u64),
            ("limits.result_bytes", limits.result_bytes as u64),
            ("limits.client_frame_bytes", limits.client_frame_bytes as u64),
            ("limits.send_buffer_bytes", u64::from(limits.send_buffer_bytes)),
            ("limits.header_timeout_ms", limits.header_timeout_ms),
            ("limits.ping_interval_ms", limits.ping_interval_ms),
            ("limits.write_deadline_ms", limits.write_deadline_ms),
            ("limits.close_grace_ms", limits.close_grace_ms),
            ("limits.retry_ms", limits.retry_ms),
        ];
        for (key, value) in counts {
            if value == 0 {
                problems.push(format!("{key}: is 0; must be at least 1"));
            }
        }
        if limits.connections > tokio::sync::Semaphore::MAX_PERMITS {
            problems.push(format!(
                "limits.connections: is {}; that is more than any machine takes",
                limits.connections
            ));
        }
        if limits.idle_timeout_ms <= limits.ping_interval_ms {
            problems.push(format!(
                "limits.idle_timeout_ms: is {}, not above limits.ping_interval_ms ({}); a quiet client could not answer a ping in time",
                limits.idle_timeout_ms, limits.ping_interval_ms
            ));
        }
        Invalid::when_any(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut config =
            Config { allowed_origins: vec!["example.com".to_owned()], ..Config::default() };
        config.ring.frames = 0;
        config.limits.idle_timeout_ms = config.limits.ping_interval_ms;
        let Invalid(problems) = config.validate().unwrap_err();
        for key in ["allowed_origins", "ring.frames", "limits.idle_timeout_ms"] {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
        assert_eq!(problems.len(), 3);
    }
}
