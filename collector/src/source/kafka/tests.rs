use common::admin::Readiness;
use common::clock::Clock;
use common::event::{Reason, Schema};
use common::message_log::Sequence;
use prometheus::Registry;
use rdkafka::TopicPartitionList;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Source as _;
use super::super::connection::Connections;
use super::super::feed::following::{unready, until};
use super::*;
use crate::intake::{Queued, Queues};
use crate::metrics::Metrics;
use crate::receipt::Receipts;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A source that reads topics, with the journal's end of its queue.
struct Reading {
    messages: mpsc::Receiver<Queued>,
    receipts: Receipts,
    next: usize,
    metrics: KafkaMetrics,
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<End>,
}

impl Reading {
    fn of(section: &Section, own: &Cluster) -> Self {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (name, stop): (Arc<str>, _) = ("orders".into(), CancellationToken::new());
        let (source, of_kafka) = (metrics.of_source(&name), metrics.of_kafka(&name));
        let mut queues = Queues::default();
        let schema = Schema::default();
        let intake = queues.add(&name, &schema, &section.common, Clock::default(), source.clone());
        let readiness = Readiness::default();
        let connection = Connections::new(readiness.condition("source")).of(&name);
        let kafka = Kafka::new(&name, section, own, source, of_kafka.clone(), connection);
        let task = tokio::spawn(kafka.run(intake, None, stop.clone()));
        let messages = queues.into_queues().remove(0).messages;
        let (receipts, metrics) = (Receipts::default(), of_kafka);
        Self { messages, receipts, next: 0, metrics, readiness, stop, task }
    }

    /// The next message, and its sequence, with which it can be released.
    async fn next(&mut self) -> (String, Option<Reason>, Sequence) {
        let (message, receipt) = loop {
            let mut message = self.messages.recv().await.unwrap().sifted.message;
            // As the journal does.
            if let Some(receipt) = message.receipt.take().filter(|receipt| !receipt.is_given_up()) {
                break (message, receipt);
            }
        };
        let sequence = Sequence::from_opaque(self.next);
        self.next += 1;
        self.receipts.add(sequence, receipt, None);
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        (payload, message.identity.err(), sequence)
    }

    /// The next messages, which are safe then.
    async fn logged(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let (payload, _, sequence) = self.next().await;
            self.receipts.acknowledged(sequence);
            taken.push(payload);
        }
        taken
    }

    async fn unready(&self, text: &str) {
        unready(&self.readiness, text).await;
    }

    async fn stopped(self) {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap(), End::Stopped);
    }
}

fn cluster() -> Mock {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 2, 1).unwrap();
    cluster
}

fn section(cluster: &Mock) -> Section {
    Section {
        brokers: cluster.bootstrap_servers(),
        topics: ["orders".to_owned()].into(),
        group: "millrace".to_owned(),
        ..Section::default()
    }
}

fn settings(section: &Section) -> rdkafka::ClientConfig {
    section.cluster(&Cluster::default()).consumer(Some(&section.group), None).unwrap()
}

