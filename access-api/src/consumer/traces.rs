//! The span of a frame: a result that the analyzer has traced, from when it was read until it is encoded once for all
//! clients. It is in the result's trace and links to the result, as one is shown by every access-api.

use common::kafka::header;
use common::trace::{Context, Kind, Span, SpanId, Tracer};
use rdkafka::message::BorrowedMessage;

use crate::envelope::Envelope;

/// A traced result that is being shown.
pub(super) struct Showing<'a> {
    tracer: &'a Tracer,
    result: Context,
    start_ns: u64,
}

impl<'a> Showing<'a> {
    /// The record was read. `None` unless the analyzer has traced it.
    pub(super) fn begin(tracer: &'a Tracer, record: &BorrowedMessage<'_>) -> Option<Self> {
        if !tracer.is_on() {
            return None;
        }
        let traceparent = std::str::from_utf8(header::value(record, header::TRACEPARENT)?).ok()?;
        let result = traceparent.parse().ok()?;
        Some(Self { tracer, result, start_ns: tracer.now_ns() })
    }

    /// It was encoded as the frame with this sequence.
    pub(super) fn shown(self, result: &Envelope, seq: u64) {
        self.tracer.record(Span {
            context: Context { trace: self.result.trace, span: SpanId::random() },
            parent: None,
            name: "frame",
            kind: Kind::Consumer,
            start_ns: self.start_ns,
            end_ns: self.tracer.now_ns(),
            attributes: vec![
                ("millrace.query", result.query.as_str().into()),
                ("millrace.version", i64::try_from(result.version).unwrap_or(i64::MAX).into()),
                ("millrace.sequence", i64::try_from(seq).unwrap_or(i64::MAX).into()),
            ],
            links: vec![self.result],
            unlinked: 0,
        });
    }
}
