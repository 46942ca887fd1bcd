//! What clients may take. Section `limits`, and the section `ring` for what is kept for all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much history is kept, for all clients together. Section `ring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingLimits {
    /// Most frames.
    pub frames: usize,
    /// Most bytes of frames.
    pub bytes: usize,
}

/// What clients may take. Section `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most WebSockets at once; a further one gets 503.
    pub websockets: usize,
    /// Most connections at once that are no WebSocket (yet); a further one gets 503.
    pub requests: usize,
    /// Most connections at once from one address; a further one gets 503. Behind a proxy all clients
    /// have the proxy's address, so that by default this is as much as all clients may have together.
    pub connections_per_address: usize,
    /// Most queries that are shown, and most that a subscription may name; results of a further one
    /// are refused and counted.
    pub queries: usize,
    /// The largest result that is shown, in bytes.
    pub result_bytes: usize,
    /// The largest frame that a client may send, in bytes.
    pub client_frame_bytes: usize,
    /// Most frames that are read from a client in a second, pings and pongs included. Whoever sends
    /// more is read more slowly.
    pub client_frames_per_second: u32,
    /// Frames without sense that are answered before the connection is closed.
    pub bad_frames: u32,
    /// The kernel's send buffer per connection, in bytes; Linux doubles it for its bookkeeping.
    /// Small, so that a client that stops reading is noticed before megabytes are under way.
    pub send_buffer_bytes: u32,
    /// How long a request's head may take, and how long a connection without a request is kept; in
    /// milliseconds.
    pub header_timeout_ms: u64,
    /// How often a quiet client is pinged, in milliseconds.
    pub ping_interval_ms: u64,
    /// A client not heard for so long, not even by a pong, is gone; in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long a write may take, in milliseconds. On a WebSocket half of it brings `slow_down`, 60 %
    /// the `stall_warning`, all of it the end.
    pub write_deadline_ms: u64,
    /// How long a connection that is being closed may take to read the last frames, in milliseconds.
    pub close_grace_ms: u64,
    /// Clients that are sent away are told to wait for up to this long, in milliseconds.
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

/// A day: no wait here is sensibly longer, and no sum of a few of them overflows.
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
                "limits.idle_timeout_ms: is {}, not above limits.ping_interval_ms ({}); a quiet client could not answer a ping in time",
                self.idle_timeout_ms, self.ping_interval_ms
            ));
        }
        problems
    }

    /// See [`header_timeout_ms`](Self::header_timeout_ms).
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
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
