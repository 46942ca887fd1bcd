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
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tempfile::TempDir;

const GROUP: &str = "millrace-orders";

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

    let consumer: BaseConsumer =
        other.client().set("group.id", GROUP).create().expect("a consumer");
    eventually("all of it is committed", || {
        let mut list = TopicPartitionList::new();
        list.add_partition_range("orders", 0, 2);
        let committed = consumer.committed_offsets(list, Duration::from_secs(10)).ok()?;
        let at_end = |partition: i32| {
            let end =
                consumer.fetch_watermarks("orders", partition, Duration::from_secs(10)).ok()?.1;
            let at = committed.find_partition("orders", partition)?.offset();
            Some(at == Offset::Offset(end))
        };
        (0..3).all(|partition| at_end(partition) == Some(true)).then_some(())
    });
    sandbox.stop();
}
