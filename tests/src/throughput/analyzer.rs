//! Measures how many RSVPs the analyzer counts per CPU-second, compared with a loop that only reads them.
//!
//! The RSVPs are in `raw-rsvps` (4 partitions, lz4) before anything is measured. The analyzer is the process that runs in
//! production, with the shipped queries. Its CPU time is that of all its threads, from the start of the process until a
//! published result counts the last record. The loop reads the same records with the same client settings.

use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    event::{Schema, identity::identify},
    kafka::{Kafka, Topic, header},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use serde::Deserialize;

use super::{Cost, PARTITIONS, RUN, Tier};
use crate::{
    binaries, broker::Broker, free_port, oracle::Answer, outcome::Published, process, recording,
    sandbox::scratch, topics::Topics, within,
};

/// A configuration with one query, which other systems can compute too, for comparisons.
const TOPICS_ALONE: &str = r#"
[[query]]
name = "topics"
kind = "top"
item = "/group/group_topics/*/topic_name"
n = 50
window = { kind = "running" }
"#;
/// What one run measured.
#[derive(Debug)]
pub struct Figures {
    /// Records read.
    pub rsvps: u32,
    /// Their mean size, in bytes.
    pub mean_bytes: u64,
    /// The analyzer with the shipped queries, from its start to the result that counts all records.
    pub analyzer: Cost,
    /// The analyzer with one query, which other systems can compute too: topics, since the beginning.
    pub topics_alone: Cost,
    /// The loop that reads the records and drops them.
    pub drop: Cost,
}

/// Writes this many RSVPs to Kafka, measures the loop and the analyzer, and compares the published results with the
/// exact answer.
pub fn measure(rsvps: u32) -> Figures {
    let broker = Broker::start();
    let kafka = Kafka { brokers: broker.address(), partitions: PARTITIONS, ..Kafka::default() };
    let (_directory, path) = scratch();
    let recording = path.join("synthetic.jsonl");
    let truth = recording::synthesize(&recording, rsvps, 97);
    let mean_bytes = std::fs::metadata(&recording).expect("the recording").len() / u64::from(rsvps);
    fill(&kafka, &recording);
    std::fs::remove_file(&recording).expect("removing the recording");
    let ends = Topics::at(&kafka.brokers).ends(&kafka.topics.raw).expect("the topic is there");
    assert_eq!(
        ends.values().sum::<i64>(),
        i64::from(rsvps),
        "all records are in {}",
        kafka.topics.raw
    );

    let drop = poll_and_drop(&kafka, &ends);
    let shipped = path.join("shipped.toml");
    std::fs::write(&shipped, "").expect("writing a configuration");
    let analyzer = analyze(&apart(&kafka, "shipped"), &shipped, &ends, &truth);
    let alone = path.join("alone.toml");
    std::fs::write(&alone, TOPICS_ALONE).expect("writing a configuration");
    let topics_alone = analyze(&apart(&kafka, "alone"), &alone, &ends, &truth);
    Figures { rsvps, mean_bytes, analyzer, topics_alone, drop }
}

/// Settings with the same topic of raw records, but with other topics than another analyzer has written to.
fn apart(kafka: &Kafka, name: &str) -> Kafka {
    let mut kafka = kafka.clone();
    for topic in [&mut kafka.topics.partials, &mut kafka.topics.state, &mut kafka.topics.results] {
        topic.push('-');
        topic.push_str(name);
    }
    kafka
}

