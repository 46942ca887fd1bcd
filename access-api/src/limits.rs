//! Limits on what clients may use (section `limits`), and on the history that is kept for all of them (section
//! `ring`).

use std::time::Duration;

use common::http_server::Bounds;
use serde::{Deserialize, Serialize};

/// How much history is kept, for all clients together. Section `ring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingLimits {
    /// The most frames that are kept.
    pub frames: usize,
    /// The most bytes that these frames may have; snapshot frames that are made of them come on top.
    pub bytes: usize,
}

/// Limits on what clients may use. Section `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most WebSockets at once; a further one gets 503.
    pub websockets: usize,
    /// The most other connections at once, those included that may become a WebSocket; a further one gets 503.
    pub requests: usize,
    /// The most connections at once from one address; a further one gets 503. Behind a proxy all clients
    /// have the proxy's address, so the default is as much as all clients may have together.
    pub connections_per_address: usize,
    /// The most queries that are shown, and the most that a subscription may name; results of a further
    /// query are dropped and counted.
    pub queries: usize,
    /// The largest result that is shown, in bytes.
    pub result_bytes: usize,
    /// The largest frame that a client may send, in bytes.
    pub client_frame_bytes: usize,
    /// The most frames that are read from a client in a second, pings and pongs included. A client that
    /// sends more is read more slowly.
    pub client_frames_per_second: u32,
    /// How many frames that cannot be read a client may send; one more closes the connection.
    pub bad_frames: u32,
    /// The kernel's send buffer per connection, in bytes; Linux doubles it for its bookkeeping.
    /// It is small so that a client that stops reading is noticed before megabytes wait for it.
    pub send_buffer_bytes: u32,
    /// How long a request's head may take to arrive, and how long a connection without a request is kept, in
    /// milliseconds.
    pub header_timeout_ms: u64,
    /// How often a quiet client is pinged, in milliseconds.
    pub ping_interval_ms: u64,
    /// A client that has sent nothing for this long, not even a pong, is disconnected; in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long a write may take, in milliseconds. A WebSocket client is sent `slow_down` after 50 % of it and
    /// `stall_warning` after 60 %, and is disconnected after all of it.
    pub write_deadline_ms: u64,
    /// How long a client may take to read the last frames of a connection that is being closed, in milliseconds.
    pub close_grace_ms: u64,
    /// A client that the server disconnects is told to wait for a random time up to this, in milliseconds.
    pub retry_ms: u64,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self { frames: 1024, bytes: 16 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let (websockets, requests) = (16_384, 4_096);
        Self {
            websockets,
            requests,
            connections_per_address: websockets + requests,
            queries: 256,
            result_bytes: 1 << 20,
            client_frame_bytes: 16 << 10,
            client_frames_per_second: 200,
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

/// A day: no longer wait makes sense here, and the sum of a few such times does not overflow.
const LONGEST_MS: u64 = 86_400_000;
const MOST_BYTES: u64 = 1 << 30;
const MOST: u64 = 1 << 20;

impl RingLimits {
    /// What is wrong with this section.
    pub fn problems(&self) -> Vec<String> {
        out_of_range([
            ("ring.frames", self.frames as u64, MOST),
            ("ring.bytes", self.bytes as u64, 64 * MOST_BYTES),
        ])
    }
}

impl Limits {
    /// What is wrong with this section.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = out_of_range([
            ("limits.websockets", self.websockets as u64, MOST),
            ("limits.requests", self.requests as u64, MOST),
            ("limits.connections_per_address", self.connections_per_address as u64, 2 * MOST),
            ("limits.queries", self.queries as u64, MOST),
            ("limits.result_bytes", self.result_bytes as u64, MOST_BYTES),
            ("limits.client_frame_bytes", self.client_frame_bytes as u64, MOST_BYTES),
            ("limits.client_frames_per_second", u64::from(self.client_frames_per_second), MOST),
            ("limits.send_buffer_bytes", u64::from(self.send_buffer_bytes), MOST_BYTES),
            ("limits.header_timeout_ms", self.header_timeout_ms, LONGEST_MS),
            ("limits.ping_interval_ms", self.ping_interval_ms, LONGEST_MS),
            ("limits.idle_timeout_ms", self.idle_timeout_ms, LONGEST_MS),
            ("limits.write_deadline_ms", self.write_deadline_ms, LONGEST_MS),
            ("limits.close_grace_ms", self.close_grace_ms, LONGEST_MS),
            ("limits.retry_ms", self.retry_ms, LONGEST_MS),
        ]);
        if self.idle_timeout_ms <= self.ping_interval_ms {
            problems.push(format!(
                "limits.idle_timeout_ms: is {}, not above limits.ping_interval_ms ({}); raise it, or a quiet client cannot answer a ping in time",
                self.idle_timeout_ms, self.ping_interval_ms
            ));
        }
        problems
    }

    /// The bounds of one connection.
    pub const fn bounds(&self) -> Bounds {
        Bounds {
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            write_deadline: self.write_deadline(),
            close_grace: self.close_grace(),
            half_close: false,
        }
    }

    /// See [`ping_interval_ms`](Self::ping_interval_ms).
    pub const fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    /// See [`idle_timeout_ms`](Self::idle_timeout_ms).
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// See [`write_deadline_ms`](Self::write_deadline_ms).
    pub const fn write_deadline(&self) -> Duration {
        Duration::from_millis(self.write_deadline_ms)
    }

    /// See [`close_grace_ms`](Self::close_grace_ms).
    pub const fn close_grace(&self) -> Duration {
        Duration::from_millis(self.close_grace_ms)
    }
}

fn out_of_range<const N: usize>(values: [(&str, u64, u64); N]) -> Vec<String> {
    values
        .into_iter()
        .filter(|&(_, value, most)| value == 0 || value > most)
        .map(|(key, value, most)| {
            format!("{key}: is {value}; must be at least 1 and at most {most}")
        })
        .collect()
}
