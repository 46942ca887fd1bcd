use std::sync::Mutex as StdMutex;

use common::admin::Readiness;
use common::clock::Clock;
use common::event::Schema;
use common::message_log::{Recovered, Sequence};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::Source;
use super::super::connection::Connections;
use super::*;
use crate::acks::Acks;
use crate::intake::{Queued, Queues, Sifted};
use crate::metrics::Metrics;
use crate::receipt::Receipts;

mod limits;
mod repetition;
mod security;
mod transport;

/// A server, and a pipeline that keeps what it takes in memory.
struct Bench {
    address: SocketAddr,
    metrics: PushMetrics,
    taken: Arc<StdMutex<Vec<String>>>,
    /// How far messages get.
    gate: watch::Sender<Gate>,
    stop: CancellationToken,
    server: JoinHandle<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Gate {
    /// Messages stay in the queue.
    Shut,
    /// They are taken, and not safe.
    Taken,
    /// They are safe.
    Logged,
    /// They are in Kafka.
    Delivered,
}

impl Bench {
    fn new(section: Section) -> Self {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let connections = Connections::new(Readiness::default().condition("source"));
        let (name, stop): (Arc<str>, _) = ("orders".into(), CancellationToken::new());
        let mut queues = Queues::default();
        let of_source = metrics.of_source(&name);
        let intake =
            queues.add(&name, &Schema::default(), &section.common, Clock::default(), of_source);
        let acks = queues.acks().clone();
        acks.follow(&name);
        acks.begin("17", &Recovered::default());
        let section = Section { listen: "127.0.0.1:0".parse().unwrap(), ..section };
        let metrics = metrics.of_push(&name);
        let connection = connections.of(&name);
        let push = HttpPush::new(&name, &section, metrics.clone(), connection, &stop).unwrap();
        let (gate, shut) = watch::channel(Gate::Logged);
        let taken = Arc::<StdMutex<Vec<String>>>::default();
        tokio::spawn(drive(queues, shut, Arc::clone(&taken), acks));
        let address = push.address();
        let server = tokio::spawn(push.run(intake, None, stop.clone()));
        Self { address, metrics, taken, gate, stop, server }
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        Answer::read(&mut stream).await
    }

    /// Sends a JSON body with these further headers.
    async fn post(&self, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(post(&format!("Content-Type: application/json\r\n{headers}"), body)).await
    }

    async fn fate(&self, ack: &str) -> Answer {
        self.ask(format!("GET /v1/acks/{ack} HTTP/1.1\r\nHost: h\r\n\r\n")).await
    }

