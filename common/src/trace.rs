//! Traces: what happened to one event from its receipt to the frame that shows it, for OpenTelemetry. Off unless
//! `trace.endpoint` is set; see `docs/traces.md` and `docs/adr/0050-traces-whose-ids-are-hashes.md`.
//!
//! Nothing about a trace has to travel with an event. Its trace id and whether it is sampled are hashes of the event's
//! id, so that every tier comes to the same answer by itself; the span that a record is published with is found by
//! the record's partition and offset.
//!
//! ```text
//! trace of an event      receive ──▶ publish ──▶ count            parents
//!                                                  ▲
//! trace of a result                             result ◀── frame  links: many events are in one result
//! ```
//!
//! | what holds spans | bound | when full |
//! |---|---|---|
//! | tier → exporter | 2,048 spans | the span is dropped and counted |
//! | exporter → receiver | one request of at most 512 spans in flight, 10 s | the queue fills |

mod config;
mod context;
mod exporter;
mod http;
mod otlp;
mod span;
mod tracer;

pub use config::Trace;
pub use context::{Context, SpanId, TraceId};
pub use exporter::{Error, Exporter, start};
pub use span::{Kind, Span, Value};
pub use tracer::Tracer;

#[cfg(test)]
mod tests;
