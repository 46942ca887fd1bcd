//! The collector: takes messages from a feed, logs them, publishes them to Kafka, forgets them.
//!
//! ```text
//!             1,024 messages,                  librdkafka's queue:
//!              64 MiB, waits                  100,000 records, waits
//!  websocket ───────────────▶ writer thread ─────────────────────────▶ raw-rsvps
//!     ▲   source::websocket      │  ▲  │      publisher                raw-rsvps-dlq
//!     │                    append│  │  └─────────── in parallel
//!     └── cursor ◀── message log ◀┘  └──── outcomes (at most what is in flight)
//! ```
//!
//! Nothing is dropped when a queue is full: the writer stops taking messages, the source stops reading, and
//! TCP slows the feed down.
//!
//! | module | what is in it |
//! |---|---|
//! | [`source`] | how a message gets from a source into the pipeline; the sources |
//! | [`pipeline`] | the writer thread: it logs and publishes messages, and acts on Kafka's answers |
//! | [`publisher`] | the Kafka producer, what a record looks like, which refusals are final |
//! | [`read_back`] | which of the log's entries reached Kafka before a crash |
//! | [`traces`] | what is told to OpenTelemetry of sampled events; nothing by default |
//! | [`app`] | building the collector, and stopping it |

pub mod app;
pub mod config;
pub mod error;
pub mod metrics;
pub mod pipeline;
pub mod publisher;
pub mod read_back;
pub mod source;
pub mod traces;

pub use app::Collector;
pub use error::Error;
