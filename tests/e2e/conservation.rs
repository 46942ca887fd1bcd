//! All kinds of sources in one collector, each with bad messages among the good ones: through an outage of Kafka and a kill, each good
//! one is an event, each bad one a dead letter with its reason, and the books balance at every scrape.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, UdpSocket},
    ops::Range,
    path::PathBuf,
    process::Child,
    time::Duration,
};

use pipeline_tests::{
    broker::Broker,
    collector::spawn,
    free_port,
    mosquitto::Mosquitto,
    numbered::event,
    public_feed::{Protocol, PublicFeed},
    pushing::acknowledged,
    sandbox::scratch,
    topics::{Record, Topics},
    within,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::books::{Auditor, Books};

/// The sources, which are named after their kinds. Those from `mqtt` on are sent to.
const SOURCES: [&str; 9] =
    ["websocket", "http_stream", "sse", "long_poll", "file", "kafka", "mqtt", "http_push", "udp"];
/// How many good messages each source has.
const GOOD: u64 = 400;
const TOPIC: &str = "orders-in";

/// Messages that are no events, with their reasons. An answer that is an array cannot hold those that are no JSON or too deep: all of
/// it could not be read.
fn bad() -> Vec<(&'static str, String)> {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    [
        ("not_json", r#"{"rsvp_id":"#),
        ("not_json", r#"{"rsvp_id":NaN,"response":"yes"}"#),
        ("not_json", "{'rsvp_id':1}"),
        ("not_json", r#"{"rsvp_id":1,"response":"yes"} {}"#),
        ("not_json", r#"{"rsvp_id":01,"response":"yes"}"#),
        ("not_object", "null"),
        ("not_object", "[1]"),
        ("not_object", r#""text""#),
        ("missing_id", r#"{"response":"yes"}"#),
        ("bad_id", r#"{"rsvp_id":{},"response":"yes"}"#),
        ("bad_id", r#"{"rsvp_id":1.5,"response":"yes"}"#),
        ("bad_id", r#"{"rsvp_id":null,"response":"yes"}"#),
        ("duplicate_key", r#"{"rsvp_id":1,"rsvp_id":2,"response":"yes"}"#),
        ("too_deep", &deep),
    ]
    .map(|(reason, text)| (reason, text.to_owned()))
    .to_vec()
}

fn bad_of(source: &str) -> Vec<(&'static str, String)> {
    let mut bad = bad();
    bad.retain(|(reason, _)| source != "long_poll" || !["not_json", "too_deep"].contains(reason));
    bad
}

/// The numbers of a source's good messages.
fn numbers(source: &str) -> Range<u64> {
    let at = SOURCES.iter().position(|one| *one == source).expect("a source") as u64;
    10_000 * at..10_000 * at + GOOD
}

/// Some of a source's good messages, and all bad ones among them.
fn lines(source: &str, good: Range<u64>) -> Vec<String> {
    let mut lines: Vec<_> = good.map(event).collect();
    for (at, (_, text)) in bad_of(source).into_iter().enumerate() {
        lines.insert(7 * at + 3, text);
    }
    lines
}

fn all_lines(source: &str) -> Vec<String> {
    lines(source, numbers(source))
}

/// A collector that is killed when it is dropped.
struct Collector {
    child: Child,
    stderr: PathBuf,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().expect("killing the collector");
        self.child.wait().expect("its end");
        if std::thread::panicking() {
            let said = fs::read_to_string(&self.stderr).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Whether each of these sources has received so many messages at least.
fn have(books: &Books, sources: &[&str], messages: impl Fn(&str) -> usize) -> bool {
    let received = |source: &&str| books.sum("received_messages_total", source);
    sources.iter().all(|source| received(source) >= messages(source) as i64)
}

#[test]
fn every_message_of_every_kind_of_source_becomes_an_event_or_a_dead_letter_with_its_reason() {
    let (_directory, path) = scratch();
    let mut kafka = Broker::start();
    kafka.create_topic(TOPIC, 4);
    let producer: BaseProducer = kafka.client().create().expect("a producer");
    for line in all_lines("kafka") {
        producer.send(BaseRecord::<str, str>::to(TOPIC).payload(&line)).expect("room");
    }
    producer.flush(Duration::from_secs(30)).expect("all is in kafka");
    fs::write(path.join("orders.jsonl"), all_lines("file").join("\n") + "\n").expect("a file");
    let socket = Protocol::Socket { subscriptions: 0, answer: None };
    let websocket = PublicFeed::serve(socket, all_lines("websocket"));
    let sse = PublicFeed::serve(Protocol::Events { of: "message" }, all_lines("sse"));
    let long_poll = PublicFeed::serve(Protocol::Polled { page: 150 }, all_lines("long_poll"));
    let body = Protocol::Body { content_type: "application/x-ndjson", stays_open: true };
    let ended = all_lines("http_stream").into_iter().map(|line| line + "\n").collect();
    let http_stream = PublicFeed::serve(body, ended);
    let mqtt = Mosquitto::start(None);
    let [http_push, udp] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let sections = [
        ("websocket", format!("url = '{}'", websocket.url("ws", "/"))),
        ("http_stream", format!("url = '{}'", http_stream.url("http", "/"))),
        ("sse", format!("url = '{}'\nevents = ['message']", sse.url("http", "/"))),
        ("long_poll", format!("url = '{}'\ninterval = '1s'", long_poll.url("http", "/"))),
        ("file", format!("path = '{}'", path.join("orders.jsonl").display())),
        ("kafka", format!("topics = ['{TOPIC}']\ngroup = 'orders'\nstart = 'earliest'")),
        ("mqtt", format!("url = '{}'\ntopics = ['orders']", mqtt.url())),
        ("http_push", format!("listen = '{http_push}'")),
        ("udp", format!("listen = '{udp}'")),
    ];
    let sections =
        sections.map(|(kind, keys)| format!("[source.{kind}]\nkind = '{kind}'\n{keys}\n"));
    let (file, stderr) = (path.join("collector.toml"), path.join("collector.log"));
    fs::write(&file, sections.concat()).expect("a file");
    let admin = free_port();
    let settings = [
        format!("service.admin=127.0.0.1:{admin}"),
        format!("log.path={}", path.join("log").display()),
    ];
    let start = |kafka: &Broker| {
        let child = spawn(&file, &kafka.address(), settings.iter(), &stderr);
        Collector { child, stderr: stderr.clone() }
    };
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |lines: &dyn Fn(&str) -> Vec<String>| {
        mqtt.publish("orders", &(lines("mqtt").join("\n") + "\n"), None);
        acknowledged(http_push, lines("http_push").join("\n") + "\n");
        for line in lines("udp") {
            sender.send_to(line.as_bytes(), udp).expect("a datagram");
        }
    };
    let half = |source: &str| numbers(source).start..numbers(source).start + GOOD / 2;
    let rest = |source: &str| numbers(source).start + GOOD / 2..numbers(source).end;

    let auditor = Auditor::start(admin);
    let collector = start(&kafka);
    auditor.until("the subscription", |books| books.sum("source_connected", "mqtt") == 1);
    send(&|source| lines(source, half(source)));
    auditor.until("what is there", |books| {
        have(books, &SOURCES[..6], |source| all_lines(source).len())
            && have(books, &SOURCES[6..], |source| lines(source, half(source)).len())
    });
    kafka.kill();
    send(&|source| rest(source).map(event).collect());
    auditor.until("all of them", |books| have(books, &SOURCES, |source| all_lines(source).len()));
    drop(collector);
    let collector = start(&kafka);
    auditor.until("what the log held", |books| {
        books.sum("recovered_entries_total", "(recovered)") > 0
    });
    kafka.start_again();
    let topics = Topics::at(&kafka.address());
    within(Duration::from_secs(120), "all of them in kafka", || {
        let found = found(&topics);
        SOURCES
            .iter()
            .all(|source| found.0.get(*source) == Some(&numbers(source).collect()))
            .then_some(())
    });
    auditor.until("nothing waits", |books| books.sum("log_entries", "") == 0);
    let (_, dead) = found(&topics);
    for source in SOURCES {
        let expected: BTreeSet<_> =
            bad_of(source).into_iter().map(|(reason, text)| (reason.to_owned(), text)).collect();
        assert_eq!(dead.get(source), Some(&expected), "{source}");
    }
    drop(collector);
    let said = fs::read_to_string(&stderr).expect("what it has logged");
    assert!(!said.contains("panicked"), "{said}");
}

type Events = BTreeMap<String, BTreeSet<u64>>;
type DeadLetters = BTreeMap<String, BTreeSet<(String, String)>>;

/// The numbers of the events by source, and the dead letters with their reasons. No entry of the log may be there twice.
fn found(topics: &Topics) -> (Events, DeadLetters) {
    let (mut events, mut dead) = (Events::new(), DeadLetters::new());
    let mut seen = BTreeSet::new();
    let mut source = |record: &Record| {
        let sequence = record.headers["mr-seq"].clone();
        assert!(seen.insert(sequence), "twice: {record:?}");
        record.headers["mr-source"].clone()
    };
    for record in topics.read("raw-rsvps") {
        let event: Value = serde_json::from_slice(&record.payload).expect("an event");
        let number = event["rsvp_id"].as_u64().expect("a number");
        events.entry(source(&record)).or_default().insert(number);
    }
    for record in topics.read("raw-rsvps-dlq") {
        let letter = (
            record.headers["mr-reason"].clone(),
            String::from_utf8(record.payload.clone()).expect("text"),
        );
        dead.entry(source(&record)).or_default().insert(letter);
    }
    (events, dead)
}
