//! Apache Kafka with events that a test writes itself, and analyzers on it one after another.

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
    topics::Topics,
};
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use serde_json::Value;
use tempfile::TempDir;

pub const RAW: &str = "raw-rsvps";
pub const PARTIALS: &str = "topn-rsvps-partials";
pub const STATE: &str = "topn-rsvps-state";
const RESULTS: &str = "topn-rsvps";
pub const PARTITIONS: i32 = 4;
/// A configuration that ranks the topics of RSVPs.
pub const RSVP_TOPICS: &str = r#"
[[query]]
name = "topics"
item = "/group/group_topics/*/topic_name"
"#;
const FLUSH: Duration = Duration::from_secs(60);

/// Apache Kafka, and analyzers on it one after another.
pub struct Analyzers {
    pub broker: Broker,
    pub topics: Topics,
    directory: PathBuf,
    running: Option<Child>,
    starts: u32,
    _directory: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A record as a test writes it.
pub struct Written {
    pub key: String,
    pub value: Vec<u8>,
    /// Its CreateTime; the producer's time if there is none.
    pub time_ms: Option<i64>,
}

/// Why Kafka refused records.
#[derive(Default)]
struct Refusals(Mutex<Vec<KafkaError>>);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivered {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error.clone());
        }
    }
}

impl From<(String, Vec<u8>)> for Written {
    fn from((key, value): (String, Vec<u8>)) -> Self {
        Self { key, value, time_ms: None }
    }
}

/// One broker at a time: three at once would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Analyzers {
    pub fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = Broker::start();
        let (guard, directory) = scratch();
        let topics = Topics::at(&broker.address());
        let analyzers = Self {
            broker,
            topics,
            directory,
            running: None,
            starts: 0,
            _directory: guard,
            _alone: alone,
        };
        analyzers.broker.create_topic(RAW, PARTITIONS);
        analyzers
    }

    /// Writes records, each with its key and its time, or the present one.
    pub fn send<R: Into<Written>>(
        &self,
        topic: &str,
        partition: Option<i32>,
        records: impl IntoIterator<Item = R>,
    ) {
        let producer: BaseProducer<Refusals> =
            self.broker.client().create_with_context(Refusals::default()).expect("a producer");
        for Written { key, value, time_ms } in records.into_iter().map(Into::into) {
            let mut record = BaseRecord::to(topic).key(&key).payload(&value);
            (record.partition, record.timestamp) = (partition, time_ms);
            producer.send(record).map_err(|(error, _)| error).expect("sending");
            producer.poll(Duration::ZERO);
        }
        producer.flush(FLUSH).expect("all records are acknowledged");
        let refused = &producer.context().0;
        assert_eq!(*refused.lock().unwrap_or_else(PoisonError::into_inner), []);
    }

    /// Writes the RSVPs `ids`, each to one of seven topics.
    pub fn feed(&self, ids: std::ops::Range<u32>) {
        self.send(RAW, None, ids.map(|id| {
            let rsvp = format!(
                r#"{{"rsvp_id":{id},"response":"yes","mtime":1425790000000,"group":{{"group_country":"us","group_topics":[{{"topic_name":"t{}"}}]}}}}"#,
                id % 7
            );
            (id.to_string(), rsvp.into_bytes())
        }));
    }

    /// Starts an analyzer with this configuration.
    pub fn start(&mut self, text: &str) {
        self.starts += 1;
        let config = self.directory.join("analyzer.toml");
        std::fs::write(&config, text).expect("writing a configuration");
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

    /// Where the newest analyzer logs.
    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("analyzer-{}.log", self.starts))
    }

    /// The result of a query that reflects so many offsets.
    pub fn result(&mut self, query: &str, records: u64) -> Value {
        eventually(&format!("{query} of {records} offsets"), || {
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
    pub fn await_stored(&mut self, records: i64) {
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

    /// Ends the analyzer that runs, and returns its exit code.
    pub fn end(&mut self, signal: Signal) -> Option<i32> {
        let child = self.running.as_ref().expect("an analyzer was started");
        Process { pid: child.id().cast_signed(), name: "analyzer".to_owned() }.signal(signal);
        self.await_end()
    }

    /// Waits until the analyzer that runs ends by itself, and returns its exit code.
    pub fn await_end(&mut self) -> Option<i32> {
        let code = eventually("the analyzer's end", || self.exit_code());
        self.running = None;
        code
    }

    /// The exit code of the analyzer that was started last; `None` while it runs. The inner one is `None` if a signal
    /// ended it.
    pub fn exit_code(&mut self) -> Option<Option<i32>> {
        let child = self.running.as_mut().expect("an analyzer was started");
        child.try_wait().expect("waiting for a child").map(|status| status.code())
    }
}

impl Drop for Analyzers {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
