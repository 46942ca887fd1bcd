//! Events that are read from another topic: what is committed is in the log, whatever happens to the collector.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox, binaries,
    broker::Broker,
    eventually, free_port,
    numbered::{await_in_kafka, event},
    process::Process,
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

/// Waits until the group has so many members that have partitions.
fn await_members(broker: &Broker, members: usize) {
    let consumer = consumer(broker);
    eventually("the group has its members", || {
        let found = consumer.fetch_group_list(Some(GROUP), ANSWER).ok()?;
        let group = found.groups().first()?;
        (group.state() == "Stable" && group.members().len() == members).then_some(())
    });
}

/// A collector beside the one of a sandbox, which publishes to the same topics; killed when it is dropped.
struct Second {
    child: Child,
    _log: TempDir,
}

impl Second {
    fn start(sandbox: &mut Sandbox) -> Self {
        let first = sandbox.process("collector");
        let (log, path) = scratch();
        let child = Command::new(binaries().join("collector"))
            .args(&first.arguments()[1..])
            .env_clear()
            .envs(first.environment())
            .env("COLLECTOR__LOG__PATH", path.join("log"))
            .env("COLLECTOR__SERVICE__ADMIN", format!("127.0.0.1:{}", free_port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting a second collector");
        Self { child, _log: log }
    }

    /// Stops it, as Kubernetes would.
    fn stop(mut self) {
        let pid = self.child.id().cast_signed();
        Process { pid, name: "collector".to_owned() }.signal(Signal::SIGTERM);
        let end = eventually("the second collector's end", || {
            self.child.try_wait().expect("waiting for a child")
        });
        assert!(end.success(), "{end}");
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn collectors_of_one_group_divide_the_partitions_and_lose_nothing_when_one_comes_or_goes() {
    let other = Broker::start();
    other.create_topic("orders", 4);
    let (_directory, file) = configuration(&other.address());
    let producer: BaseProducer = other.client().create().expect("a producer");
    produce(&producer, 0..20_000);
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    await_members(&other, 1);
    let second = Second::start(&mut sandbox);
    // While the first one reads.
    await_members(&other, 2);
    produce(&producer, 20_000..40_000);
    second.stop();
    await_members(&other, 1);
    produce(&producer, 40_000..60_000);
    await_in_kafka(&mut sandbox, |found| found.len() == 60_000);
    await_committed(&other, 4);
    sandbox.stop();
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