/// Publishes a recording as the collector does.
fn fill(kafka: &Kafka, recording: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(kafka.ensure_topics(&[Topic::Raw], None)).expect("the topics");
    let producer: ThreadedProducer<DefaultProducerContext> =
        kafka.producer().expect("settings").create().expect("a producer");
    let schema = Schema::default();
    for (sequence, line) in recording::each_line(recording).enumerate() {
        let event = identify(&line, &schema).expect("the simulator makes events");
        let sequence = format!("bench:{sequence}");
        let headers = OwnedHeaders::new()
            .insert(Header { key: header::ID, value: event.id.as_ref() })
            .insert(Header { key: header::SOURCE, value: Some("bench") })
            .insert(Header { key: header::SEQ, value: Some(&sequence) });
        let key = event.key.as_deref().expect("an RSVP has a key");
        let mut record = BaseRecord::to(&kafka.topics.raw).key(key).payload(&line).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull),
                "producing"
            );
            producer.flush(Duration::from_millis(100)).ok();
            record = back;
        }
    }
    producer.flush(RUN).expect("all records are acknowledged");
}

fn poll_and_drop(kafka: &Kafka, ends: &std::collections::BTreeMap<i32, i64>) -> Cost {
    let consumer: BaseConsumer =
        kafka.consumer(None, None).expect("settings").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in ends.keys() {
        list.add_partition_offset(&kafka.topics.raw, *partition, Offset::Beginning)
            .expect("an offset");
    }
    let own = std::process::id().cast_signed();
    let (start, before) = (Instant::now(), process::cpu(own).expect("own CPU time"));
    consumer.assign(&list).expect("assigning partitions");
    let (mut left, mut bytes) = (ends.values().sum::<i64>(), 0);
    while left > 0 {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            bytes += message.expect("a record").payload_len();
            left -= 1;
        }
    }
    assert!(bytes > 0, "the records have payloads");
    Cost { cpu: process::cpu(own).expect("own CPU time") - before, wall: start.elapsed() }
}

#[derive(Deserialize)]
struct Reflected {
    query: String,
    offsets: HashMap<i32, i64>,
}

fn analyze(
    kafka: &Kafka,
    config: &Path,
    ends: &std::collections::BTreeMap<i32, i64>,
    truth: &Answer,
) -> Cost {
    let start = Instant::now();
    let mut analyzer = Tier::start(
        Command::new(binaries().join("analyzer"))
            .arg("--config")
            .arg(config)
            .env("ANALYZER__KAFKA__BROKERS", &kafka.brokers)
            .env("ANALYZER__KAFKA__TOPICS__PARTIALS", &kafka.topics.partials)
            .env("ANALYZER__KAFKA__TOPICS__STATE", &kafka.topics.state)
            .env("ANALYZER__KAFKA__TOPICS__RESULTS", &kafka.topics.results)
            .env("ANALYZER__SERVICE__ADMIN", format!("127.0.0.1:{}", free_port()))
            .env("ANALYZER__INSTANCE_ID", "bench"),
        config.with_extension("log"),
    );
    let complete = |payload: &[u8]| {
        // `None` for the record that names the stream, which is not a result.
        let reflected: Reflected = serde_json::from_slice(payload).ok()?;
        // Each offset is the last one that the result counts.
        let all = ends.iter().all(|(partition, end)| {
            *end == 0 || reflected.offsets.get(partition).is_some_and(|last| last + 1 >= *end)
        });
        (reflected.query == "topics" && all)
            .then(|| serde_json::from_slice::<Published>(payload).expect("a published result"))
    };
    let consumer: BaseConsumer = kafka
        .consumer(None, None)
        .expect("settings")
        .set("topic.metadata.refresh.interval.ms", "200")
        .create()
        .expect("a consumer");
    within(RUN, "the analyzer makes its topics", || {
        analyzer.assert_running();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).ok()?;
        metadata
            .topics()
            .iter()
            .any(|topic| topic.name() == kafka.topics.results && !topic.partitions().is_empty())
            .then_some(())
    });
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&kafka.topics.results, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigning a partition");
    let (result, cost) = within(RUN, "a result that reflects every record", || {
        analyzer.assert_running();
        let message = consumer.poll(Duration::from_millis(100))?.expect("a record");
        let cost = Cost { cpu: analyzer.cpu(), wall: start.elapsed() };
        Some((complete(message.payload()?)?, cost))
    });
    result.assert_exact(truth, 50);
    analyzer.stop();
    cost
}
