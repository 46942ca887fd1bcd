//! Measures what the collector costs from a WebSocket feed to Kafka: CPU time at full speed, and the latency at half of it, in
//! each mode of its log.
//!
//! Each message holds the time at which the feed sent it, and a consumer of `raw-rsvps` in this process compares it with
//! the time at which the record came. So the latency includes the feed's socket, Kafka and the consumer, which
//! are the same in all modes: what a log costs is its mode's latency less that of the mode `off`.
//!
//! The limit of a log that is durable is how fast the disk takes groups of the same size one after the other, each with an
//! fdatasync; this is measured beside it, in the directory of the log.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::kafka::{Kafka, Topic};
use futures_util::{SinkExt as _, StreamExt as _};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Cost, PARTITIONS, RUN, Tier};
use crate::{
    binaries,
    broker::Broker,
    free_port, process, recording,
    sandbox::{Metrics, scratch},
};

/// The modes of the message log, as `log.mode` names them.
pub const MODES: [&str; 3] = ["hybrid", "pessimistic", "off"];
/// So many different messages are sent over and over.
const DIFFERENT: u32 = 20_000;
/// What messages begin with: the time in microseconds follows, in as many digits as [`DIGITS`].
const SENT: &str = r#"{"sent_us":""#;
const DIGITS: usize = 12;

/// What one run measured.
#[derive(Debug)]
pub struct Figures {
    /// Messages sent.
    pub messages: u32,
    /// Their mean size, in bytes.
    pub mean_bytes: u64,
    /// Each mode, in the order of [`MODES`].
    pub modes: Vec<Mode>,
    /// The rate at which latencies were measured, in messages a second: half of the lowest one at full speed.
    pub half: u32,
}

/// What was measured of one mode.
#[derive(Debug)]
pub struct Mode {
    /// All messages at full speed, from the first one sent to the last one read from Kafka.
    pub flood: Cost,
    /// Of this, the CPU time of the busiest thread, and its name.
    pub busiest: (String, Duration),
    /// The log's groups in that time, each one written and synced together.
    pub groups: u64,
    /// How many of the log's bytes a second the disk takes in groups of that size; 0 without groups.
    pub disk_limit: f64,
    /// Resident memory of the collector at the end of the flood, in KiB.
    pub resident_kib: u64,
    /// From the feed to a consumer at half of the lowest full speed: half of the messages took less.
    pub median: Duration,
    /// Likewise 99 of 100.
    pub p99: Duration,
}

/// Sends this many messages at full speed and then for `seconds` at half of it, in each mode.
pub fn measure(messages: u32, seconds: u32) -> Figures {
    let broker = Broker::start();
    let (_directory, path) = scratch();
    let recorded = path.join("synthetic.jsonl");
    recording::synthesize(&recorded, DIFFERENT, 89);
    // The time is the first member, in place of the object's opening brace.
    let lines: Vec<String> = recording::each_line(&recorded)
        .map(|line| String::from_utf8(line).expect("lines are text")[1..].to_owned())
        .collect();
    let head = (SENT.len() + DIGITS + 2) as u64;
    let bytes: u64 = lines.iter().map(|line| line.len() as u64 + head).sum();
    let mean_bytes = bytes / lines.len() as u64;
    let bench = Bench { brokers: broker.address(), directory: path, lines };

    let floods: Vec<_> = MODES.iter().map(|mode| bench.run(mode, messages, None)).collect();
    let slowest = floods.iter().map(|run| run.cost.wall).max().expect("there are modes");
    let half = (f64::from(messages) / slowest.as_secs_f64() / 2.0) as u32;
    let modes = MODES.iter().zip(floods).map(|(mode, flood)| {
        let paced = bench.run(mode, half * seconds, Some(half));
        let at = |share: f64| paced.latencies[(paced.latencies.len() as f64 * share) as usize];
        let disk_limit = match flood.groups {
            0 => 0.0,
            groups => disk_limit(&bench.directory, mean_bytes * u64::from(messages) / groups),
        };
        Mode {
            flood: flood.cost,
            busiest: flood.busiest,
            groups: flood.groups,
            disk_limit,
            resident_kib: flood.resident_kib,
            median: at(0.5),
            p99: at(0.99),
        }
    });
    let modes = modes.collect();
    Figures { messages, mean_bytes, modes, half }
}

struct Bench {
    brokers: String,
    directory: std::path::PathBuf,
    lines: Vec<String>,
}

