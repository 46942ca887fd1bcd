//! Reads Kafka's topics from their beginning to the end that they had when the reading began.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::Headers as _,
};

use crate::eventually;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The names of all topics.
pub const NAMES: [&str; 7] = [
    "raw-rsvps",
    "raw-rsvps-dlq",
    "topn-rsvps-partials",
    "topn-rsvps-state",
    "topn-rsvps",
    "collector-cursors",
    "collector-acks",
];

/// The topics of one broker.
pub struct Topics {
    consumer: BaseConsumer,
}

/// A record, owned.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its headers, as text.
    pub headers: BTreeMap<String, String>,
    /// Its partition.
    pub partition: i32,
    /// Its timestamp, in milliseconds since 1970.
    pub time_ms: i64,
}

impl Topics {
    /// Connects to a broker.
    pub fn at(brokers: &str) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "tests-look-only")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a consumer");
        Self { consumer }
    }

    /// The end of every partition; `None` if the topic does not exist or the broker does not answer.
    pub fn ends(&self, topic: &str) -> Option<BTreeMap<i32, i64>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), TIMEOUT).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let end = |id| Some((id, self.consumer.fetch_watermarks(topic, id, TIMEOUT).ok()?.1));
        if partitions.is_empty() {
            None
        } else {
            partitions.iter().map(|partition| end(partition.id())).collect()
        }
    }

    /// All records of a topic.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        self.each(topic, |record| records.push(record));
        records
    }

    /// Shows each record that is in a topic now, but no control record, which tells what is missing.
    pub fn each(&self, topic: &str, mut show: impl FnMut(Record)) {
        let ends = eventually(&format!("the topic {topic}"), || self.ends(topic));
        let mut list = TopicPartitionList::new();
        for partition in ends.keys() {
            list.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
        }
        self.consumer.assign(&list).expect("assigning partitions");
        let wanted = |position: &TopicPartitionList| {
            // A position is the next offset to read. It also moves over offsets without a record (transaction markers,
            // records that were compacted away).
            position.elements().iter().any(|one| match one.offset() {
                Offset::Offset(at) => at < ends[&one.partition()],
                _ => ends[&one.partition()] > 0,
            })
        };
        eventually(&format!("all records of {topic}"), || {
            // A topic that is written to meanwhile has always another record.
            while wanted(&self.consumer.position().expect("a position"))
                && let Some(message) = self.consumer.poll(Duration::from_millis(100))
            {
                let message = match message {
                    Ok(message) => message,
                    // The client connects again by itself.
                    Err(KafkaError::MessageConsumption(
                        RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure,
                    )) => continue,
                    Err(error) => panic!("a record: {error}"),
                };
                if message.key() == Some(b"mr-control") {
                    continue;
                }
                let headers = message.headers().map(|headers| {
                    headers
                        .iter()
                        .map(|one| {
                            (
                                one.key.to_owned(),
                                String::from_utf8_lossy(one.value.unwrap_or_default()).into_owned(),
                            )
                        })
                        .collect()
                });
                show(Record {
                    key: message.key().map(<[u8]>::to_vec),
                    payload: message.payload().unwrap_or_default().to_vec(),
                    headers: headers.unwrap_or_default(),
                    partition: message.partition(),
                    time_ms: message.timestamp().to_millis().expect("a timestamp"),
                });
            }
            (!wanted(&self.consumer.position().expect("a position"))).then_some(())
        });
        self.consumer.unassign().expect("unassigning partitions");
    }
}
