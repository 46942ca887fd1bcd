use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn bytes() -> IntCounterVec {
    IntCounterVec::new(prometheus::Opts::new("bytes", "sent"), &["topic"]).unwrap()
}

fn config(brokers: &str) -> ClientConfig {
    common::kafka::Kafka { brokers: brokers.to_owned(), ..Default::default() }.producer().unwrap()
}

fn record<'a>(key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record { topic: "results", partition: Some(0), key, value: Some(value), header: None }
}

/// Keys and values in the partition, up to and including the record with the key `last`.
fn read_until(brokers: &str, last: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let kafka = common::kafka::Kafka { brokers: brokers.to_owned(), ..Default::default() };
    let consumer: BaseConsumer = kafka.consumer(None, None).unwrap().create().unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset("results", 0, Offset::Offset(0)).unwrap();
    consumer.assign(&start).unwrap();
    let mut found = Vec::new();
    while found.last().is_none_or(|(key, _): &(Vec<u8>, _)| key != last) {
        let message = consumer.poll(PATIENCE).expect("the record is there").unwrap();
        found.push((message.key().unwrap().to_vec(), message.payload().map(<[u8]>::to_vec)));
    }
    found
}

#[test]
fn records_arrive_in_order_and_settle_their_ticket() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("results", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let sent = bytes();
    let publisher =
        Publisher::new(&config(&brokers), CancellationToken::new(), sent.clone()).unwrap();
    let ticket = Ticket::new();
    assert!(ticket.acknowledged());
    for number in 0..1_000_u32 {
        publisher.send(record(&number.to_be_bytes(), b"value"), &ticket).unwrap();
    }
    publisher.send(Record { value: None, ..record(b"last", b"") }, &ticket).unwrap();
    publisher.flush(PATIENCE).unwrap();
    assert!(ticket.acknowledged());
    assert_eq!(sent.with_label_values(&["results"]).get(), 5_000);

    let mut expected: Vec<_> = (0..1_000_u32)
        .map(|number| (number.to_be_bytes().to_vec(), Some(b"value".to_vec())))
        .collect();
    expected.push((b"last".to_vec(), None));
    assert_eq!(read_until(&brokers, b"last"), expected);
}

#[test]
fn a_full_queue_makes_the_sender_wait_and_drops_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("results", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut small = config(&brokers);
    small.set("queue.buffering.max.messages", "2");
    let publisher = Publisher::new(&small, CancellationToken::new(), bytes()).unwrap();
    let ticket = Ticket::new();
    for number in 0..50_u32 {
        publisher.send(record(&number.to_be_bytes(), b"value"), &ticket).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();
    assert_eq!(read_until(&brokers, &49_u32.to_be_bytes()).len(), 50);
}

#[test]
fn a_stop_ends_the_wait_for_room() {
    // Nobody listens at this address, so the queue stays full.
    let mut small = config("127.0.0.1:1");
    small.set("queue.buffering.max.messages", "1");
    let stop = CancellationToken::new();
    let publisher = Publisher::new(&small, stop.clone(), bytes()).unwrap();
    let ticket = Ticket::new();
    publisher.send(record(b"1", b"value"), &ticket).unwrap();
    stop.cancel();
    let error = publisher.send(record(b"2", b"value"), &ticket).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert!(!ticket.acknowledged(), "the first record is still on its way");
    let error = publisher.flush(Duration::ZERO).unwrap_err();
    assert!(matches!(error, Error::NotFlushed { outstanding: 1, .. }), "{error}");
}

#[test]
fn a_record_that_is_too_large_says_which_and_what_to_do() {
    let mut small = config("127.0.0.1:1");
    small.set("message.max.bytes", "1000");
    let publisher = Publisher::new(&small, CancellationToken::new(), bytes()).unwrap();
    let ticket = Ticket::new();
    let error = publisher.send(record(b"topics/0/head", &[0; 2_000]), &ticket).unwrap_err();
    assert!(
        error.to_string().contains("topics/0/head") && error.to_string().contains("capacity"),
        "{error}"
    );
    assert!(ticket.acknowledged() && !error.retryable());
}

#[test]
fn after_a_refused_record_nothing_more_is_sent() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("results", 1, 1).unwrap();
    let publisher =
        Publisher::new(&config(&cluster.bootstrap_servers()), CancellationToken::new(), bytes())
            .unwrap();
    cluster.request_errors(
        rdkafka::types::RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let ticket = Ticket::new();
    publisher.send(record(b"1", b"value"), &ticket).unwrap();
    let error = publisher.flush(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Refused { topic, .. } if topic == "results"), "{error}");
    assert!(!ticket.acknowledged(), "what was refused is never acknowledged");
    assert!(matches!(publisher.send(record(b"2", b"value"), &ticket), Err(Error::Refused { .. })));
}
