use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::admin::Readiness;
use common::event::identity::Identity;
use common::event::{Id, Reason};
use common::kafka::header;
use common::message_log::{self, Entry, Family, Settlement};
use common::trace::{self, Context, SpanId, Trace, TraceId};
use prometheus::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Websocket;
use crate::intake::{Intake, Message};
use crate::receipt::{Outcome, Receipt, Released};

mod missed;
mod outage;
mod promises;

const RAW: &str = "raw-rsvps";
const DEAD_LETTERS: &str = "raw-rsvps-dlq";
const PARTITIONS: i32 = 2;

/// librdkafka's broker inside this process, and a log directory.
struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    directory: TempDir,
    config: Config,
}

impl Bench {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(RAW, PARTITIONS, 1).unwrap();
        cluster.create_topic(DEAD_LETTERS, 1, 1).unwrap();
        let mut config = Config::default();
        config.kafka.brokers = cluster.bootstrap_servers();
        config.source.insert("rsvps", accepting(1000));
        Self { cluster, directory: TempDir::new().unwrap(), config }
    }

    fn open(&self) -> (MessageLog, Appender, Recovered) {
        MessageLog::open(self.directory.path(), self.config.log.options().unwrap()).unwrap()
    }

    fn start(&self) -> Running {
        self.start_traced(Tracer::off())
    }

    fn start_traced(&self, tracer: Tracer) -> Running {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let readiness = Readiness::default();
        let conditions =
            Conditions { log: readiness.condition("log"), kafka: readiness.condition("kafka") };
        let mut queues = Queues::default();
        let (_, source) = self.config.source.iter().next().unwrap();
        let clock = common::clock::Clock::default();
        let intake = queues.add(
            "rsvps",
            &self.config.event,
            source.common(),
            clock,
            metrics.of_source("rsvps"),
        );
        let stop = CancellationToken::new();
        let opened = self.open();
        let pipeline = Pipeline::new(
            &self.config,
            opened,
            queues,
            metrics.clone(),
            conditions,
            stop.clone(),
            tracer,
        );
        let pipeline = tokio::spawn(pipeline.unwrap().run());
        Running { readiness, intake, pipeline, metrics, stop }
    }

    /// The payloads of the raw topic in the order of each partition.
    fn in_order(&self) -> BTreeMap<i32, Vec<u64>> {
        let mut partitions = BTreeMap::<i32, Vec<u64>>::new();
        for record in self.records(RAW) {
            let (_, sequence) = record.headers[header::SEQ].rsplit_once(':').unwrap();
            partitions.entry(record.partition).or_default().push(sequence.parse().unwrap());
        }
        partitions
    }

    /// Everything in a topic, read until the brokers have no more.
    fn records(&self, topic: &str) -> Vec<Record> {
        let mut consumer = self.config.kafka.consumer(None, None).unwrap();
        let consumer: BaseConsumer = consumer.set("enable.partition.eof", "true").create().unwrap();
        let mut assignment = TopicPartitionList::new();
        let mut open = if topic == RAW { PARTITIONS } else { 1 };
        for partition in 0..open {
            assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let mut records = Vec::new();
        while open > 0 {
            match consumer.poll(Duration::from_secs(1)) {
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => panic!("{error}"),
                Some(Ok(message)) => records.push(Record {
                    partition: message.partition(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().unwrap_or_default().to_vec(),
                    timestamp: message.timestamp().to_millis(),
                    headers: message.headers().map_or_else(BTreeMap::new, |headers| {
                        let text = |value: Option<&[u8]>| {
                            String::from_utf8(value.unwrap().to_vec()).unwrap()
                        };
                        headers
                            .iter()
                            .map(|header| (header.key.to_owned(), text(header.value)))
                            .collect()
                    }),
                }),
                None => {}
            }
        }
        records
    }
}

struct Running {
    readiness: Readiness,
    intake: Intake,
    pipeline: JoinHandle<Result<(), Error>>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Running {
    async fn push(&mut self, payload: impl Into<bytes::Bytes>) {
        self.push_with(payload, None).await;
    }

    async fn push_with(&mut self, payload: impl Into<bytes::Bytes>, receipt: Option<Receipt>) {
        let payload = payload.into();
        let (received_ms, identity) = (self.intake.now_ms(), self.intake.identify(&payload));
        let message = Message { payload, received_ms, identity, cursor: None, receipt };
        self.intake.push(message).await.unwrap();
    }

    /// Pushes a message, and waits until it is safe.
    async fn push_and_wait(&mut self, payload: impl Into<bytes::Bytes>) -> Outcome {
        let released = Released::default();
        self.push_with(payload, Some(released.receipt())).await;
        released.outcome().await
    }

    async fn is_ready(&self, condition: &str, expected: bool) {
        while self.readiness.unmet().contains_key(condition) == expected {
            tokio::task::yield_now().await;
        }
    }

    /// Lets the source end and the threads drain.
    async fn drain(self) -> Metrics {
        drop(self.intake);
        self.pipeline.await.unwrap().unwrap();
        let metrics = self.metrics;
        let dead: u64 = Reason::ALL.iter().map(|reason| dead_letters(&metrics, *reason)).sum();
        let total = metrics.total();
        let open = u64::try_from(total.pending() + total.failed).unwrap();
        let left_out = total.dropped + total.shed + total.filtered;
        let gone = total.evicted + total.damaged + left_out;
        let came = total.received + total.recovered;
        assert_eq!(came, total.published + dead + open + gone, "received is accounted for");
        assert_eq!(metrics.ledger.statement().log_entries, open, "the log has as many");
        metrics
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    partition: i32,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    timestamp: Option<i64>,
    headers: BTreeMap<String, String>,
}

fn dead_letters(metrics: &Metrics, reason: Reason) -> u64 {
    metrics.total().dead_letters.get(&reason).copied().unwrap_or_default()
}

/// The default source, for events of at most so many bytes.
fn accepting(max_event_bytes: usize) -> Websocket {
    let mut source = Websocket::rsvps();
    source.common.max_event_bytes = max_event_bytes;
    source
}

fn rsvp(id: u64) -> String {
    format!(r#"{{"rsvp_id":{id},"response":"yes","mtime":{}}}"#, 1000 + id)
}

fn entry(id: u64) -> Entry {
    Entry {
        source: "rsvps".into(),
        received_ms: 1_700_000_000_000,
        identity: Some(Identity {
            key: Some(id.to_string()),
            id: Some(format!("{id}:yes")),
            time_ms: Some(1000),
        }),
        reason: None,
        payload: rsvp(id).into(),
    }
}

fn payloads(records: &[Record]) -> Vec<String> {
    let mut payloads: Vec<_> =
        records.iter().map(|record| String::from_utf8(record.payload.clone()).unwrap()).collect();
    payloads.sort();
    payloads
}

fn nothing_left(path: &Path) {
    let (_, _, found) = MessageLog::open(path, message_log::Options::default()).unwrap();
    assert_eq!((found.pending(), found.failed), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_name_their_trace_only_while_traces_are_on() {
    // Nobody takes the spans, and no record waits for that.
    let on = Trace { endpoint: "http://127.0.0.1:1".into(), sample: 1, ..Trace::default() };
    for (trace, is_on) in [(Trace::default(), false), (on, true)] {
        let bench = Bench::new();
        let started = trace::start(Some(&trace), "collector", Clock::default(), &Registry::new());
        let (tracer, _exporter) = started.unwrap();
        let mut running = bench.start_traced(tracer);
        running.push(rsvp(7)).await;
        running.push("null").await;
        running.drain().await;
        let records = bench.records(RAW);
        let [record] = &records[..] else { panic!("{records:?}") };
        let receipt = is_on.then(|| {
            let trace = TraceId::of_event("7:yes");
            let span = SpanId::of_receipt(trace, &record.headers[header::SEQ]);
            Context { trace, span }.to_string()
        });
        assert_eq!(record.headers.get(header::TRACEPARENT), receipt.as_ref());
        let dead = bench.records(DEAD_LETTERS);
        assert!(!dead[0].headers.contains_key(header::TRACEPARENT), "it has no id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_dead_letters_reach_their_topics_and_leave_the_log() {
    let bench = Bench::new();
    let mut running = bench.start();
    let large = format!(r#"{{"rsvp_id":1,"response":"{}"}}"#, "x".repeat(1000));
    for payload in [rsvp(7).as_bytes(), b"null", b"\xff", large.as_bytes(), rsvp(8).as_bytes()] {
        running.push(bytes::Bytes::copy_from_slice(payload)).await;
    }
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 2);
    for reason in [Reason::NotObject, Reason::InvalidUtf8, Reason::TooLarge] {
        assert_eq!(dead_letters(&metrics, reason), 1, "{reason}");
    }

    let events = bench.records(RAW);
    assert_eq!(payloads(&events), [rsvp(7), rsvp(8)]);
    let event = events.iter().find(|event| event.payload == rsvp(7).as_bytes()).unwrap();
    assert_eq!(event.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(event.headers[header::ID], "7:yes");
    assert_eq!(event.headers[header::SOURCE], "rsvps");
    let instance = bench.open().0.instance().to_owned();
    assert!(event.headers[header::SEQ].starts_with(&format!("{instance}:")));
    assert!(event.timestamp.unwrap() > 1_700_000_000_000, "when it was received");

    let dead = bench.records(DEAD_LETTERS);
    let reasons: Vec<_> = dead.iter().map(|record| &*record.headers[header::REASON]).collect();
    assert_eq!(reasons, ["not_object", "invalid_utf8", "too_large"]);
    assert_eq!(dead[1].payload, b"\xff");
    assert_eq!(dead[2].payload, large.as_bytes(), "whole");
    assert!(dead[2].headers[header::SEQ].ends_with(&dead[2].headers[header::OFFSET]));
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_an_id_has_no_key_and_one_known_by_its_bytes_has_their_hash() {
    let hash = common::event::identity::fingerprint(rsvp(7).as_bytes());
    for (id, key) in [(Id::None, None), (Id::Payload, Some(hash))] {
        let mut bench = Bench::new();
        bench.config.event.id = id;
        let mut running = bench.start();
        for _ in 0..2 {
            running.push(rsvp(7)).await;
        }
        running.drain().await;
        let events = bench.records(RAW);
        assert_eq!(events.len(), 2, "both are sent; a reader drops the copy if it has an id");
        for event in &events {
            assert_eq!(event.key.as_deref(), key.as_deref().map(str::as_bytes));
            assert_eq!(event.headers.get(header::ID), key.as_ref());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_holds_is_sent_before_anything_new() {
    let bench = Bench::new();
    let (log, mut appender, found) = bench.open();
    let mut dead = entry(3);
    dead.identity = None;
    dead.reason = Some(Reason::NotJson);
    let entries: Vec<_> =
        [entry(1), entry(2), dead].into_iter().map(|e| (appender.allot(), e)).collect();
    appender.append(&entries, &[]).unwrap();
    let (refused, mut settled) = (entries[1].0, found.settled);
    settled.insert(refused, refused.next());
    let moved = Entry { reason: Some(Reason::RefusedByKafka), ..entry(2) };
    let moved = [(Family::Failed, refused, moved)];
    log.settle(&Settlement {
        settled: &settled,
        moved: &moved,
        removed: &[],
        cursors: &[],
        positions: &[],
    })
    .unwrap();
    drop((log, appender));

    let mut running = bench.start();
    running.push(rsvp(1)).await;
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 2);
    let (first, second) = (&bench.records(RAW)[0], &bench.records(RAW)[1]);
    assert_eq!(
        (&first.key, &first.payload),
        (&second.key, &second.payload),
        "the same event twice"
    );
    assert_eq!(first.timestamp, Some(1_700_000_000_000), "still the time at which it was received");
    assert!(second.timestamp > first.timestamp);
    let mut reasons: Vec<_> = bench
        .records(DEAD_LETTERS)
        .iter()
        .map(|record| record.headers[header::REASON].clone())
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["not_json", "refused_by_kafka"]);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_kafka_refuses_even_alone_becomes_a_dead_letter() {
    let bench = Bench::new();
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 2],
    );
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, dead_letters(&metrics, Reason::RefusedByKafka)), (0, 1));
    let dead = bench.records(DEAD_LETTERS);
    assert_eq!(payloads(&dead), [rsvp(1)]);
    assert_eq!(dead[0].headers[header::REASON], "refused_by_kafka");
    assert_eq!(dead[0].headers[header::ID], "1:yes");
    assert_eq!(bench.records(RAW), []);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_batch_was_refused_entries_that_are_accepted_alone_are_published() {
    let bench = Bench::new();
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
    );
    let mut running = bench.start();
    for id in 0..50 {
        running.push(rsvp(100 + id)).await;
    }
    let metrics = running.drain().await;
    assert_eq!(
        (metrics.total().published, dead_letters(&metrics, Reason::RefusedByKafka)),
        (50, 0)
    );
    let expected: Vec<_> = (0..50).map(|id| rsvp(100 + id)).collect();
    assert_eq!(payloads(&bench.records(RAW)), expected);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_kafka_refuses_is_dated_back_until_it_is_accepted() {
    let bench = Bench::new();
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP; 3],
    );
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    while running.metrics.total().published == 0 {
        tokio::task::yield_now().await;
    }
    running.push(rsvp(2)).await;
    running.push("null").await;
    let before_ms = running.intake.now_ms();
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, dead_letters(&metrics, Reason::NotObject)), (2, 1));
    let back_ms = metrics.dated_back.get();
    assert_eq!(back_ms, 4 * 3_600_000, "an hour, then two, then four");
    for record in [bench.records(RAW), bench.records(DEAD_LETTERS)].concat() {
        assert!(record.timestamp.unwrap() <= before_ms - back_ms + 60_000, "{record:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_does_not_block_for_ever() {
    let bench = Bench::new();
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION; 4],
    );
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.push(rsvp(2)).await;
    let metrics = running.drain().await;
    let dead = dead_letters(&metrics, Reason::RefusedByKafka);
    assert_eq!(metrics.total().published + dead, 2);
    assert_eq!(
        payloads(&[bench.records(RAW), bench.records(DEAD_LETTERS)].concat()),
        [rsvp(1), rsvp(2)]
    );
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_refused_too_stays_in_the_log_until_it_is_accepted() {
    let mut bench = Bench::new();
    // Exceeds the limit of the producer itself, whatever the topic.
    bench.config.kafka.properties.insert("message.max.bytes".to_owned(), "1000".to_owned());
    bench.config.source.insert("rsvps", accepting(5000));
    let large = format!(r#"{{"rsvp_id":1,"response":"{}"}}"#, "x".repeat(1000));
    let mut running = bench.start();
    running.push(large.clone()).await;
    running.push(rsvp(2)).await;
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().failed), (1, 1));
    assert_eq!(bench.open().2.failed.len(), 1);

    bench.config.kafka.properties.clear();
    let running = bench.start();
    let metrics = running.drain().await;
    assert_eq!(dead_letters(&metrics, Reason::RefusedByKafka), 1);
    assert_eq!(payloads(&bench.records(DEAD_LETTERS)), [large]);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_producer_lost_is_sent_by_a_new_one() {
    let bench = Bench::new();
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let mut running = bench.start();
    for id in 0..50 {
        running.push(rsvp(100 + id)).await;
    }
    let metrics = running.drain().await;
    assert!(metrics.producer_rebuilds.get() > 0);
    let expected: Vec<_> = (0..50).map(|id| rsvp(100 + id)).collect();
    let mut arrived = payloads(&bench.records(RAW));
    // This broker cannot look up offsets by time, so what the old producer had in flight is not read back.
    arrived.dedup();
    assert_eq!(arrived, expected);
}
