//! The spans of an event in this tier: `receive`, from its receipt until it is logged, and `publish`, from when the
//! producer got it until Kafka has acknowledged its record. Other tiers find the second one by the record's place, see [`common::trace`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::event::identity::hash;
use common::message_log::{Entry, Sequence};
use common::trace::{Context, Kind, Span, SpanId, TraceId, Tracer};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use crate::ledger::CONTROL;

/// How many sampled events may be on their way at once; the spans of further ones are dropped and counted.
const MAX_OPEN: usize = 1024;

/// The sampled events that Kafka has not acknowledged. Shared by the journal, the delivery and librdkafka's threads.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    tracer: Tracer,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of `events`, so that an answer for any other record costs no lock.
    count: AtomicUsize,
    /// Everything before this sequence is on disk.
    logged: AtomicUsize,
    events: Mutex<HashMap<Sequence, Event>>,
}

/// A sampled event on its way.
#[derive(Debug)]
struct Event {
    receipt: Context,
    id: String,
    source: Arc<str>,
    seq: String,
    received_ns: u64,
    logged_ns: Option<u64>,
    sent_ns: u64,
    outcome: &'static str,
}

impl Traces {
    /// Records spans by `tracer`.
    pub fn new(tracer: Tracer) -> Self {
        Self { tracer, open: Arc::default() }
    }

    /// Nothing is on its way any more: the producer was given up.
    pub fn forget(&self) {
        if self.tracer.is_on() {
            let mut events = self.lock();
            events.drain().for_each(|_event| self.tracer.drop_one());
            self.open.count.store(0, Ordering::Relaxed);
        }
    }

    /// The entry is about to be handed to the producer. Gives the span of its receipt if it is sampled.
    pub fn sent(&self, sequence: Sequence, seq: &str, entry: &Entry) -> Option<Context> {
        // The analyzer has no span for a control record.
        if !self.tracer.is_on() || &*entry.source == CONTROL {
            return None;
        }
        let id = entry.identity.as_ref().and_then(|identity| identity.id.as_deref())?;
        if !self.tracer.samples(hash(id.as_bytes())) {
            return None;
        }
        let trace = TraceId::of_event(id);
        let receipt = Context { trace, span: SpanId::of_receipt(trace, seq) };
        let sent_ns = self.tracer.now_ns();
        let event = Event {
            receipt,
            id: id.to_owned(),
            source: Arc::clone(&entry.source),
            seq: seq.to_owned(),
            received_ns: u64::try_from(entry.received_ms).unwrap_or(0).saturating_mul(1_000_000),
            logged_ns: None,
            sent_ns,
            outcome: entry.reason.map_or("published", |reason| reason.as_str()),
        };
        let mut events = self.lock();
        // One that is sent again, or late, was logged before.
        let is_logged = sequence.to_opaque() < self.open.logged.load(Ordering::Relaxed);
        let before = events.get(&sequence).and_then(|before| before.logged_ns);
        let logged_ns = before.or(is_logged.then_some(sent_ns));
        if events.len() < MAX_OPEN || events.contains_key(&sequence) {
            events.insert(sequence, Event { logged_ns, ..event });
            self.open.count.store(events.len(), Ordering::Relaxed);
        } else {
            self.tracer.drop_one();
        }
        Some(receipt)
    }

    /// Everything before `end` is on disk.
    pub fn logged(&self, end: Sequence) {
        self.open.logged.fetch_max(end.to_opaque(), Ordering::Relaxed);
        if self.open.count.load(Ordering::Relaxed) > 0 {
            let now_ns = self.tracer.now_ns();
            for (sequence, event) in self.lock().iter_mut() {
                if *sequence < end {
                    event.logged_ns.get_or_insert(now_ns);
                }
            }
        }
    }

    /// Kafka has acknowledged this record.
    pub fn delivered(&self, sequence: Sequence, record: &BorrowedMessage<'_>) {
        if let Some(event) = self.take(sequence) {
            let place = (record.topic(), record.partition(), record.offset());
            event
                .spans(place, self.tracer.now_ns())
                .into_iter()
                .for_each(|span| self.tracer.record(span));
        }
    }

    /// The record did not reach Kafka; if it is sent again, it is traced then.
    pub fn lost(&self, sequence: Sequence) {
        drop(self.take(sequence));
    }

    fn take(&self, sequence: Sequence) -> Option<Event> {
        if self.open.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut events = self.lock();
        let event = events.remove(&sequence);
        self.open.count.store(events.len(), Ordering::Relaxed);
        event
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sequence, Event>> {
        self.open.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// Its spans, when Kafka has acknowledged its record at topic, partition and offset.
    fn spans(self, (topic, partition, offset): (&str, i32, i64), now_ns: u64) -> [Span; 2] {
        let Context { trace, span: receipt } = self.receipt;
        // Kafka may answer before the log is written.
        let logged_ns = self.logged_ns.unwrap_or(now_ns);
        let receive = Span {
            context: self.receipt,
            parent: None,
            name: "receive",
            kind: Kind::Internal,
            start_ns: self.received_ns,
            end_ns: logged_ns,
            attributes: vec![
                ("millrace.event.id", self.id.into()),
                ("millrace.source", (&*self.source).into()),
                ("millrace.sequence", self.seq.into()),
            ],
            links: Vec::new(),
            unlinked: 0,
        };
        let publish = Span {
            context: Context { trace, span: SpanId::of_record(trace, partition, offset) },
            parent: Some(receipt),
            name: "publish",
            kind: Kind::Producer,
            start_ns: self.sent_ns,
            end_ns: now_ns,
            attributes: vec![
                ("messaging.system", "kafka".into()),
                ("messaging.destination.name", topic.into()),
                ("messaging.destination.partition.id", partition.to_string().into()),
                ("messaging.kafka.offset", offset.into()),
                ("millrace.outcome", self.outcome.into()),
            ],
            links: Vec::new(),
            unlinked: 0,
        };
        [receive, publish]
    }
}
