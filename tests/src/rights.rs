//! Tries what a principal is allowed to do in Kafka: by doing it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, Statistics, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tokio::runtime::Runtime;

use crate::eventually;

/// What can be done with a topic.
pub const TOPIC_OPERATIONS: [&str; 7] =
    ["Describe", "DescribeConfigs", "Read", "Write", "Create", "Alter", "Delete"];
/// What can be done with a group.
pub const GROUP_OPERATIONS: [&str; 3] = ["Describe", "Read", "Delete"];

const ANSWER: Duration = Duration::from_secs(10);

/// A client that tries things as one principal.
pub struct Principal {
    settings: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl Principal {
    /// One that connects with these settings.
    pub fn new(settings: ClientConfig) -> Self {
        let admin = settings.create().expect("an administrator's client");
        Self { settings, admin, runtime: Runtime::new().expect("a runtime") }
    }

    /// Whether it may do this with a topic or a group that exists.
    pub fn may(&self, operation: &str, resource: &str, name: &str) -> bool {
        match (resource, operation) {
            ("topic", "Describe") => self.describe(name),
            ("topic", "Read") => self.read(name),
            ("topic", "Write") => self.write(name),
            ("topic", _) => self.administer(operation, name),
            ("group", "Describe") => self.fetch_offsets(name),
            ("group", "Read") => self.join(name),
            ("group", "Delete") => self.delete_group(name),
            _ => panic!("nothing is known about {operation} of a {resource}"),
        }
    }

    /// Tries to set how long a topic keeps records. Whether that was allowed shows in the topic alone, because rdkafka does
    /// not give the error.
    pub fn set_retention(&self, topic: &str, ms: &str) {
        let settings = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", ms);
        let altered = self.admin.alter_configs([&settings], &AdminOptions::new());
        self.runtime.block_on(altered).expect("an answer");
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut settings = self.settings.clone();
        settings
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("session.timeout.ms", "6000");
        settings.create().expect("a consumer")
    }

    fn describe(&self, topic: &str) -> bool {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ANSWER).expect("an answer");
        metadata.topics().first().is_some_and(|topic| topic.error().is_none())
    }

    fn read(&self, topic: &str) -> bool {
        // Reading contains describing; without it librdkafka does not even ask for records.
        if !self.describe(topic) {
            return false;
        }
        let consumer = self.consumer("millrace-no-group");
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
        consumer.assign(&all).expect("an assignment");
        eventually(&format!("an answer about reading {topic}"), || {
            match consumer.poll(Duration::from_millis(100))? {
                Ok(record) => Some(record.topic() == topic),
                Err(KafkaError::PartitionEOF(_)) => Some(true),
                Err(error) => refused(
                    error.rdkafka_error_code(),
                    &[RDKafkaErrorCode::TopicAuthorizationFailed],
                ),
            }
        })
    }

    fn write(&self, topic: &str) -> bool {
        let outcome = Arc::default();
        let context = Delivery(Arc::clone(&outcome));
        let producer: BaseProducer<Delivery> =
            self.settings.create_with_context(context).expect("a producer");
        let record =
            BaseRecord::<str, str>::to(topic).partition(0).key("nobody").payload("nothing");
        producer.send(record).map_err(|(error, _)| error).expect("room for a record");
        eventually(&format!("an answer about writing to {topic}"), || {
            producer.poll(Duration::from_millis(100));
            *outcome.lock().expect("a test's lock")
        })
    }

    fn administer(&self, operation: &str, topic: &str) -> bool {
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let only_checked = AdminOptions::new().request_timeout(Some(ANSWER)).validate_only(true);
        let resource = ResourceSpecifier::Topic(topic);
        let admin = &self.admin;
        let code = self.runtime.block_on(async {
            match operation {
                "DescribeConfigs" => {
                    let mut answer = admin.describe_configs([&resource], &options).await?;
                    // rdkafka does not give the error of a resource.
                    let refusal = RDKafkaErrorCode::TopicAuthorizationFailed;
                    Ok(match answer.remove(0) {
                        Ok(resource) => resource.entries.is_empty().then_some(refusal),
                        Err(code) => Some(code),
                    })
                }
                "Create" => {
                    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
                    let mut answer = admin.create_topics([&new], &only_checked).await?;
                    Ok(answer.remove(0).err().map(|(_, code)| code))
                }
                "Alter" => {
                    let more = NewPartitions::new(topic, 9);
                    let mut answer = admin.create_partitions([&more], &only_checked).await?;
                    Ok(answer.remove(0).err().map(|(_, code)| code))
                }
                "Delete" => {
                    let mut answer = admin.delete_topics(&[topic], &options).await?;
                    Ok(answer.remove(0).err().map(|(_, code)| code))
                }
                _ => panic!("nothing is known about {operation} of a topic"),
            }
        });
        let code: Option<RDKafkaErrorCode> =
            code.unwrap_or_else(|error: KafkaError| error.rdkafka_error_code());
        let refusals = [
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::ClusterAuthorizationFailed,
        ];
        match code {
            // That it exists already, or has so many partitions already, is said only to whoever may do it.
            None
            | Some(RDKafkaErrorCode::TopicAlreadyExists | RDKafkaErrorCode::InvalidPartitions) => {
                true
            }
            Some(_) => refused(code, &refusals)
                .unwrap_or_else(|| panic!("{operation} of {topic}: {code:?}")),
        }
    }

