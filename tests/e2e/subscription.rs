//! Events that are read from another topic: what is committed is in the log, whatever happens to the collector.

use std::{fs, path::PathBuf, time::Duration};

use pipeline_tests::{
    Sandbox,
    broker::Broker,
    eventually,
    numbered::{await_in_kafka, event},
    sandbox::scratch,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tempfile::TempDir;

const GROUP: &str = "millrace-orders";
/// How long Kafka may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A configuration that reads the topic `orders` of this broker.
fn configuration(brokers: &str) -> (TempDir, PathBuf) {
    let (directory, path) = scratch();
    let file = path.join("kafka.toml");
    let text = format!(
        "[source.orders]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"orders\"]\ngroup = \"{GROUP}\"\n"
    );
    fs::write(&file, text).expect("a file");
    (directory, file)
}

/// Sends events, and a tombstone after each hundred.
fn produce(producer: &BaseProducer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let payload = event(number);
        let key = number.to_string();
        let record = BaseRecord::to("orders").key(&key).payload(&payload);
        producer.send(record).expect("room in the queue");
        if number % 100 == 0 {
            let tombstone = BaseRecord::<str, str>::to("orders").key(&key);
            producer.send(tombstone).expect("room in the queue");
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).expect("all is in kafka");
}

fn consumer(broker: &Broker) -> BaseConsumer {
    broker.client().set("group.id", GROUP).create().expect("a consumer")
}

/// Waits until the group has committed the end of each partition.
fn await_committed(broker: &Broker, partitions: i32) {
    let consumer = consumer(broker);
    eventually("all of it is committed", || {
        let mut list = TopicPartitionList::new();
        list.add_partition_range("orders", 0, partitions - 1);
        let committed = consumer.committed_offsets(list, ANSWER).ok()?;
        let is_at_end = |partition: i32| {
            let end = consumer.fetch_watermarks("orders", partition, ANSWER).ok()?.1;
            let at = committed.find_partition("orders", partition)?.offset();
            Some(at == Offset::Offset(end))
        };
        (0..partitions).all(|partition| is_at_end(partition) == Some(true)).then_some(())
    });
}

#[test]
fn records_that_were_deleted_before_they_were_read_are_a_gap() {
    let other = Broker::start();
    other.create_topic("orders", 1);
    let position = |offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("orders", 0, Offset::Offset(offset)).expect("an offset");
        list
    };
    let producer: BaseProducer = other.client().create().expect("a producer");
    for number in 0..100 {
        let payload = event(number);
        producer.send(BaseRecord::<str, _>::to("orders").payload(&payload)).expect("room");
    }
    producer.flush(ANSWER).expect("all is in kafka");
    consumer(&other).commit(&position(10), CommitMode::Sync).expect("a position");
    let below = position(50);
    other
        .administer(async |admin, options| admin.delete_records(&below, options).await)
        .expect("records that can be deleted");
    let (_directory, file) = configuration(&other.address());
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let found = await_in_kafka(&mut sandbox, |found| found.len() == 50);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (50..100).collect::<Vec<_>>());
    let metrics = sandbox.metrics("collector").expect("metrics");
    assert_eq!(metrics.sum("millrace_collector_source_gaps_total"), 1.0);
    assert_eq!(metrics.sum("millrace_collector_kafka_lost_records_total"), 40.0);
    await_committed(&other, 1);
    sandbox.stop();
}

#[test]
fn records_of_an_aborted_transaction_are_not_taken() {
    let other = Broker::start();
    other.create_topic("orders", 1);
    let producer: BaseProducer =
        other.client().set("transactional.id", "shop").create().expect("a producer");
    producer.init_transactions(ANSWER).expect("transactions");
    for (numbers, is_meant) in [(0..100, false), (100..200, true), (200..300, false)] {
        producer.begin_transaction().expect("a transaction");
        for number in numbers {
            let payload = event(number);
            producer.send(BaseRecord::<str, _>::to("orders").payload(&payload)).expect("room");
        }
        producer.flush(ANSWER).expect("all is in kafka");
        if is_meant {
            producer.commit_transaction(ANSWER).expect("committed");
        } else {
            producer.abort_transaction(ANSWER).expect("aborted");
        }
    }
    // The end, before which all others are read.
    producer.begin_transaction().expect("a transaction");
    let last = event(300);
    producer.send(BaseRecord::<str, _>::to("orders").payload(&last)).expect("room");
    producer.commit_transaction(ANSWER).expect("committed");
    let (_directory, file) = configuration(&other.address());
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let found = await_in_kafka(&mut sandbox, |found| found.len() > 100);
    assert_eq!(
        found.keys().copied().collect::<Vec<_>>(),
        (100..200).chain([300]).collect::<Vec<_>>()
    );
    sandbox.stop();
}

#[test]
fn no_event_of_a_topic_is_lost_whenever_the_collector_is_killed() {
    let other = Broker::start();
    other.create_topic("orders", 3);
    let (_directory, file) = configuration(&other.address());
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let producer: BaseProducer = other.client().create().expect("a producer");
    let mut end = 0;
    for _ in 0..4 {
        let received = "millrace_collector_received_messages_total";
        produce(&producer, end..end + 20_000);
        end += 20_000;
        eventually("some of it is read", || {
            (sandbox.metrics("collector")?.sum(received) > 0.0).then_some(())
        });
        sandbox.kill9("collector");
    }
    // An event may be read twice.
    await_in_kafka(&mut sandbox, |found| found.len() as u64 == end);

    await_committed(&other, 3);
    sandbox.stop();
}
