use common::admin::Readiness;
use common::config::TierConfig as _;
use common::event::Reason;
use futures_util::{SinkExt, StreamExt};
use prometheus::Registry;
use rdkafka::mocking::MockCluster;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::config::Websocket as Section;
use crate::source::End;

/// The sum of a counter or gauge over all its series, or over those with this value of a label.
fn value(registry: &Registry, name: &str, label: Option<&str>) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let wanted = |metric: &&prometheus::proto::Metric| {
        label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
    };
    let values = family
        .get_metric()
        .iter()
        .filter(wanted)
        .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value());
    values.sum::<f64>() as u64
}

fn section(listener: &TcpListener) -> Section {
    let mut section = Section::rsvps();
    section.connect.url = format!("ws://{}/2/rsvps", listener.local_addr().unwrap()).into();
    section.connect.reconnect_base_ms = 1;
    section
}

/// A collector in this process, following the feed that `listener` accepts for.
struct Sandbox {
    registry: Registry,
    readiness: Readiness,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), Error>>,
}

fn run(
    listener: &TcpListener,
    cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
    log: &TempDir,
) -> Sandbox {
    run_with(listener, cluster, log, |_| {})
}

fn run_with(
    listener: &TcpListener,
    cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
    log: &TempDir,
    change: impl FnOnce(&mut Config),
) -> Sandbox {
    let mut config = Config::default();
    config.kafka.brokers = cluster.bootstrap_servers();
    config.source.insert("rsvps", section(listener));
    config.log.path = log.path().to_owned();
    change(&mut config);
    config.validate().unwrap();
    let (registry, readiness, shutdown) =
        (Registry::new(), Readiness::default(), CancellationToken::new());
    let host = Host {
        registry: registry.clone(),
        readiness: readiness.clone(),
        shutdown: shutdown.clone(),
        tracer: Default::default(),
    };
    Sandbox { registry, readiness, shutdown, running: tokio::spawn(Collector::run(config, host)) }
}