struct Run {
    cost: Cost,
    busiest: (String, Duration),
    groups: u64,
    resident_kib: u64,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Bench {
    /// Runs a collector with a log and a topic of its own.
    fn run(&self, mode: &str, messages: u32, rate: Option<u32>) -> Run {
        let name = format!("{mode}-{}", rate.unwrap_or_default());
        let mut kafka =
            Kafka { brokers: self.brokers.clone(), partitions: PARTITIONS, ..Kafka::default() };
        kafka.topics.raw = format!("raw-{name}");
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(kafka.ensure_topics(&[Topic::Raw], None)).expect("the topic");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let feed = listener.local_addr().expect("a bound address");
        let admin = format!("127.0.0.1:{}", free_port());
        let log = self.directory.join(&name);
        let mut collector = Tier::start(
            Command::new(binaries().join("collector"))
                .env("COLLECTOR__KAFKA__BROKERS", &kafka.brokers)
                .env("COLLECTOR__KAFKA__TOPICS__RAW", &kafka.topics.raw)
                .env("COLLECTOR__SERVICE__ADMIN", &admin)
                .env("COLLECTOR__SOURCE__RSVPS__URL", format!("ws://{feed}/"))
                .env("COLLECTOR__LOG__PATH", &log)
                .env("COLLECTOR__LOG__MODE", mode),
            log.with_extension("log"),
        );
        let consumer = consumer(&kafka);
        let (stream, _) = runtime.block_on(listener.accept()).expect("the collector connects");
        let (start, before) = (Instant::now(), collector.cpu());
        let lines = self.lines.clone();
        runtime.spawn(send(stream, lines, messages, rate, start));

        let mut latencies = Vec::with_capacity(messages as usize);
        while latencies.len() < messages as usize {
            assert!(start.elapsed() < RUN, "{} of {messages} messages", latencies.len());
            let Some(record) = consumer.poll(Duration::from_millis(100)) else {
                collector.assert_running();
                let metrics = metrics(&runtime, &admin);
                assert_eq!(metrics.sum("millrace_collector_dead_letters_total"), 0.0);
                continue;
            };
            let record = record.expect("a record");
            let sent = sent(record.payload().expect("a payload"));
            latencies.push(start.elapsed().saturating_sub(sent));
        }
        let cost = Cost { cpu: collector.cpu() - before, wall: start.elapsed() };
        latencies.sort_unstable();
        let threads = process::cpu_by_thread(collector.pid());
        let busiest = threads.into_iter().max_by_key(|(_, cpu)| *cpu).expect("a thread");
        let process = process::Process { pid: collector.pid(), name: String::new() };
        let resident_kib = process.resident_kib().expect("the collector's memory");
        let groups = metrics(&runtime, &admin).sum("millrace_collector_log_sync_seconds_count");
        let groups = groups as u64;
        collector.stop();
        std::fs::remove_dir_all(&log).expect("removing the log");
        Run { cost, busiest, groups, resident_kib, latencies }
    }
}

fn metrics(runtime: &Runtime, admin: &str) -> Metrics {
    let text = runtime
        .block_on(async { reqwest::get(format!("http://{admin}/metrics")).await?.text().await });
    Metrics { text: text.expect("the collector's metrics") }
}

fn consumer(kafka: &Kafka) -> BaseConsumer {
    let consumer: BaseConsumer = kafka
        .consumer(None, None)
        .expect("settings")
        .set("fetch.wait.max.ms", "5")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&kafka.topics.raw, partition, Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&list).expect("assigning partitions");
    consumer
}

/// Sends messages to the client that connects by this stream, and then answers its pings until it goes.
async fn send(
    stream: tokio::net::TcpStream,
    lines: Vec<String>,
    messages: u32,
    rate: Option<u32>,
    start: Instant,
) {
    stream.set_nodelay(true).expect("a TCP connection");
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket client");
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let mut lines = lines.iter().cycle();
    let mut count = 0;
    while count < messages {
        let due = match rate {
            None => messages.min(count + 1_000),
            Some(rate) => {
                pace.tick().await;
                messages.min((start.elapsed().as_secs_f64() * f64::from(rate)) as u32)
            }
        };
        while count < due {
            let line = lines.next().expect("there are lines");
            let message = format!("{SENT}{:0DIGITS$}\",{line}", start.elapsed().as_micros());
            socket.feed(Message::Text(Utf8Bytes::from(message))).await.expect("the client reads");
            count += 1;
        }
        socket.flush().await.expect("the client reads");
    }
    while socket.next().await.is_some_and(|received| received.is_ok()) {}
}

/// When a message was sent, since the start.
fn sent(payload: &[u8]) -> Duration {
    let digits = payload.strip_prefix(SENT.as_bytes()).expect("a message of this bench");
    let text = std::str::from_utf8(&digits[..DIGITS]).expect("digits");
    Duration::from_micros(text.trim_start_matches('0').parse().unwrap_or_default())
}

/// How many bytes a second can be written in `directory`, in groups of this many bytes, each with an fdatasync.
fn disk_limit(directory: &Path, group: u64) -> f64 {
    let path = directory.join("limit");
    let mut file = File::create(&path).expect("a file");
    let bytes = vec![b'x'; group as usize];
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(3) {
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("writing to the disk");
        written += group;
    }
    let limit = written as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(&path).expect("removing a file");
    limit
}
