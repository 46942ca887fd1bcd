//! The collector: takes messages from a feed, logs them, publishes them to Kafka, forgets them.
//!
//! ```text
//!               1,024 messages,
//!           64 MiB a source, waits                                librdkafka's queue: 100,000 records, waits
//!  source ──┐                     ┌─▶ message log ─┐ pages
//!  source ──┼─▶ journal thread ───┤                ├─▶ delivery thread ──▶ raw-rsvps
//!  source ──┘                     └─▶ arrivals ────┘         ▲   │         raw-rsvps-dlq
//!                                   8 MiB, drops             └───┘ answers
//! ```
//!
//! Nothing is lost when a queue is full: what the delivery has no room for is read from the log, and when the log
//! has reached `log.max_bytes`, the journal stops taking messages, the sources stop reading, and TCP slows the feeds down.
//!
//! | module | what is in it |
//! |---|---|
//! | [`source`] | the sources: how messages are taken in, and from where a feed resumes |
//! | [`leases`] | which of several collectors follows which source |
//! | [`cursor`] | where a source resumes, and what other collectors are told of it |
//! | [`intake`] | the queues between the sources and the journal |
//! | [`receipt`] | how a source learns that its messages are safe |
//! | [`missed`] | what is missing of a source, as readers of the events are told |
//! | [`ledger`] | what became of every message, by source |
//! | [`acks`] | what became of requests that were acknowledged |
//! | [`pace`] | when the next message may be taken of a source that has a rate |
//! | [`pipeline`] | the journal thread, which logs messages, and the delivery thread, which publishes them |
//! | [`publisher`] | the Kafka producer, what a record looks like, which refusals are final |
//! | [`read_back`] | which of the log's entries reached Kafka before a crash |
//! | [`positions`] | up to where the topics need not be searched for these |
//! | [`shedding`] | which messages are dropped while the collector is overloaded |
//! | [`traces`] | what is told to OpenTelemetry of sampled events; nothing by default |
//! | [`app`] | building the collector, and stopping it |

pub mod acks;
pub mod app;
pub mod config;
pub mod cursor;
pub mod error;
pub mod intake;
pub mod leases;
pub mod ledger;
pub mod metrics;
pub mod missed;
pub mod pace;
pub mod pipeline;
pub mod positions;
pub mod publisher;
pub mod read_back;
pub mod receipt;
pub mod shedding;
pub mod source;
pub mod traces;

pub use app::Collector;
pub use error::Error;