fn produce(section: &Section, payloads: &[Option<String>]) {
    let producer: BaseProducer = settings(section).create().unwrap();
    for payload in payloads {
        let record = BaseRecord::<str, str>::to("orders").partition(0).key("k");
        let record = match payload {
            Some(payload) => record.payload(payload.as_str()),
            None => record,
        };
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn orders(numbers: std::ops::Range<u32>) -> Vec<Option<String>> {
    numbers.map(|number| Some(format!(r#"{{"rsvp_id":{number}}}"#))).collect()
}

fn texts(orders: &[Option<String>]) -> Vec<String> {
    orders.iter().flatten().cloned().collect()
}

/// The committed position of partition 0.
async fn committed(section: &Section) -> rdkafka::Offset {
    let consumer: BaseConsumer = settings(section).create().unwrap();
    let asked = tokio::task::spawn_blocking(move || {
        let mut list = TopicPartitionList::new();
        list.add_partition("orders", 0);
        consumer.committed_offsets(list, ANSWER_TIMEOUT).unwrap().elements()[0].offset()
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_is_committed_and_the_next_process_goes_on_after_it() {
    let cluster = cluster();
    let section = section(&cluster);
    let mut all = orders(0..300);
    all.insert(7, None);
    produce(&section, &all);
    let mut reading = Reading::of(&section, &Cluster::default());
    assert_eq!(reading.logged(300).await, texts(&all));
    assert_eq!(reading.metrics.tombstones.get(), 1);
    assert!(reading.readiness.unmet().is_empty());
    reading.stopped().await;
    assert_eq!(committed(&section).await, rdkafka::Offset::Offset(301));

    let more = orders(300..310);
    produce(&section, &more);
    let mut reading = Reading::of(&section, &Cluster::default());
    assert_eq!(reading.logged(10).await, texts(&more));
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_logged_is_not_committed_and_comes_again() {
    let cluster = cluster();
    let section = section(&cluster);
    let all = orders(0..600);
    produce(&section, &all);
    let mut reading = Reading::of(&section, &Cluster::default());
    reading.logged(300).await;
    // The rest is taken, and never becomes safe.
    for _ in 0..300 {
        reading.next().await;
    }
    reading.stopped().await;
    let rdkafka::Offset::Offset(at) = committed(&section).await else { panic!("nothing") };
    assert!((256..=300).contains(&at), "{at}");
    let mut reading = Reading::of(&section, &Cluster::default());
    let rest = &texts(&all)[usize::try_from(at).unwrap()..];
    assert_eq!(reading.logged(rest.len()).await, rest);
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_what_was_taken_is_committed_already_and_does_not_come_again() {
    let cluster = cluster();
    let mut section = section(&cluster);
    section.common.delivery = crate::config::Delivery::AtMostOnce;
    let all = orders(0..1000);
    produce(&section, &all);
    let mut reading = Reading::of(&section, &Cluster::default());
    let first = reading.messages.recv().await.unwrap().sifted.message;
    assert!(first.receipt.is_none(), "nothing is waited for");
    let rdkafka::Offset::Offset(at) = committed(&section).await else { panic!("nothing") };
    assert!(at >= 1, "{at}");
    for _ in 1..1000 {
        reading.messages.recv().await.unwrap();
    }
    // A kill now would find this.
    assert_eq!(committed(&section).await, rdkafka::Offset::Offset(1000));
    reading.stopped().await;

    let more = orders(1000..1010);
    produce(&section, &more);
    let mut reading = Reading::of(&section, &Cluster::default());
    let mut taken = Vec::new();
    while taken.len() < 10 {
        let message = reading.messages.recv().await.unwrap().sifted.message;
        taken.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    assert_eq!(taken, texts(&more));
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_for_long_loses_nothing_and_keeps_the_order() {
    let cluster = cluster();
    let section = section(&cluster);
    let all = orders(0..4000);
    produce(&section, &all);
    let mut reading = Reading::of(&section, &Cluster::default());
    let full = reading.messages.max_capacity();
    let is_full = |reading: &Reading| reading.messages.len() == full;
    until(|| is_full(&reading)).await;
    // For several polls, after the first of which the partitions are paused.
    timeout(8 * POLL, until(|| !is_full(&reading))).await.unwrap_err();
    assert_eq!(reading.logged(4000).await, texts(&all));
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_safe_is_committed_at_a_stop_though_another_record_waits_for_room() {
    let cluster = cluster();
    let framing = crate::config::Framing::Lines;
    let section = Section { framing, ..section(&cluster) };
    let (mut all, large) = (orders(0..10), texts(&orders(10..3000)));
    all.push(Some(large.join("\n")));
    produce(&section, &all);
    let mut reading = Reading::of(&section, &Cluster::default());
    reading.logged(10).await;
    until(|| reading.messages.len() == reading.messages.max_capacity()).await;
    reading.stopped().await;
    assert_eq!(committed(&section).await, rdkafka::Offset::Offset(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_is_told_and_the_others_are_read() {
    for start in [crate::config::Start::Earliest, crate::config::Start::Latest] {
        let cluster = cluster();
        let section = Section { start, ..section(&cluster) };
        cluster.partition_leader("orders", 1, None).unwrap();
        let mut reading = Reading::of(&section, &Cluster::default());
        reading.unready("no leader answers for orders/1").await;
        let all = orders(0..10);
        produce(&section, &all);
        assert_eq!(reading.logged(10).await, texts(&all));
        cluster.partition_leader("orders", 1, Some(1)).unwrap();
        until(|| reading.readiness.unmet().is_empty()).await;
        reading.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_over_after_what_is_safe_also_while_the_queue_is_full() {
    let cluster = cluster();
    let section = section(&cluster);
    let all = orders(0..2000);
    produce(&section, &all);
    let mut first = Reading::of(&section, &Cluster::default());
    let logged = first.logged(300).await;
    until(|| first.messages.len() >= first.messages.max_capacity()).await;
    let mut second = Reading::of(&section, &Cluster::default());
    until(|| (first.metrics.assigned.get(), second.metrics.assigned.get()) == (1, 1)).await;
    let mut is_there: std::collections::BTreeSet<_> = logged.into_iter().collect();
    while is_there.len() < all.len() {
        let payload = tokio::select! {
            mut taken = first.logged(1) => taken.remove(0),
            mut taken = second.logged(1) => taken.remove(0),
        };
        is_there.insert(payload);
    }
    first.stopped().await;
    second.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_may_begin_at_what_comes_from_now_on() {
    let cluster = cluster();
    let section = Section { start: crate::config::Start::Latest, ..section(&cluster) };
    produce(&section, &orders(0..10));
    let mut reading = Reading::of(&section, &Cluster::default());
    until(|| reading.metrics.assigned.get() >= 2).await;
    produce(&section, &orders(10..11));
    assert_eq!(reading.logged(1).await, texts(&orders(10..11)));
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_may_hold_several_messages_and_one_that_is_too_large_is_a_dead_letter() {
    let cluster = cluster();
    let framing = crate::config::Framing::Lines;
    let section = Section { framing, max_message_bytes: 2000, ..section(&cluster) };
    let two = orders(0..2);
    let payloads = [Some(texts(&two).join("\n")), Some("x".repeat(2001)), Some(String::new())];
    produce(&section, &payloads);
    let mut reading = Reading::of(&section, &Cluster::default());
    assert_eq!(reading.logged(2).await, texts(&two));
    let (cut, why, _) = reading.next().await;
    assert_eq!((cut.len(), why), (1024, Some(Reason::TooLarge)));
    let (_, why, _) = reading.next().await;
    assert_eq!(why, Some(Reason::Empty));
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_that_is_published_is_not_read_also_by_another_address() {
    let cluster = cluster();
    let address = cluster.bootstrap_servers();
    let own = Cluster { brokers: address.clone(), ..Cluster::default() };
    let other = address.replace("127.0.0.1", "localhost");
    let raw = "raw-rsvps".to_owned();
    let section = Section { topics: [raw].into(), brokers: other, ..section(&cluster) };
    assert_ne!(section.brokers, own.brokers);
    let reading = Reading::of(&section, &own);
    reading.unready("come back for ever").await;
    reading.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_told_and_waited_for() {
    let cluster = cluster();
    let section = Section { topics: ["returns".to_owned()].into(), ..section(&cluster) };
    let reading = Reading::of(&section, &Cluster::default());
    reading.unready("create it").await;
    reading.stopped().await;
}
