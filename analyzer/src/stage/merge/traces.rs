//! The span of a result: from when the first partial came that has a sampled event in it, until the result was handed to
//! the producer. It is in a trace of its own and links to those of the events, because a result is made of many. Only
//! results that have such an event in them are traced.

use common::kafka::header;
use common::protocol::StreamId;
use common::trace::{Context, Kind, Span, SpanId, TraceId, Tracer};
use rdkafka::message::BorrowedMessage;

/// How many events a result links to; the number of those beyond is in its span. It is the usual limit of
/// OpenTelemetry.
const MAX_LINKS: usize = 128;

/// The sampled events that are new in the next result of a query.
#[derive(Default)]
pub(super) struct Links {
    since_ns: u64,
    events: Vec<Context>,
    beyond: u32,
}

impl Links {
    /// Notes which sampled events are new in a partial.
    pub(super) fn take(&mut self, partial: &BorrowedMessage<'_>, tracer: &Tracer) {
        if !tracer.is_on() {
            return;
        }
        for event in header::value(partial, header::TRACES).into_iter().flat_map(Context::list) {
            if self.events.is_empty() {
                self.since_ns = tracer.now_ns();
            }
            if self.events.len() < MAX_LINKS {
                self.events.push(event);
            } else {
                self.beyond = self.beyond.saturating_add(1);
            }
        }
    }

    /// The span of the result with all that was noted, to be recorded when it ends; `None` if there was nothing.
    pub(super) fn span(&mut self, stream: StreamId, query: &str, version: u64) -> Option<Span> {
        if self.events.is_empty() {
            return None;
        }
        let Self { since_ns, events, beyond } = std::mem::take(self);
        let stream = stream.to_string();
        let trace = TraceId::of_result(&stream, query, version);
        Some(Span {
            context: Context { trace, span: SpanId::random() },
            parent: None,
            name: "result",
            kind: Kind::Producer,
            start_ns: since_ns,
            end_ns: since_ns,
            attributes: vec![
                ("millrace.query", query.into()),
                ("millrace.version", i64::try_from(version).unwrap_or(i64::MAX).into()),
                ("millrace.stream", stream.into()),
            ],
            links: events,
            unlinked: beyond,
        })
    }
}