    /// Stops, and waits until all is answered.
    async fn end(self) -> Vec<String> {
        self.stop.cancel();
        assert_eq!(self.server.await.unwrap(), End::Stopped);
        Arc::try_unwrap(self.taken)
            .map_or_else(|shared| shared.lock().unwrap().clone(), |own| own.into_inner().unwrap())
    }
}

/// The pipeline.
async fn drive(
    mut queues: Queues,
    mut gate: watch::Receiver<Gate>,
    taken: Arc<StdMutex<Vec<String>>>,
    acks: Acks,
) {
    let (receipts, mut next) = (Receipts::default(), 1);
    loop {
        let level = *gate.borrow_and_update();
        if level >= Gate::Taken {
            queues.take(
                usize::MAX,
                usize::MAX,
                0,
                |_, Queued { sifted: Sifted { message, .. }, .. }| {
                    let receipt = message.receipt.unwrap();
                    if receipt.is_given_up() {
                        return;
                    }
                    let sequence = Sequence::from_opaque(next);
                    next += 1;
                    receipts.add(sequence, receipt, message.identity.err());
                    let payload = String::from_utf8_lossy(&message.payload).into_owned();
                    taken.lock().unwrap().push(payload);
                },
            );
        }
        if level >= Gate::Logged {
            receipts.synced_before(Sequence::from_opaque(next));
        }
        if level >= Gate::Delivered {
            acks.settled_before(Sequence::from_opaque(next));
        }
        if queues.are_closed() {
            return;
        }
        tokio::select! {
            () = queues.some() => {}
            changed = gate.changed() => if changed.is_err() { return },
        }
    }
}

/// A request for `/v1/events`.
fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    /// Reads one answer; the connection may have more.
    async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        Self { status, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    fn ack(&self) -> &str {
        self.body["ack"].as_str().unwrap_or_else(|| panic!("{self:?}"))
    }
}

fn rsvp(id: u64) -> String {
    format!(r#"{{"rsvp_id":{id}, "response":"yes"}}"#)
}

#[tokio::test]
async fn what_is_acknowledged_was_taken_byte_for_byte_whatever_its_form() {
    let bench = Bench::new(Section::default());
    let [one, two, three] = [rsvp(1), rsvp(2), rsvp(3)];
    for (content_type, body, events) in [
        ("application/json", one.clone(), 1),
        ("application/json", format!("[{one},\n {two}]"), 2),
        ("application/x-ndjson", format!("{one}\r\n{two}\n\n{three}\n"), 3),
        ("application/json-seq", format!("\u{1e}{three}\n"), 1),
    ] {
        let answer = bench.ask(post(&format!("Content-Type: {content_type}\r\n"), &body)).await;
        assert_eq!((answer.status, &answer.body["events"]), (202, &json!(events)), "{body}");
        let fate = bench.fate(answer.ack()).await;
        assert_eq!((fate.status, &fate.body["state"]), (200, &json!("logged")));
    }
    assert_eq!(bench.metrics.answers(202), 4);
    let expected = [&one, &one, &two, &one, &two, &three, &three].map(String::clone);
    assert_eq!(bench.end().await, expected);
}

#[tokio::test]
async fn an_acknowledgement_says_when_kafka_has_the_events() {
    let bench = Bench::new(Section::default());
    let answer = bench.post("", rsvp(1)).await;
    let ack = answer.ack();
    assert_eq!(bench.fate(ack).await.body["state"], "logged");
    bench.gate.send_replace(Gate::Delivered);
    while bench.fate(ack).await.body["state"] != "in_kafka" {
        tokio::task::yield_now().await;
    }
    let other = bench.fate("orders.18.1-1").await;
    assert_eq!((other.status, &other.body["reason"]), (503, &json!("unavailable")), "not read yet");
    for unknown in ["x", "orders.17.1-9", "other.17.1-1", "orders.17.1-1/"] {
        let answer = bench.fate(unknown).await;
        assert_eq!(
            (answer.status, &answer.body["reason"]),
            (404, &json!("not_found")),
            "{unknown}"
        );
        assert!(answer.body["detail"].as_str().unwrap().len() > 20);
    }
    bench.end().await;
}

#[tokio::test]
async fn of_a_partly_bad_request_the_good_events_are_taken_and_the_bad_listed() {
    let bench = Bench::new(Section::default());
    let lines =
        [rsvp(1).as_bytes(), b"{\"x\":1}", b"\"\xff\"", b"[", rsvp(2).as_bytes()].join(&b"\n"[..]);
    let request =
        |headers: &str| post(&format!("Content-Type: application/jsonl\r\n{headers}"), &lines);
    let strict = bench.ask(request("Prefer: handling=strict\r\n")).await;
    assert_eq!((strict.status, &strict.body["line"]), (422, &json!(2)));
    assert_eq!(strict.body["reason"], "missing_id");
    assert!(strict.head.contains("content-type: application/problem+json"));
    assert_eq!(bench.taken(), Vec::<String>::new());

    let answer = bench.ask(request("")).await;
    assert_eq!((answer.status, &answer.body["events"]), (202, &json!(2)), "{answer:?}");
    let bad: Vec<_> = answer.body["bad"].as_array().unwrap().iter().collect();
    let bad: Vec<_> =
        bad.iter().map(|bad| (&bad["line"], bad["reason"].as_str().unwrap())).collect();
    let expected =
        [(&json!(2), "missing_id"), (&json!(3), "invalid_utf8"), (&json!(4), "not_json")];
    assert_eq!(bad, expected);
    assert_eq!(bench.end().await.len(), 5, "the bad ones are dead letters");
}

#[tokio::test]
async fn the_list_of_bad_events_is_bounded_and_says_how_many_there_are() {
    let bench = Bench::new(Section::default());
    let body = format!("[{}{}]", "{},".repeat(5000), rsvp(1));
    let answer = bench.post("", body).await;
    assert_eq!((answer.status, &answer.body["bad_events"]), (202, &json!(5000)));
    assert_eq!(answer.body["bad"].as_array().unwrap().len(), 100);
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_taken_of_a_request_that_has_no_good_event_or_is_not_what_it_says() {
    let bench = Bench::new(Section::default());
    for (body, status, reason, line) in [
        ("{\"x\":1}", 422, "missing_id", 1),
        ("[7]", 422, "not_object", 1),
        ("", 400, "empty", 1),
        ("[]", 400, "empty", 1),
        ("{\"a\":1}\n{\"a\"", 400, "not_json", 2),
        ("[{},\n\n,]", 400, "not_json", 3),
        ("{\"rsvp_id\":1,\"rsvp_id\":2,\"response\":\"\"}", 422, "duplicate_key", 1),
    ] {
        let answer = bench.post("", body).await;
        let body_of = &answer.body;
        assert_eq!((answer.status, &body_of["reason"]), (status, &json!(reason)), "{body}");
        assert_eq!(body_of["line"], line, "{body}");
        assert_eq!(body_of["status"], status);
    }
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_request_that_cannot_be_understood_says_what_can() {
    let bench = Bench::new(Section::default());
    let json = "Content-Type: application/json\r\n";
    for (request, status, said) in [
        (post("", "{}"), 415, "content-type"),
        (post("Content-Type: text/plain\r\n", "{}"), 415, "application/x-ndjson"),
        (
            post(&format!("{json}Content-Encoding: br\r\n"), "{}"),
            415,
            "accept-encoding: gzip, zstd",
        ),
        (post(&format!("{json}Accept: text/html\r\n"), "{}"), 406, "application/json"),
        (post(&format!("{json}Idempotency-Key: \r\n"), "{}"), 400, "idempotency"),
        (b"GET /v1/events HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 405, "allow: post"),
        (
            b"POST /v1/acks/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".to_vec(),
            405,
            "allow: get",
        ),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 404, "/v1/events"),
        (post(&format!("{json}Origin: http://evil.example\r\n"), "{}"), 403, "token_file"),
    ] {
        let answer = bench.ask(&request).await;
        let request = String::from_utf8_lossy(&request);
        assert_eq!(answer.status, status, "{request}");
        let all = format!("{}{}", answer.head, answer.body).to_lowercase();
        assert!(all.contains(said), "{request} {all}");
    }
    assert_eq!(bench.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_synchronous_request_is_answered_when_kafka_has_it_or_after_its_wait() {
    let bench = Bench::new(Section::default());
    let late = bench.post("Prefer: respond-sync, wait=0\r\n", rsvp(1)).await;
    assert_eq!((late.status, late.body.get("state")), (202, None), "it is safe, and not in Kafka");
    let mut stream = bench.connect().await;
    let json = "Content-Type: application/json\r\nPrefer: respond-sync\r\n";
    stream.write_all(&post(json, rsvp(2))).await.unwrap();
    while bench.taken().len() < 2 {
        tokio::task::yield_now().await;
    }
    bench.gate.send_replace(Gate::Delivered);
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("in_kafka")));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_request_are_together_also_when_many_come_at_once() {
    let bench = Arc::new(Bench::new(Section::default()));
    let asking: Vec<_> = (0..20_u64)
        .map(|number| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                let events: Vec<_> = (0..100).map(|event| rsvp(1000 * number + event)).collect();
                bench.post("", format!("[{}]", events.join(","))).await.ack().to_owned()
            })
        })
        .collect();
    let mut ranges = Vec::new();
    for asked in asking {
        let ack = asked.await.unwrap();
        let (first, last) = ack.rsplit_once('.').unwrap().1.split_once('-').unwrap();
        ranges.push((first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap()));
    }
    ranges.sort_unstable();
    assert!(ranges.iter().all(|(first, last)| last - first == 99), "{ranges:?}");
    assert!(ranges.is_sorted_by(|a, b| a.1 < b.0), "{ranges:?}");
}
