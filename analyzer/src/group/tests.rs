use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;

const TOPIC: &str = "raw";
const PATIENCE: Duration = Duration::from_secs(30);

fn cluster() -> (MockCluster<'static, DefaultProducerContext>, Kafka) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    let kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
    (cluster, kafka)
}

fn produce(kafka: &Kafka, partition: i32, values: &[&str]) {
    let producer: BaseProducer = kafka.producer().unwrap().create().unwrap();
    for value in values {
        producer
            .send(BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(value))
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Polls until the membership changes, and returns the change.
fn next_change(consumer: &GroupConsumer) -> Change {
    loop {
        let Polled::Nothing = consumer.poll(Duration::from_millis(10)).unwrap() else {
            panic!("nothing is assigned, and yet something was read")
        };
        if let Some(change) = consumer.changes().into_iter().next() {
            return change;
        }
    }
}

fn next_value(consumer: &GroupConsumer) -> (i32, String) {
    loop {
        match consumer.poll(PATIENCE).unwrap() {
            Polled::Record(message) => {
                let text = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                return (message.partition(), text);
            }
            Polled::Nothing | Polled::End(_) => {}
            Polled::OutOfRange => panic!("the offset is in the log"),
        }
    }
}

#[test]
fn an_assignment_is_an_event_and_reading_starts_where_the_owner_says() {
    let (_cluster, kafka) = cluster();
    produce(&kafka, 0, &["a", "b", "c"]);
    let consumer = GroupConsumer::join(&kafka, "g", TOPIC, None, &[]).unwrap();
    assert_eq!(next_change(&consumer), Change::Assigned(vec![0, 1]));
    let marks = consumer.watermarks_until(0, &CancellationToken::new()).unwrap();
    assert_eq!(marks, Some(Watermarks { low: 0, high: 3 }));
    consumer.assign(&[(0, 2), (1, 0)]).unwrap();
    assert_eq!(next_value(&consumer), (0, "c".to_owned()));
    produce(&kafka, 1, &["d"]);
    assert_eq!(next_value(&consumer), (1, "d".to_owned()));
}

#[test]
fn a_second_member_leaves_both_with_one_partition() {
    let (_cluster, kafka) = cluster();
    let first = GroupConsumer::join(&kafka, "g", TOPIC, None, &[]).unwrap();
    assert_eq!(next_change(&first), Change::Assigned(vec![0, 1]));
    first.assign(&[(0, 0), (1, 0)]).unwrap();

    let second = GroupConsumer::join(&kafka, "g", TOPIC, None, &[]).unwrap();
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    while of_first.len() < 2 || of_second.is_empty() {
        for (member, seen) in [(&first, &mut of_first), (&second, &mut of_second)] {
            assert!(matches!(member.poll(Duration::from_millis(10)).unwrap(), Polled::Nothing));
            for change in member.changes() {
                if let Change::Assigned(partitions) = &change {
                    let starts: Vec<_> =
                        partitions.iter().map(|&partition| (partition, 0)).collect();
                    member.assign(&starts).unwrap();
                }
                seen.push(change);
            }
        }
    }
    assert_eq!(of_first[0], Change::Revoked { lost: false });
    let (Change::Assigned(one), Change::Assigned(other)) = (&of_first[1], &of_second[0]) else {
        panic!("{of_first:?} {of_second:?}")
    };
    let mut both = [one.as_slice(), other.as_slice()].concat();
    both.sort_unstable();
    assert_eq!((both, one.len()), (vec![0, 1], 1));
}

#[test]
fn a_position_that_is_not_in_the_log_is_reported_and_reading_can_continue() {
    let (_cluster, kafka) = cluster();
    produce(&kafka, 0, &["a"]);
    let consumer = GroupConsumer::join(&kafka, "g", TOPIC, None, &[]).unwrap();
    next_change(&consumer);
    consumer.assign(&[(0, 7), (1, 0)]).unwrap();
    while !matches!(consumer.poll(PATIENCE).unwrap(), Polled::OutOfRange) {}
    consumer.assign(&[(0, 0), (1, 0)]).unwrap();
    assert_eq!(next_value(&consumer), (0, "a".to_owned()));
}

#[test]
fn the_end_of_a_partition_is_reported_to_a_consumer_that_asks_for_it() {
    let (_cluster, kafka) = cluster();
    produce(&kafka, 0, &["a"]);
    let consumer =
        GroupConsumer::join(&kafka, "g", TOPIC, None, &[("enable.partition.eof", "true")]).unwrap();
    next_change(&consumer);
    consumer.assign(&[(0, 0), (1, 0)]).unwrap();
    let (mut values, mut ends) = (0, Vec::new());
    while ends.len() < 2 {
        match consumer.poll(PATIENCE).unwrap() {
            Polled::Record(_) => values += 1,
            Polled::End(partition) => ends.push(partition),
            Polled::Nothing => {}
            Polled::OutOfRange => panic!("the offsets are in the log"),
        }
    }
    ends.sort_unstable();
    assert_eq!((values, ends), (1, vec![0, 1]));
}

#[test]
fn the_lag_is_what_the_partition_has_beyond_the_last_record_that_was_polled() {
    let (_cluster, kafka) = cluster();
    produce(&kafka, 0, &["a", "b", "c"]);
    let consumer = GroupConsumer::join(&kafka, "g", TOPIC, None, &[]).unwrap();
    next_change(&consumer);
    consumer.assign(&[(0, 0), (1, 0)]).unwrap();
    assert_eq!(consumer.known_lag(0), None, "nothing is polled yet");
    assert_eq!(next_value(&consumer), (0, "a".to_owned()));
    // The statistics come once a second, in a poll, which may have the next record too.
    let mut polled = 1;
    while consumer.known_lag(0) != Some(0) {
        match consumer.poll(Duration::from_millis(10)).unwrap() {
            Polled::Record(_) => polled += 1,
            Polled::Nothing | Polled::End(_) => {}
            Polled::OutOfRange => panic!("the offset is in the log"),
        }
        assert!(consumer.known_lag(0).is_none_or(|lag| lag + polled >= 3), "{polled} polled");
    }
    assert_eq!(polled, 3);
}
