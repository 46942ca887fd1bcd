use common::admin::Readiness;
use common::protocol::{KafkaState, ServerFrame};
use common::result::SCHEMA_VERSION;
use common::result::TopN;
use common::tier::Host;
use prometheus::{Registry, TextEncoder};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};

use super::*;
use crate::app::App;
use crate::config::Config;
use crate::test_api::{Client, eventually, payload, top_n};

const TOPIC: &str = "topn-rsvps";

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
    kafka: Kafka,
}

impl Broker {
    fn start(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, partitions, 1).unwrap();
        let kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
        let producer = kafka.producer().unwrap().create().unwrap();
        Self { cluster, producer, kafka }
    }

    async fn send(&self, key: &str, payload: Option<&[u8]>) {
        let mut record = FutureRecord::to(TOPIC).key(key).partition(0);
        record.payload = payload;
        self.producer.send(record, Duration::from_secs(30)).await.unwrap();
    }

    async fn publish(&self, result: &TopN) {
        self.send(&result.query, Some(&payload(result))).await;
    }
}

struct Api {
    host: Host,
    address: std::net::SocketAddr,
    running: tokio::task::JoinHandle<Result<(), crate::Error>>,
}

impl Api {
    fn start(kafka: &Kafka) -> Self {
        let host = Host {
            registry: Registry::new(),
            readiness: Readiness::default(),
            shutdown: CancellationToken::new(),
            tracer: Default::default(),
        };
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen, kafka: kafka.clone(), ..Config::default() };
        let app = App::bind(config, host.clone()).unwrap();
        Self { host, address: app.address(), running: tokio::spawn(app.run()) }
    }

    async fn ready(&self) {
        eventually("ready", || self.host.readiness.unmet().is_empty()).await;
    }

    async fn connect(&self) -> Client {
        let (socket, _) = tokio_tungstenite::client_async(
            format!("ws://{}/v1/ws", self.address),
            tokio::net::TcpStream::connect(self.address).await.unwrap(),
        )
        .await
        .unwrap();
        Client { socket, statuses: Vec::new() }
    }

    fn metric(&self, name: &str, label: Option<&str>) -> u64 {
        let families = self.host.registry.gather();
        let family =
            families.iter().find(|family| family.name() == format!("millrace_access_api_{name}"));
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let is_wanted = |m: &&prometheus::proto::Metric| {
            label.is_none_or(|label| m.get_label().iter().any(|l| l.value() == label))
        };
        metrics.iter().filter(is_wanted).map(|m| m.get_counter().get_value() as u64).sum()
    }

    /// The value of a gauge without labels.
    fn gauge(&self, name: &str) -> f64 {
        let text = TextEncoder::new().encode_to_string(&self.host.registry.gather()).unwrap();
        let name = format!("millrace_access_api_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    async fn stop(self) -> Result<(), crate::Error> {
        self.host.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.running).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn results_go_from_kafka_to_clients_and_a_cursor_outlives_the_process() {
    let broker = Broker::start(1);
    broker.publish(&top_n("topics", 1)).await;
    broker.publish(&top_n("countries", 1)).await;
    broker.publish(&top_n("topics", 2)).await;
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut client = api.connect().await;
    client.subscribe(["*"], None).await;
    assert_eq!(client.briefs(2).await, ["snapshot countries 1", "snapshot topics 2"]);
    broker.publish(&top_n("topics", 3)).await;
    let frame = client.frame().await;
    let ServerFrame::Result(update) = &frame else { panic!("{frame:?}") };
    assert_eq!((&update.result, update.cursor.seq), (&top_n("topics", 3), 3));
    let cursor = frame.cursor();
    drop(client);
    api.stop().await.unwrap();
    broker.publish(&top_n("topics", 4)).await;
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut client = api.connect().await;
    client.subscribe(["*"], cursor).await;
    assert_eq!(client.brief().await, "result topics 4");
    drop(client);
    api.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_result_or_goes_backwards_is_dropped_and_counted() {
    let broker = Broker::start(1);
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut newer_schema = top_n("topics", 9);
    newer_schema.v = SCHEMA_VERSION + 1;
    broker.publish(&top_n("topics", 5)).await;
    broker.publish(&top_n("topics", 4)).await;
    broker.publish(&top_n("topics", 5)).await;
    for payload in [&b"{"[..], b"", b"null", &[0xff, 0xfe], &payload(&newer_schema)] {
        broker.send("topics", Some(payload)).await;
    }
    broker.publish(&top_n("gone", 1)).await;
    broker.send("gone", None).await;
    broker.publish(&top_n("topics", 6)).await;
    let mut client = api.connect().await;
    client.subscribe(["*"], None).await;
    while !client.brief().await.ends_with(" topics 10") {}
    let dropped = |reason| api.metric("results_dropped_total", Some(reason));
    assert_eq!([dropped("stale"), dropped("unchanged"), dropped("malformed")], [1, 1, 5]);
    assert_eq!(api.metric("results_total", None), 3);
    client.subscribe(["gone"], None).await;
    assert_eq!(client.brief().await, "error UnknownQuery");
    drop(client);
    api.stop().await.unwrap();
}

#[tokio::test]
async fn an_empty_topic_is_read_to_its_end_at_once() {
    let broker = Broker::start(1);
    let api = Api::start(&broker.kafka);
    api.ready().await;
    api.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_with_several_partitions_is_refused_with_what_to_do() {
    let broker = Broker::start(2);
    let api = Api::start(&broker.kafka);
    let error = tokio::time::timeout(Duration::from_secs(30), api.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("has 2 partitions") && text.contains("--delete --topic"), "{text}");
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_followed() {
    let broker = Broker::start(1);
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "error UnknownQuery");
    broker.publish(&top_n("topics", 1)).await;
    assert!(client.brief().await.ends_with("topics 0"));
    broker.cluster.broker_down(1).unwrap();
    broker.cluster.broker_up(1).unwrap();
    broker.publish(&top_n("topics", 2)).await;
    assert_eq!(client.brief().await, "result topics 1");
    drop(client);
    api.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_without_a_broker_waits_and_stops_when_told() {
    // Nothing listens on this port: it was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let kafka = Kafka { brokers: listener.local_addr().unwrap().to_string(), ..Kafka::default() };
    drop(listener);
    let api = Api::start(&kafka);
    eventually("waiting", || api.host.readiness.unmet().contains_key("results")).await;
    api.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_another_stream_also_across_a_restart() {
    let mut cursors = Vec::new();
    for stream in [StreamId(7), StreamId(8)] {
        let broker = Broker::start(1);
        // The second name is written later and does not count.
        broker.send(&stream.key(), Some(b"{}")).await;
        broker.send(&StreamId(9).key(), Some(b"{}")).await;
        broker.publish(&top_n("topics", 1)).await;
        let api = Api::start(&broker.kafka);
        api.ready().await;
        let mut client = api.connect().await;
        client.subscribe(["topics"], cursors.last().copied()).await;
        if !cursors.is_empty() {
            assert_eq!(client.brief().await, "gap");
        }
        let frame = client.frame().await;
        assert_eq!(crate::test_api::brief(&frame), "snapshot topics 2");
        let cursor = frame.cursor().unwrap();
        assert_eq!(cursor.stream, stream);
        cursors.push(cursor);
        drop(client);
        api.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_comes_after_results_holds_for_them_too() {
    let broker = Broker::start(1);
    broker.publish(&top_n("topics", 1)).await;
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    let before = client.frame().await.cursor().unwrap();
    broker.send(&StreamId(7).key(), Some(b"{}")).await;
    assert_eq!(client.brief().await, "gap");
    let frame = client.frame().await;
    assert_eq!(crate::test_api::brief(&frame), "snapshot topics 0");
    assert_eq!(frame.cursor().unwrap().stream, StreamId(7));
    assert_ne!(before.stream, StreamId(7));
    drop(client);
    api.stop().await.unwrap();
}

#[tokio::test]
async fn readiness_and_the_clients_status_follow_kafka() {
    let broker = Broker::start(1);
    broker.publish(&top_n("topics", 1)).await;
    let api = Api::start(&broker.kafka);
    api.ready().await;
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 0");
    broker.cluster.broker_down(1).unwrap();
    let status = loop {
        let ServerFrame::Status(status) = client.any().await.unwrap() else { continue };
        break status;
    };
    assert_eq!(status.kafka, KafkaState::Away);
    assert!(status.kafka_away_since_ms.is_some_and(|since| since <= status.now_ms));
    assert!(status.newest_result_ms.is_some());
    assert!(api.host.readiness.unmet().contains_key("kafka"));
    assert_eq!(api.gauge("kafka_up"), 0.0);
    let newest_ms = status.newest_result_ms.unwrap();
    assert_eq!((api.gauge("newest_result_timestamp_seconds") * 1_000.0).round() as i64, newest_ms);
    broker.cluster.broker_up(1).unwrap();
    let status = loop {
        let ServerFrame::Status(status) = client.any().await.unwrap() else { continue };
        break status;
    };
    assert_eq!((status.kafka, status.kafka_away_since_ms), (KafkaState::Connected, None));
    api.ready().await;
    assert_eq!(api.gauge("kafka_up"), 1.0);
    drop(client);
    api.stop().await.unwrap();
}
