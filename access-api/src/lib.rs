//! The access tier: live results to thousands of clients, each at its own pace.
//!
//! ```text
//!  topn-rsvps ──▶ consumer ──▶ hub: one ring of encoded frames ──▶ session ──▶ WebSocket
//!   (Kafka)     one thread      + the newest result per query      a cursor     one task a client
//!                                        └──▶ routes: REST, dashboard
//! ```
//!
//! | what holds things | bound | when full |
//! |---|---|---|
//! | librdkafka's fetch queue | `queued.max.messages.kbytes` | it stops fetching |
//! | [`hub`]'s ring | `ring.frames`, `ring.bytes` | the oldest frame is dropped; a client that still needed it gets the newest results |
//! | newest results | `limits.queries` results of `limits.result_bytes`, each kept as published and as one or two frames | results of a further query are refused and counted |
//! | a [`session`]'s write buffer | one batch and 16 control frames | nothing is added, and the client is not read |
//! | a client's frames | `limits.client_frames_per_second` | it is read more slowly |
//! | connections | `limits.websockets`, `limits.requests`, `limits.connections_per_address`, and the descriptors that the system grants | 503, counted |
//!
//! **Invariants.** The consumer never waits for a client. A client holds a position in the ring,
//! never a queue. A result is encoded once, however many clients there are. For a client of one process a
//! query's version never goes backwards while the stream stays the same. No client is disconnected for
//! slowness without two warnings. No result is served before the topic was read to its end.

mod app;
mod config;
mod connection_limits;
mod consumer;
mod descriptors;
mod envelope;
mod error;
mod hub;
mod limits;
mod metrics;
mod origin;
mod routes;
mod server;
mod session;

pub use app::AccessApi;
pub use config::Config;
pub use error::Error;
pub use limits::{Limits, RingLimits};

#[cfg(test)]
mod test_api;
