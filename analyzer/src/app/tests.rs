//! The whole analyzer on librdkafka's in-memory broker. Recovery and rebalances on Apache Kafka are tested by
//! the package `pipeline-tests`.

use std::collections::BTreeMap;
use std::time::Duration;

use common::admin::Readiness;
use common::event::Reason;
use common::kafka::header;
use common::protocol::StreamId;
use common::result::{Gap, TopN};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: Config,
}

impl Broker {
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let mut config = Config { snapshot_interval_ms: 100, ..Config::default() };
        config.kafka.brokers = cluster.bootstrap_servers();
        for topic in [Topic::Raw, Topic::Partials, Topic::State, Topic::Results] {
            cluster
                .create_topic(config.kafka.name(topic), topic.partitions(&config.kafka), 1)
                .unwrap();
        }
        Self { cluster, config }
    }

    /// Produces the events `ids`. The last digit of an id is its topic, and each event has `padding` more bytes.
    fn feed(&self, ids: impl Iterator<Item = u32>, padding: usize) {
        let kafka = &self.config.kafka;
        let producer: BaseProducer = kafka.producer().unwrap().create().unwrap();
        let padding = "x".repeat(padding);
        for id in ids {
            let payload = format!(
                r#"{{"rsvp_id":{id},"response":"yes","mtime":1425790000000,"padding":"{padding}","group":{{"group_country":"us","group_topics":[{{"topic_name":"t{}"}}]}}}}"#,
                id % 10
            );
            let id = format!("{id}:yes");
            let headers = OwnedHeaders::new().insert(Header { key: header::ID, value: Some(&id) });
            let record =
                BaseRecord::to(&kafka.topics.raw).key(&id).payload(&payload).headers(headers);
            producer.send(record.timestamp(1_425_790_000_000)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Reads the results of `query` from the first on, and returns the first that satisfies `wanted`.
    fn result(&self, query: &str, wanted: impl Fn(&TopN) -> bool) -> TopN {
        let topics = &self.config.kafka.topics;
        let consumer: BaseConsumer =
            self.config.kafka.consumer(None, None).unwrap().create().unwrap();
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(&topics.results, 0, Offset::Beginning).unwrap();
        consumer.assign(&start).unwrap();
        loop {
            let message = consumer.poll(PATIENCE).expect("another result is published").unwrap();
            // The name of the stream, and the audit.
            if message.key().unwrap().contains(&b'/') {
                continue;
            }
            let result: TopN = serde_json::from_slice(message.payload().unwrap()).unwrap();
            if result.query == query && wanted(&result) {
                return result;
            }
        }
    }

    fn analyze(&self) -> (Host, JoinHandle<Result<(), Error>>) {
        let host = Host {
            registry: prometheus::Registry::new(),
            readiness: Readiness::default(),
            shutdown: CancellationToken::new(),
            tracer: Default::default(),
        };
        let running = tokio::spawn(run(self.config.clone(), host.clone()));
        (host, running)
    }
}

/// The value of a counter, summed over its labels where there are any.
fn counter(host: &Host, name: &str) -> f64 {
    let families = host.registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    family.map_or(0.0, |family| {
        family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
    })
}

/// The values of a gauge, one for each of its series.
fn gauges(host: &Host, name: &str) -> Vec<f64> {
    let families = host.registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    family.map_or_else(Vec::new, |family| {
        family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).collect()
    })
}

async fn eventually(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it holds at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_by_a_label_of_a_closed_set_is_there_before_anything_is_counted() {
    let broker = Broker::start();
    let (host, running) = broker.analyze();
    let series = |name: &str| {
        let families = host.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.map_or(0, |family| family.get_metric().len())
    };
    eventually(|| series("millrace_analyzer_assigned_partitions") == 2).await;
    for (name, values) in [
        ("records_total", 5),
        ("undecodable_records_total", Reason::ALL.len()),
        ("unwindowed_events_total", 2),
        ("results_total", broker.config.query.len()),
        ("unmatched_queries", broker.config.query.len()),
        ("published_bytes_total", 3),
    ] {
        assert_eq!(series(&format!("millrace_analyzer_{name}")), values, "{name}");
    }
    host.shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_a_result_at_once_and_each_event_counts_once_across_a_restart() {
    let broker = Broker::start();
    let (host, running) = broker.analyze();
    for query in ["topics", "topics_30m", "countries"] {
        assert_eq!(broker.result(query, |_| true).version, 0, "{query}");
    }
    broker.feed((0..1_000).chain(0..500), 0);
    let result = broker.result("topics", |result| result.version == 1_500);
    assert_eq!((result.events, result.duplicates, result.total), (1_000, 500, 1_000));
    assert!(host.readiness.unmet().is_empty(), "{:?}", host.readiness.unmet());
    // Each event has one topic, which two queries count, and one country.
    eventually(|| counter(&host, "millrace_analyzer_mentions_total") == 3_000.0).await;
    // The snapshots hold everything, and the partials are merged.
    eventually(|| gauges(&host, "millrace_analyzer_snapshot_age_seconds") == [0.0]).await;
    eventually(|| {
        let lags = gauges(&host, "millrace_analyzer_merge_lag_records");
        !lags.is_empty() && lags.iter().all(|&lag| lag == 0.0)
    })
    .await;
    // One for each partition.
    let watermarks = || gauges(&host, "millrace_analyzer_watermark_timestamp_seconds");
    eventually(|| watermarks() == [1_425_790_000.0; 4]).await;
    host.shutdown.cancel();
    running.await.unwrap().unwrap();

    broker.feed(500..2_000, 0);
    let (host, running) = broker.analyze();
    let result = broker.result("topics", |result| result.version == 3_000);
    assert_eq!((result.events, result.duplicates), (2_000, 1_000));
    let counts: BTreeMap<_, _> =
        result.top.iter().map(|ranked| (ranked.item.as_str(), ranked.count)).collect();
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|&count| count == 200), "{counts:?}");
    host.shutdown.cancel();
    running.await.unwrap().unwrap();
    let records = counter(&host, "millrace_analyzer_records_total");
    assert!(
        records <= 1_500.0,
        "the second run went on from the snapshot, and read {records} records"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_deleted_before_they_were_read_show_as_a_gap() {
    let mut broker = Broker::start();
    // The broker keeps 5 MiB a partition; this is twice as much.
    broker.config.kafka.properties.insert("compression.type".to_owned(), "none".to_owned());
    // In two parts, each of which fits into a producer's queue.
    broker.feed(0..200, 100_000);
    broker.feed(200..400, 100_000);
    let (host, running) = broker.analyze();
    let result = broker.result("topics", |result| result.version == 400);
    let lost: i64 = result.gaps.iter().map(|&Gap { from, to, .. }| to - from).sum();
    assert_eq!(result.events + lost.unsigned_abs(), 400);
    assert_eq!(result.gaps.len(), 4, "{:?}", result.gaps);
    assert!((counter(&host, "millrace_analyzer_gap_offsets_total") - lost as f64).abs() < 0.5);
    host.shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_what_was_counted_is_refused_with_what_to_do() {
    let broker = Broker::start();
    broker.feed(0..100, 0);
    let (host, running) = broker.analyze();
    broker.result("topics", |result| result.version == 100);
    host.shutdown.cancel();
    running.await.unwrap().unwrap();

    // The state stays, but the log is another one.
    let mut other = broker;
    other.config.kafka.topics.raw = "raw-made-anew".to_owned();
    other.cluster.create_topic("raw-made-anew", 4, 1).unwrap();
    let (_host, running) = other.analyze();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::LogShrank { .. }), "{error}");
    assert!(error.to_string().contains("delete the topics topn-rsvps-state"), "{error}");
    assert!(!error.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_that_is_longer_than_what_was_counted_is_refused_too() {
    let broker = Broker::start();
    broker.feed(0..100, 0);
    let (host, running) = broker.analyze();
    broker.result("topics", |result| result.version == 100);
    host.shutdown.cancel();
    running.await.unwrap().unwrap();

    let mut other = broker;
    other.config.kafka.topics.raw = "raw-made-anew".to_owned();
    other.cluster.create_topic("raw-made-anew", 4, 1).unwrap();
    other.feed(1_000..1_400, 0);
    let (_host, running) = other.analyze();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::OtherLog { .. }), "{error}");
    assert!(error.to_string().contains("delete the topics topn-rsvps-state"), "{error}");
    assert!(!error.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_result_names_the_stream_that_the_first_start_gave_to_the_topic_of_results() {
    let broker = Broker::start();
    let mut streams = Vec::new();
    for version in [0, 100] {
        let (host, running) = broker.analyze();
        streams.push(broker.result("topics", |result| result.version == version).stream);
        host.shutdown.cancel();
        running.await.unwrap().unwrap();
        broker.feed(0..100, 0);
    }
    assert!(streams[0].parse::<StreamId>().is_ok(), "{streams:?}");
    assert_eq!(streams[0], streams[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_new_catches_up_while_the_others_go_on() {
    let mut broker = Broker::start();
    let all = std::mem::take(&mut broker.config.query);
    broker.config.query = all[..1].to_vec();
    broker.feed(0..2_000, 0);
    let (host, running) = broker.analyze();
    broker.result("topics", |result| result.version == 2_000);
    host.shutdown.cancel();
    running.await.unwrap().unwrap();

    broker.config.query = all;
    broker.feed(1_000..3_000, 0);
    let (host, running) = broker.analyze();
    for query in ["topics", "countries"] {
        let result = broker.result(query, |result| result.version == 4_000);
        assert_eq!(
            (result.events, result.duplicates, result.total),
            (3_000, 1_000, 3_000),
            "{query}"
        );
    }
    host.shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_configurations_that_run_alternately_keep_each_others_counts() {
    let mut broker = Broker::start();
    let all = broker.config.query.clone();
    let mut fed = 0;
    // The second process knows one query only, and reads further than the first. The third has no new events.
    for (queries, new) in [(&all[..], 1_000), (&all[..1], 1_000), (&all[..], 0)] {
        broker.config.query = queries.to_vec();
        broker.feed(fed..fed + new, 0);
        fed += new;
        let (host, running) = broker.analyze();
        for query in queries {
            broker.result(&query.name, |result| result.version == u64::from(fed));
        }
        host.shutdown.cancel();
        running.await.unwrap().unwrap();
        if new == 0 {
            // The two queries that the second process did not know continue where the first one stopped.
            assert_eq!(counter(&host, "millrace_analyzer_records_total"), 1_000.0);
        }
    }
}
