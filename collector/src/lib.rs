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
//! Nothing is dropped when a queue is full: the writer stops taking, the source stops reading, and
//! TCP slows the feed down.
//!
//! | module | one home of |
//! |---|---|
//! | [`source`] | how a message gets from a source into the pipeline; the sources |
//! | [`pipeline`] | the writer thread: log and publish what came, do what Kafka's answers ask for |
//! | [`publisher`] | the Kafka producer, what a record looks like, which refusals are for good |
//! | [`read_back`] | which of the log's entries did reach Kafka before a crash |
//! | [`app`] | building it, and stopping it |

pub mod app;
pub mod config;
pub mod error;
pub mod metrics;
pub mod pipeline;
pub mod publisher;
pub mod read_back;
pub mod source;

pub use app::Collector;
pub use error::Error;