impl Sandbox {
    async fn until(&self, name: &str, count: u64) {
        while self.registry.gather().is_empty() || value(&self.registry, name, None) < count {
            assert!(!self.running.is_finished(), "the collector ended");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_source_that_panics_ends_the_others_and_is_an_error() {
    let deadline = CancellationToken::new();
    let (mut sources, stop) = (Running::default(), CancellationToken::new());
    let told = stop.clone();
    sources.spawn(&"a".into(), async move {
        told.cancelled().await;
        Ok(End::Stopped)
    });
    sources.spawn(&"b".into(), async { panic!("a source has a defect") });
    assert!(matches!(sources.ended(&stop, &deadline).await, Err(Error::Panicked)));
    let (mut sources, stop) = (Running::default(), CancellationToken::new());
    sources.spawn(&"a".into(), async { Ok(End::Closed) });
    assert!(sources.ended(&stop, &deadline).await.is_ok() && !stop.is_cancelled());
}

#[tokio::test]
async fn a_source_that_does_not_end_is_given_up_at_the_deadline() {
    let (mut sources, deadline) = (Running::default(), CancellationToken::new());
    let (block, blocked) = std::sync::mpsc::channel::<()>();
    let reached = deadline.clone();
    sources.spawn(&"ends".into(), async move {
        reached.cancel();
        Ok(End::Stopped)
    });
    // As a client that waits for its server for ever.
    sources.spawn(&"hangs".into(), async move {
        let hanging = tokio::task::spawn_blocking(move || blocked.recv());
        let _never = hanging.await;
        Ok(End::Stopped)
    });
    sources.ended(&CancellationToken::new(), &deadline).await.unwrap();
    assert_eq!(sources.names.values().map(|name| &**name).collect::<Vec<_>>(), ["hangs"]);
    drop(block);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_becomes_dead_letters_and_the_stream_goes_on() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("raw-rsvps", 4, 1).unwrap();
    cluster.create_topic("raw-rsvps-dlq", 1, 1).unwrap();
    let (listener, log) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TempDir::new().unwrap());
    let collector = run(&listener, &cluster, &log);
    let mut feed = accept_async(listener.accept().await.unwrap().0).await.unwrap();

    let text = |text: &str| Message::text(text.to_owned());
    let poison = [
        (text(""), Reason::Empty),
        (Message::binary(&b"{\"rsvp_id\":1,\"response\":\"\xff\"}"[..]), Reason::InvalidUtf8),
        (text(r#"{"rsvp_id":1,"response":"yes""#), Reason::NotJson),
        (text("null"), Reason::NotObject),
        (text(&"[".repeat(100_000)), Reason::TooDeep),
        (text(&format!("\"{}\"", "x".repeat(1_000_000))), Reason::TooLarge),
        (text(r#"{"rsvp_id":1,"rsvp_id":1,"response":"yes"}"#), Reason::DuplicateKey),
        (text(r#"{"response":"yes"}"#), Reason::MissingId),
        (text(r#"{"rsvp_id":1.5,"response":"yes"}"#), Reason::BadId),
    ];
    for (number, (message, _)) in poison.iter().enumerate() {
        feed.send(message.clone()).await.unwrap();
        feed.send(text(&format!(r#"{{"rsvp_id":{number},"response":"yes"}}"#))).await.unwrap();
    }
    collector.until("millrace_collector_published_events_total", poison.len() as u64).await;
    for (_, reason) in &poison {
        while value(
            &collector.registry,
            "millrace_collector_dead_letters_total",
            Some(reason.as_str()),
        ) != 1
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(collector.readiness.unmet(), std::collections::BTreeMap::new());
    assert_eq!(value(&collector.registry, "millrace_collector_source_connects_total", None), 1);

    collector.shutdown.cancel();
    assert!(
        matches!(feed.next().await, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1001)
    );
    collector.running.await.unwrap().unwrap();
    let (_, _, left) =
        MessageLog::open(log.path(), common::message_log::Options::default()).unwrap();
    assert_eq!((left.pending(), left.failed), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_collector_asks_for_what_came_after_its_log() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("raw-rsvps", 4, 1).unwrap();
    cluster.create_topic("raw-rsvps-dlq", 1, 1).unwrap();
    let (listener, log) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TempDir::new().unwrap());
    let mut queries = Vec::new();
    for events in [0, 9, 1] {
        let collector = run(&listener, &cluster, &log);
        let mut query = String::new();
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let look = |request: &tokio_tungstenite::tungstenite::handshake::server::Request,
                    response| {
            query = request.uri().query().unwrap_or_default().to_owned();
            Ok(response)
        };
        let stream = listener.accept().await.unwrap().0;
        let mut feed = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
        queries.push(query);
        for number in 0..events {
            let event =
                format!(r#"{{"rsvp_id":{number},"response":"yes","mtime":{}}}"#, 70 - number);
            feed.send(Message::text(event)).await.unwrap();
        }
        collector.until("millrace_collector_published_events_total", events).await;
        collector.shutdown.cancel();
        collector.running.await.unwrap().unwrap();
    }
    assert_eq!(queries, ["", "since_mtime=0", "since_mtime=62"], "all of the last eight are older");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_have_a_connection_a_cursor_and_metrics_each() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("raw-rsvps", 4, 1).unwrap();
    cluster.create_topic("raw-rsvps-dlq", 1, 1).unwrap();
    let (a, b) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let log = TempDir::new().unwrap();
    let collector = run_with(&a, &cluster, &log, |config| {
        config.source.insert("second", section(&b));
    });
    let mut feeds = Vec::new();
    let connects = |source| {
        value(&collector.registry, "millrace_collector_source_connects_total", Some(source))
    };
    for (listener, source) in [(&a, "rsvps"), (&b, "second")] {
        feeds.push(accept_async(listener.accept().await.unwrap().0).await.unwrap());
        while connects(source) == 0 {
            tokio::task::yield_now().await;
        }
        let is_missing = collector.readiness.unmet().contains_key("source");
        assert!(is_missing || source == "second", "the other one is not connected");
    }
    while collector.readiness.unmet().contains_key("source") {
        tokio::task::yield_now().await;
    }
    for (number, feed) in feeds.iter_mut().enumerate() {
        for id in 0..=number {
            let event = format!(r#"{{"rsvp_id":"{number}-{id}","response":"yes"}}"#);
            feed.send(Message::text(event)).await.unwrap();
        }
    }
    collector.until("millrace_collector_published_events_total", 3).await;
    let received = |source| {
        value(&collector.registry, "millrace_collector_received_messages_total", Some(source))
    };
    assert_eq!((received("rsvps"), received("second")), (1, 2));
    drop(feeds.remove(0));
    let reconnected = a.accept().await.unwrap().0;
    let _feed = accept_async(reconnected).await.unwrap();
    while connects("rsvps") < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connects("second"), 1, "the other one stays");
    collector.shutdown.cancel();
    collector.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_waits_until_another_process_gives_the_log_up() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("raw-rsvps", 4, 1).unwrap();
    cluster.create_topic("raw-rsvps-dlq", 1, 1).unwrap();
    let (listener, log) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TempDir::new().unwrap());
    let held = MessageLog::open(log.path(), common::message_log::Options::default()).unwrap();
    let stopped = run(&listener, &cluster, &log);
    let collector = run(&listener, &cluster, &log);
    for waiting in [&stopped, &collector] {
        let why = || waiting.readiness.unmet().get("message_log").cloned().unwrap_or_default();
        while !why().contains(&log.path().display().to_string()) {
            assert!(!waiting.running.is_finished(), "the collector ended");
            tokio::task::yield_now().await;
        }
    }
    stopped.shutdown.cancel();
    stopped.running.await.unwrap().unwrap();
    drop(held);
    let _feed = accept_async(listener.accept().await.unwrap().0).await.unwrap();
    while !collector.readiness.unmet().is_empty() {
        tokio::task::yield_now().await;
    }
    collector.shutdown.cancel();
    collector.running.await.unwrap().unwrap();
}