    fn fetch_offsets(&self, group: &str) -> bool {
        let consumer = self.consumer(group);
        let mut asked = TopicPartitionList::new();
        asked.add_partition("raw-rsvps", 0);
        let refusals = [RDKafkaErrorCode::GroupAuthorizationFailed];
        eventually(&format!("an answer about the offsets of {group}"), || {
            match consumer.committed_offsets(asked.clone(), Duration::from_secs(1)) {
                Ok(_) => Some(true),
                // librdkafka asks for the coordinator again and again, and tells the refusal in a poll.
                Err(error) => refused(error.rdkafka_error_code(), &refusals).or_else(|| {
                    let said = consumer.poll(Duration::from_millis(100))?.err()?;
                    refused(said.rdkafka_error_code(), &refusals)
                }),
            }
        })
    }

    fn join(&self, group: &str) -> bool {
        let consumer = self.consumer(group);
        // A client that sees no topic of its subscription does not even try to join; every tier sees one of these.
        consumer.subscribe(&["raw-rsvps", "topn-rsvps"]).expect("a subscription");
        eventually(&format!("an answer about joining {group}"), || {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Err(error)) => refused(
                    error.rdkafka_error_code(),
                    &[RDKafkaErrorCode::GroupAuthorizationFailed],
                ),
                _ => (consumer.assignment().is_ok_and(|some| some.count() > 0)).then_some(true),
            }
        })
    }

    fn delete_group(&self, group: &str) -> bool {
        let deleted =
            self.runtime.block_on(self.admin.delete_groups(&[group], &AdminOptions::new()));
        let code = match deleted {
            Ok(mut answer) => answer.remove(0).err().map(|(_, code)| code),
            Err(error) => error.rdkafka_error_code(),
        };
        match code {
            None | Some(RDKafkaErrorCode::NonEmptyGroup | RDKafkaErrorCode::GroupIdNotFound) => {
                true
            }
            Some(_) => refused(code, &[RDKafkaErrorCode::GroupAuthorizationFailed])
                .unwrap_or_else(|| panic!("deleting {group}: {code:?}")),
        }
    }
}

/// `false` if the error is one of these refusals; `None` if it says something else.
fn refused(code: Option<RDKafkaErrorCode>, refusals: &[RDKafkaErrorCode]) -> Option<bool> {
    code.filter(|code| refusals.contains(code)).map(|_| false)
}

/// Whether the record was written, once that is known.
struct Delivery(Arc<Mutex<Option<bool>>>);

impl ClientContext for Delivery {}

impl ProducerContext for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let written = match result {
            Ok(_) => true,
            Err((error, _)) => {
                refused(error.rdkafka_error_code(), &[RDKafkaErrorCode::TopicAuthorizationFailed])
                    .unwrap_or_else(|| panic!("writing: {error}"))
            }
        };
        *self.0.lock().expect("a test's lock") = Some(written);
    }
}

/// Writes so many bytes, and returns for how long the broker told the client to wait at most.
pub fn longest_throttle(mut settings: ClientConfig, topic: &str, bytes: usize) -> Duration {
    settings.set("statistics.interval.ms", "100").set("linger.ms", "5");
    let throttle = Arc::default();
    let context = Throttle(Arc::clone(&throttle));
    let producer: BaseProducer<Throttle> =
        settings.create_with_context(context).expect("a producer");
    let payload = vec![0_u8; 10_000];
    for _ in 0..bytes / payload.len() {
        let record = BaseRecord::<str, [u8]>::to(topic).key("none").payload(&payload);
        producer.send(record).map_err(|(error, _)| error).expect("room for a record");
    }
    eventually("all records are written", || {
        producer.poll(Duration::from_millis(100));
        (producer.in_flight_count() == 0).then_some(())
    });
    let longest_ms = throttle.load(Ordering::Relaxed);
    Duration::from_millis(longest_ms)
}

/// The longest throttle in milliseconds that the broker has asked for.
struct Throttle(Arc<AtomicU64>);

impl ClientContext for Throttle {
    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.values();
        let longest = brokers.filter_map(|one| one.throttle.as_ref()).map(|one| one.max).max();
        let longest = u64::try_from(longest.unwrap_or(0)).unwrap_or(0);
        self.0.fetch_max(longest, Ordering::Relaxed);
    }
}

impl ProducerContext for Throttle {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        result.as_ref().expect("a record is written");
    }
}
