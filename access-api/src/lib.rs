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
//! | [`hub`]'s ring | `ring.frames`, `ring.bytes` | the oldest frame goes; who still needed it gets the newest |
//! | newest results | `limits.queries` × `limits.result_bytes` | a further query is refused and counted |
//! | a [`session`]'s write buffer | one batch and 16 control frames | nothing is added, reading stops |
//! | connections | `limits.connections` | 503, counted |
//!
//! **Invariants.** The consumer never waits for a client. A client holds a position in the ring,
//! never a queue. A result is encoded once, however many clients there are. A query's version never
//! goes backwards for a client. No client is cut off for slowness that was not warned twice.

mod app;
mod config;
mod consumer;
mod error;
mod hub;
mod metrics;
mod routes;
mod server;
mod session;

pub use app::AccessApi;
pub use config::{Config, Limits, Ring};
pub use error::Error;

#[cfg(test)]
mod test_api;
