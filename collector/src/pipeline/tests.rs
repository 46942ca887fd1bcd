use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;

use common::admin::Readiness;
use common::event::Id;
use common::event::identity::Identity;
use common::kafka::header;
use common::message_log;
use common::trace::{self, Context, SpanId, Trace, TraceId};
use prometheus::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

use super::*;
use crate::config::Source;
use crate::source::Intake;

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
        config.source.insert("rsvps", Source { max_event_bytes: 1000, ..Source::rsvps() });
        Self { cluster, directory: TempDir::new().unwrap(), config }
    }

    fn log(&self) -> MessageLog {
        MessageLog::open(self.directory.path(), message_log::Options::default()).unwrap().0
    }

    fn start(&self) -> Running {
        self.start_traced(Tracer::off())
    }

    fn start_traced(&self, tracer: Tracer) -> Running {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let readiness = Readiness::default();
        let conditions =
            Conditions { log: readiness.condition("log"), kafka: readiness.condition("kafka") };
        let (logged, whenever_logged) = watch::channel(Logged::default());
        let (intake, messages) = Intake::new(whenever_logged, common::clock::Clock::default());
        let stop = CancellationToken::new();
        let pipeline = Pipeline::new(
            &self.config,
            self.log(),
            logged,
            metrics.clone(),
            conditions,
            stop.clone(),
            tracer,
        );
        let pipeline = pipeline.unwrap();
        let writer = std::thread::spawn(move || pipeline.run(messages));
        Running { readiness, intake, writer, metrics, stop }
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
    writer: JoinHandle<Result<(), Error>>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Running {
    /// Lets the source end and the writer drain.
    async fn drain(self) -> Metrics {
        drop(self.intake);
        let writer = self.writer;
        tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap().unwrap();
        let metrics = self.metrics;
        let dead: u64 = Reason::ALL.iter().map(|reason| dead_letters(&metrics, *reason)).sum();
        let open = u64::try_from(metrics.pending.get() + metrics.failed.get()).unwrap();
        let came = metrics.received.get() + metrics.recovered.get();
        assert_eq!(came, metrics.published.get() + dead + open, "received is accounted for");
        metrics
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    timestamp: Option<i64>,
    headers: BTreeMap<String, String>,
}

fn dead_letters(metrics: &Metrics, reason: Reason) -> u64 {
    metrics.dead_letters.with_label_values(&[reason.as_str()]).get()
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
    let (_, found) = MessageLog::open(path, message_log::Options::default()).unwrap();
    assert_eq!((found.pending, found.failed), (0, 0));
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
        running.intake.push(rsvp(7).into(), None).await.unwrap();
        running.intake.push("null".into(), None).await.unwrap();
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
        running.intake.push(bytes::Bytes::copy_from_slice(payload), None).await.unwrap();
    }
    assert!(running.intake.logged().await.is_ok());
    let metrics = running.drain().await;
    assert_eq!(metrics.published.get(), 2);
    for reason in [Reason::NotObject, Reason::InvalidUtf8, Reason::TooLarge] {
        assert_eq!(dead_letters(&metrics, reason), 1, "{reason}");
    }

    let events = bench.records(RAW);
    assert_eq!(payloads(&events), [rsvp(7), rsvp(8)]);
    let event = events.iter().find(|event| event.payload == rsvp(7).as_bytes()).unwrap();
    assert_eq!(event.key.as_deref(), Some(&b"7"[..]));
    assert_eq!(event.headers[header::ID], "7:yes");
    assert_eq!(event.headers[header::SOURCE], "rsvps");
    let instance = bench.log().instance().to_owned();
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
            running.intake.push(rsvp(7).into(), None).await.unwrap();
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
    let mut log = bench.log();
    let mut dead = entry(3);
    dead.identity = None;
    dead.reason = Some(Reason::NotJson);
    let entries: Vec<_> =
        [entry(1), entry(2), dead].into_iter().map(|e| (log.allot(), e)).collect();
    log.append(&entries, None).unwrap();
    log.fail(entries[1].0, Reason::RefusedByKafka).unwrap();
    drop(log);

    let mut running = bench.start();
    running.metrics.recovered.inc_by(3);
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    let metrics = running.drain().await;
    assert_eq!(metrics.published.get(), 2);
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
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    let metrics = running.drain().await;
    assert_eq!((metrics.published.get(), dead_letters(&metrics, Reason::RefusedByKafka)), (0, 1));
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
        running.intake.push(rsvp(100 + id).into(), None).await.unwrap();
    }
    let metrics = running.drain().await;
    assert_eq!((metrics.published.get(), dead_letters(&metrics, Reason::RefusedByKafka)), (50, 0));
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
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    while running.metrics.published.get() == 0 {
        tokio::task::yield_now().await;
    }
    running.intake.push(rsvp(2).into(), None).await.unwrap();
    running.intake.push("null".into(), None).await.unwrap();
    let before_ms = running.intake.now_ms();
    let metrics = running.drain().await;
    assert_eq!((metrics.published.get(), dead_letters(&metrics, Reason::NotObject)), (2, 1));
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
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    running.intake.push(rsvp(2).into(), None).await.unwrap();
    let metrics = running.drain().await;
    let dead = dead_letters(&metrics, Reason::RefusedByKafka);
    assert_eq!(metrics.published.get() + dead, 2);
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
    bench.config.source.insert("rsvps", Source { max_event_bytes: 5000, ..Source::rsvps() });
    let large = format!(r#"{{"rsvp_id":1,"response":"{}"}}"#, "x".repeat(1000));
    let mut running = bench.start();
    running.intake.push(large.clone().into(), None).await.unwrap();
    running.intake.push(rsvp(2).into(), None).await.unwrap();
    let metrics = running.drain().await;
    assert_eq!((metrics.published.get(), metrics.failed.get()), (1, 1));
    assert_eq!(bench.log().failures(), 1);

    bench.config.kafka.properties.clear();
    let running = bench.start();
    running.metrics.recovered.inc();
    let metrics = running.drain().await;
    assert_eq!(dead_letters(&metrics, Reason::RefusedByKafka), 1);
    assert_eq!(payloads(&bench.records(DEAD_LETTERS)), [large]);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_producer_makes_the_writer_wait_and_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.config.kafka.properties.insert("queue.buffering.max.messages".to_owned(), "7".to_owned());
    let mut running = bench.start();
    for id in 0..500 {
        running.intake.push(rsvp(1000 + id).into(), None).await.unwrap();
    }
    let metrics = running.drain().await;
    assert!(metrics.queue_full.get() > 0);
    assert_eq!(metrics.published.get(), 500);
    let expected: Vec<_> = (0..500).map(|id| rsvp(1000 + id)).collect();
    assert_eq!(payloads(&bench.records(RAW)), expected);
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
        running.intake.push(rsvp(100 + id).into(), None).await.unwrap();
    }
    let metrics = running.drain().await;
    assert!(metrics.producer_rebuilds.get() > 0);
    let expected: Vec<_> = (0..50).map(|id| rsvp(100 + id)).collect();
    let mut arrived = payloads(&bench.records(RAW));
    // This broker cannot look up offsets by time, so what the old producer had in flight is not read back.
    arrived.dedup();
    assert_eq!(arrived, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_drain_deadline_what_is_not_delivered_stays_in_the_log() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    let published = running.metrics.published.clone();
    while published.get() == 0 {
        tokio::task::yield_now().await;
    }
    bench.cluster.broker_down(1).unwrap();
    running.intake.push(rsvp(2).into(), None).await.unwrap();
    running.intake.push(rsvp(3).into(), None).await.unwrap();
    assert!(running.intake.logged().await.is_ok());
    running.stop.cancel();
    let metrics = running.drain().await;
    assert_eq!((metrics.published.get(), metrics.pending.get()), (1, 2));

    bench.cluster.broker_up(1).unwrap();
    let running = bench.start();
    running.metrics.recovered.inc_by(2);
    let metrics = running.drain().await;
    assert_eq!(metrics.published.get(), 2);
    assert_eq!(payloads(&bench.records(RAW)), [rsvp(1), rsvp(2), rsvp(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_kafka_is_shown_with_its_age_until_it_is_delivered() {
    let bench = Bench::new();
    let mut log = bench.log();
    let entries: Vec<_> =
        [entry(1), entry(2)].into_iter().map(|entry| (log.allot(), entry)).collect();
    log.append(&entries, None).unwrap();
    log.close().unwrap();
    bench.cluster.broker_down(1).unwrap();
    let running = bench.start();
    running.metrics.recovered.inc_by(2);
    let since = Clock::default().now_ms() - entry(1).received_ms;
    let least = Duration::from_millis(since.unsigned_abs()).as_secs_f64();
    while running.metrics.oldest_pending.seconds() < least {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.pending.get(), 2);
    bench.cluster.broker_up(1).unwrap();
    let metrics = running.drain().await;
    assert_eq!(metrics.published.get(), 2);
    assert!(metrics.oldest_pending.seconds().abs() < f64::EPSILON, "nothing waits any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_kafka_even_while_no_message_comes() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.intake.push(rsvp(1).into(), None).await.unwrap();
    let ready = |expected: bool| {
        let readiness = running.readiness.clone();
        async move {
            while readiness.unmet().contains_key("kafka") == expected {
                tokio::task::yield_now().await;
            }
        }
    };
    ready(true).await;
    bench.cluster.broker_down(1).unwrap();
    ready(false).await;
    bench.cluster.broker_up(1).unwrap();
    ready(true).await;
    assert_eq!(running.drain().await.published.get(), 1);
}
