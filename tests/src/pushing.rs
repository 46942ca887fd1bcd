//! Senders that push numbered events to a collector without a pause, and remember which it has acknowledged.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::{
    eventually, free_port, http,
    numbered::{event, lines},
};

/// How many events a request has.
const BATCH: u64 = 50;

/// Writes a configuration into `directory` whose source is sent to at a port that is free. Returns both.
pub fn configuration(directory: &Path) -> (PathBuf, SocketAddr) {
    let (file, [address]) = sources(directory, [("orders", "")]);
    (file, address)
}

/// Does the same with several sources, by their names and further keys. Returns their addresses.
pub fn sources<const N: usize>(
    directory: &Path,
    sources: [(&str, &str); N],
) -> (PathBuf, [SocketAddr; N]) {
    let file = directory.join("push.toml");
    let mut text = String::new();
    let addresses = sources.map(|(name, keys)| {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        text += &format!("[source.{name}]\nkind = \"http_push\"\nlisten = \"{address}\"\n{keys}\n");
        address
    });
    fs::write(&file, text).expect("a file");
    (file, addresses)
}

/// Sends the events with these numbers in one request, with this `Prefer`, when somebody listens. Returns the status of the
/// answer.
pub fn push(address: SocketAddr, numbers: Range<u64>, prefer: &str) -> u16 {
    post(address, lines(numbers), prefer).0
}

/// Sends these lines in one request when somebody listens, and returns the id of the acknowledgement.
pub fn acknowledged(address: SocketAddr, lines: String) -> String {
    let (status, answer) = post(address, lines, "");
    assert_eq!(status, 202, "{answer}");
    answer["ack"].as_str().expect("an id").to_owned()
}

/// What the collector that listens at `address` says of this acknowledgement; `None` if it does not answer 200.
pub fn fate(address: SocketAddr, ack: &str) -> Option<Value> {
    answer(address, ack).filter(|(status, _)| *status == 200).map(|(_, fate)| fate)
}

/// The status and the body of that answer; `None` if there is none.
pub fn answer(address: SocketAddr, ack: &str) -> Option<(u16, Value)> {
    let answer = http::get(address.port(), &format!("/v1/acks/{ack}"))?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).expect("JSON")))
}

/// Sends a request when somebody listens. Returns the status and the body of the answer.
fn post(address: SocketAddr, body: String, prefer: &str) -> (u16, Value) {
    eventually("the collector listens", || TcpStream::connect(address).ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let request = reqwest::Client::new()
            .post(format!("http://{address}/v1/events"))
            .header("content-type", "application/x-ndjson")
            .header("prefer", prefer)
            .timeout(Duration::from_secs(90))
            .body(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    })
}

/// Running senders.
pub struct Pushing {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    end: AtomicBool,
    so_far: Mutex<Pushed>,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Pushed {
    /// The events that the collector has acknowledged with 202.
    pub acknowledged: BTreeSet<u64>,
    /// Requests that it has answered with 503.
    pub refused: u64,
    /// Requests without an answer.
    pub unanswered: u64,
}

impl Pushing {
    /// Starts so many senders, which send to this address and wait while nobody listens there.
    pub fn start(address: SocketAddr, senders: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let start = |sender| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.send(address, sender * 1_000_000_000))
        };
        Self { senders: (1..=senders).map(start).collect(), shared }
    }

    /// What has come of it so far.
    pub fn so_far(&self) -> MutexGuard<'_, Pushed> {
        self.shared.so_far()
    }

    /// Waits until so many further events were acknowledged.
    pub fn await_more(&self, events: usize) {
        let before = self.so_far().acknowledged.len();
        eventually("events are acknowledged", || {
            (self.so_far().acknowledged.len() >= before + events).then_some(())
        });
    }

    /// Ends the senders.
    pub fn end(self) -> Pushed {
        self.shared.end.store(true, Ordering::Relaxed);
        for sender in self.senders {
            sender.join().expect("a sender");
        }
        self.shared.so_far().clone()
    }
}

impl Shared {
    fn so_far(&self) -> MutexGuard<'_, Pushed> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, address: SocketAddr, mut next: u64) {
        let is_over = || self.end.load(Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let client = reqwest::Client::new();
            while !is_over() {
                let numbers = next..next + BATCH;
                next = numbers.end;
                let body: Vec<_> = numbers.clone().map(event).collect();
                let request = client
                    .post(format!("http://{address}/v1/events"))
                    .header("content-type", "application/x-ndjson")
                    .timeout(Duration::from_secs(30))
                    .body(body.join("\n"));
                match request.send().await {
                    Ok(answer) if answer.status() == 202 => {
                        self.so_far().acknowledged.extend(numbers);
                    }
                    Ok(answer) if answer.status() == 503 => self.so_far().refused += 1,
                    Ok(answer) => panic!("{answer:?}"),
                    Err(_) => {
                        self.so_far().unanswered += 1;
                        eventually("the collector listens again, or the end", || {
                            let listens = TcpStream::connect(address).is_ok();
                            (listens || is_over()).then_some(())
                        });
                    }
                }
            }
        });
    }
}
