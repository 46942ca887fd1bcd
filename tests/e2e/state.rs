//! What the analyzer leaves in Kafka, and what it makes of what it finds there: on a broker of its own,
//! with events that the test writes.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    binaries, broker::Broker, eventually, free_port, process::Process, sandbox::scratch,
    topics::Record, topics::Topics,
};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AlterConfig, ResourceSpecifier},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use tempfile::TempDir;

const RAW: &str = "raw-rsvps";
const PARTIALS: &str = "topn-rsvps-partials";
const STATE: &str = "topn-rsvps-state";
const RESULTS: &str = "topn-rsvps";
const PARTITIONS: i32 = 4;
const FLUSH: Duration = Duration::from_secs(60);

const TOPICS_ALONE: &str = r#"
[[query]]
name = "topics"
item = "/group/group_topics/*/topic_name"
"#;

const TOPICS_AND_COUNTRIES: &str = r#"
[[query]]
name = "topics"
item = "/group/group_topics/*/topic_name"

[[query]]
name = "countries"
item = "/group/group_country"
"#;

/// Apache Kafka, and analyzers on it one after another.
struct Bed {
    broker: Broker,
    topics: Topics,
    directory: PathBuf,
    running: Option<Child>,
    starts: u32,
    _directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One broker at a time: three at once would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Bed {
    fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = Broker::start();
        let (guard, directory) = scratch();
        let topics = Topics::at(&broker.address());
        let bed = Self {
            broker,
            topics,
            directory,
            running: None,
            starts: 0,
            _directory: guard,
            _alone: alone,
        };
        bed.broker.create_topic(RAW, PARTITIONS);
        bed
    }

    fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) {
        let producer: BaseProducer = self.broker.client().create().expect("a producer");
        for (key, value) in records {
            let mut record = BaseRecord::to(topic).key(&key).payload(&value);
            record.partition = partition;
            producer.send(record).map_err(|(error, _)| error).expect("sending");
            producer.poll(Duration::ZERO);
        }
        producer.flush(FLUSH).expect("all records are acknowledged");
    }

    /// Writes the events `ids`, each of its own topic and one country.
    fn feed(&self, ids: std::ops::Range<u32>) {
        self.send(RAW, None, ids.map(|id| {
            let event = format!(
                r#"{{"rsvp_id":{id},"response":"yes","mtime":1425790000000,"group":{{"group_country":"us","group_topics":[{{"topic_name":"t{}"}}]}}}}"#,
                id % 7
            );
            (id.to_string(), event.into_bytes())
        }));
    }

    fn start(&mut self, queries: &str) {
        self.starts += 1;
        let config = self.directory.join("analyzer.toml");
        std::fs::write(&config, queries).expect("writing a configuration");
        let log = File::create(self.log()).expect("a log");
        let child = Command::new(binaries().join("analyzer"))
            .arg("--config")
            .arg(&config)
            .env("ANALYZER__KAFKA__BROKERS", self.broker.address())
            .env("ANALYZER__SNAPSHOT_INTERVAL_MS", "100")
            .env("ANALYZER__INSTANCE_ID", "analyzer-0")
            .env("ANALYZER__SERVICE__ADMIN", format!("127.0.0.1:{}", free_port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starting the analyzer");
        self.running = Some(child);
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("analyzer-{}.log", self.starts))
    }

    /// The result of a query that reflects so many records.
    fn result(&mut self, query: &str, records: u64) -> Value {
        eventually(&format!("{query} of {records} records"), || {
            let running = self.running.as_mut().expect("an analyzer was started");
            if let Some(status) = running.try_wait().expect("waiting for a child") {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                panic!("the analyzer has ended with {status}: {log}");
            }
            self.topics
                .read(RESULTS)
                .into_iter()
                .filter(|record| record.key.as_deref() == Some(query.as_bytes()))
                .map(|record| -> Value { serde_json::from_slice(&record.payload).expect("JSON") })
                .find(|result| result["version"] == records)
        })
    }

    /// Waits until the state that reflects so many records is stored by the analyzer that runs.
    fn await_stored(&mut self, records: i64) {
        eventually(&format!("a snapshot of {records} records"), || {
            let mut next = BTreeMap::new();
            for record in self.topics.read(STATE) {
                let key = String::from_utf8(record.key?).ok()?;
                if key.split('/').count() != 3 {
                    continue;
                }
                let Ok(manifest) = serde_json::from_slice::<Value>(&record.payload) else {
                    continue;
                };
                next.insert(record.partition, manifest["next_offset"].as_i64()?);
            }
            (next.values().sum::<i64>() >= records).then_some(())
        });
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        let mut child = self.running.take().expect("an analyzer was started");
        Process { pid: child.id().cast_signed(), name: "analyzer".to_owned() }.signal(signal);
        eventually("the analyzer's end", || child.try_wait().expect("waiting for a child")).code()
    }

    fn of_partials(&self) -> Vec<Record> {
        self.topics.read(PARTIALS)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_raw_topic_made_anew_is_refused_also_when_it_is_longer_than_what_was_counted() {
    let mut bed = Bed::new();
    bed.feed(0..200);
    bed.start(TOPICS_ALONE);
    bed.result("topics", 200);
    assert_eq!(bed.end(Signal::SIGTERM), Some(0));

    let deleted =
        bed.broker.administer(async |admin, options| admin.delete_topics(&[RAW], options).await);
    deleted.expect("deleting a topic");
    eventually("the topic is gone", || bed.topics.ends(RAW).is_none().then_some(()));
    bed.broker.create_topic(RAW, PARTITIONS);
    bed.feed(5_000..5_600);
    bed.start(TOPICS_ALONE);
    let mut child = bed.running.take().expect("it was started");
    let status = eventually("the analyzer refuses", || child.try_wait().expect("waiting"));
    assert!(!status.success(), "{status}");
    let log = std::fs::read_to_string(bed.log()).expect("a log");
    assert!(log.contains("was created anew") && log.contains(STATE), "{log}");
}

#[test]
fn two_configurations_by_turns_keep_each_others_counts_though_the_log_is_gone() {
    let mut bed = Bed::new();
    bed.feed(0..500);
    bed.start(TOPICS_AND_COUNTRIES);
    bed.result("countries", 500);
    bed.await_stored(500);
    bed.end(Signal::SIGKILL);

    // The log begins after what both queries have counted.
    let mut before = TopicPartitionList::new();
    for (partition, end) in bed.topics.ends(RAW).expect("the raw topic's ends") {
        before.add_partition_offset(RAW, partition, Offset::Offset(end)).expect("an offset");
    }
    let deleted =
        bed.broker.administer(async |admin, options| admin.delete_records(&before, options).await);
    deleted.expect("deleting records");

    // One that knows fewer queries goes further, stores that several times, and dies.
    bed.feed(500..1_000);
    bed.start(TOPICS_ALONE);
    bed.result("topics", 1_000);
    bed.await_stored(1_000);
    bed.feed(1_000..1_100);
    bed.result("topics", 1_100);
    bed.await_stored(1_100);
    bed.end(Signal::SIGKILL);

    bed.feed(900..1_200);
    bed.start(TOPICS_AND_COUNTRIES);
    for query in ["topics", "countries"] {
        let result = bed.result(query, 1_400);
        assert_eq!(result["total"], 1_200, "{result}");
        assert_eq!(result["duplicates"], 200, "{result}");
        assert_eq!(result["gaps"].as_array().map(Vec::len), Some(0), "{result}");
    }
    assert_eq!(bed.end(Signal::SIGTERM), Some(0));
}

#[test]
fn what_a_zombie_writes_last_is_not_what_a_compacted_topic_ends_on() {
    let mut bed = Bed::new();
    bed.feed(0..400);
    bed.start(TOPICS_ALONE);
    bed.result("topics", 400);
    bed.await_stored(400);
    bed.end(Signal::SIGKILL);
    let of_zombie: Vec<Record> = bed.of_partials();
    assert!(!of_zombie.is_empty());

    bed.start(TOPICS_ALONE);
    bed.feed(400..1_000);
    bed.result("topics", 1_000);
    assert_eq!(bed.end(Signal::SIGTERM), Some(0));

    // The first one wakes up and writes what it still had in hand.
    let partition = of_zombie[0].partition;
    let late = of_zombie.iter().map(|record| {
        let key = String::from_utf8(record.key.clone().expect("a key")).expect("text");
        (key, record.payload.clone())
    });
    bed.send(PARTIALS, Some(partition), late.collect::<Vec<_>>());
    let settings = AlterConfig::new(ResourceSpecifier::Topic(PARTIALS))
        .set("cleanup.policy", "compact")
        .set("min.cleanable.dirty.ratio", "0.001")
        .set("segment.ms", "500");
    let altered = bed
        .broker
        .administer(async |admin, options| admin.alter_configs([&settings], options).await);
    altered.expect("altering a topic");
    let key = of_zombie.last().expect("a record").key.clone();
    eventually("compaction keeps the zombie's last record of a key", || {
        // A segment is closed, and so can be compacted, when a later record comes.
        bed.send(PARTIALS, Some(partition), [("roll".to_owned(), b"x".to_vec())]);
        let standing = bed.of_partials();
        (standing.iter().filter(|record| record.key == key).count() == 1).then_some(())
    });

    bed.start(TOPICS_ALONE);
    bed.feed(1_000..1_001);
    let result = bed.result("topics", 1_001);
    assert_eq!(result["total"], 1_001, "{result}");
    assert_eq!(bed.end(Signal::SIGTERM), Some(0));
}
