//! The spans of sampled events in this stage: `count`, from when an event was counted until the partials that reflect it
//! were handed to the producer. The merge learns from a header of the partials which events are new in them, because
//! partials are combined by whoever owns the query.

use std::sync::Arc;

use common::event::identity::identify;
use common::trace::{Context, Kind, Span, SpanId, TraceId, Tracer};
use rdkafka::message::{BorrowedMessage, Message};

use crate::core::plan::Plan;
use crate::core::tally::Outcome;

/// How many sampled events of a partition may wait for the next partials; the spans of further ones are dropped and
/// counted. It also bounds the header of a partial, to 4 KiB.
const MAX_FRESH: usize = 64;

/// The sampled events of a partition that no partial reflects yet.
pub(super) struct Traces {
    tracer: Tracer,
    plan: Arc<Plan>,
    fresh: Vec<Span>,
}

impl Traces {
    /// Records spans by `tracer`, of events as `plan` describes them.
    pub(super) fn new(tracer: Tracer, plan: &Arc<Plan>) -> Self {
        Self { tracer, plan: Arc::clone(plan), fresh: Vec::new() }
    }

    /// The record was counted or dropped as a re-delivery; `id` is the hash of its event's id. Only of a sampled one is
    /// the id itself read.
    #[inline]
    pub(super) fn read(&mut self, id: Option<u64>, outcome: Outcome, record: &BorrowedMessage<'_>) {
        if self.tracer.is_on() && id.is_some_and(|id| self.tracer.samples(id)) {
            self.sampled(outcome, record);
        }
    }

    #[cold]
    fn sampled(&mut self, outcome: Outcome, record: &BorrowedMessage<'_>) {
        let outcome = match outcome {
            Outcome::Counted => "counted",
            Outcome::Duplicate => "duplicate",
            // It was traced when it was counted, or is no event, or has no id.
            Outcome::Control | Outcome::Replayed | Outcome::Undecodable(_) => return,
        };
        let schema = &self.plan.settings().schema;
        let identity = identify(record.payload().unwrap_or_default(), schema).ok();
        let Some(id) = identity.and_then(|identity| identity.id) else { return };
        let (trace, now_ns) = (TraceId::of_event(&id), self.tracer.now_ns());
        let span = Span {
            context: Context { trace, span: SpanId::random() },
            parent: Some(SpanId::of_record(trace, record.partition(), record.offset())),
            name: "count",
            kind: Kind::Consumer,
            start_ns: now_ns,
            end_ns: now_ns,
            attributes: vec![
                ("messaging.system", "kafka".into()),
                ("messaging.destination.name", record.topic().into()),
                ("messaging.destination.partition.id", record.partition().to_string().into()),
                ("messaging.kafka.offset", record.offset().into()),
                ("millrace.event.id", id.into()),
                ("millrace.outcome", outcome.into()),
            ],
            links: Vec::new(),
            unlinked: 0,
        };
        if outcome == "duplicate" {
            // It changes no result.
            self.tracer.record(span);
        } else if self.fresh.len() < MAX_FRESH {
            self.fresh.push(span);
        } else {
            self.tracer.drop_one();
        }
    }

    /// The value of the header of the next partials; `None` if no sampled event is new in them.
    pub(super) fn header(&self) -> Option<String> {
        let contexts: Vec<Context> = self.fresh.iter().map(|span| span.context).collect();
        (!contexts.is_empty()).then(|| Context::join(&contexts))
    }

    /// The partials were handed to the producer.
    pub(super) fn published(&mut self) {
        if !self.fresh.is_empty() {
            let end_ns = self.tracer.now_ns();
            self.fresh.drain(..).for_each(|span| self.tracer.record(Span { end_ns, ..span }));
        }
    }

    /// What is not published yet is left to others.
    pub(super) fn give_up(&mut self) {
        self.fresh.drain(..).for_each(|_span| self.tracer.drop_one());
    }
}
