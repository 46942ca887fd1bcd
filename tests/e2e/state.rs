//! What the analyzer leaves in Kafka, and what it makes of what it finds there.

use nix::sys::signal::Signal;
use pipeline_tests::{eventually, topics::Record};
use rdkafka::{Offset, TopicPartitionList};

use crate::analyzers::{Analyzers, PARTIALS, PARTITIONS, RAW, RSVP_TOPICS, STATE};

const TOPICS_AND_COUNTRIES: &str = r#"
[[query]]
name = "topics"
item = "/group/group_topics/*/topic_name"

[[query]]
name = "countries"
item = "/group/group_country"
"#;

#[test]
fn a_raw_topic_made_anew_is_refused_also_when_it_is_longer_than_what_was_counted() {
    let mut analyzers = Analyzers::new();
    analyzers.feed(0..200);
    analyzers.start(RSVP_TOPICS);
    analyzers.result("topics", 200);
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));

    let deleted = analyzers
        .broker
        .administer(async |admin, options| admin.delete_topics(&[RAW], options).await);
    deleted.expect("deleting a topic");
    eventually("the topic is gone", || analyzers.topics.ends(RAW).is_none().then_some(()));
    analyzers.broker.create_topic(RAW, PARTITIONS);
    analyzers.feed(5_000..5_600);
    analyzers.start(RSVP_TOPICS);
    assert_ne!(analyzers.await_end(), Some(0), "it refuses");
    let log = std::fs::read_to_string(analyzers.log()).expect("a log");
    assert!(log.contains("was created anew") && log.contains(STATE), "{log}");
}

#[test]
fn two_configurations_by_turns_keep_each_others_counts_though_the_log_is_gone() {
    let mut analyzers = Analyzers::new();
    analyzers.feed(0..500);
    analyzers.start(TOPICS_AND_COUNTRIES);
    analyzers.result("countries", 500);
    analyzers.await_stored(500);
    analyzers.end(Signal::SIGKILL);

    // The log begins after what both queries have counted.
    let mut before = TopicPartitionList::new();
    for (partition, end) in analyzers.topics.ends(RAW).expect("the raw topic's ends") {
        before.add_partition_offset(RAW, partition, Offset::Offset(end)).expect("an offset");
    }
    let deleted = analyzers
        .broker
        .administer(async |admin, options| admin.delete_records(&before, options).await);
    deleted.expect("deleting records");

    // One that knows fewer queries goes further, stores that several times, and dies.
    analyzers.feed(500..1_000);
    analyzers.start(RSVP_TOPICS);
    analyzers.result("topics", 1_000);
    analyzers.await_stored(1_000);
    analyzers.feed(1_000..1_100);
    analyzers.result("topics", 1_100);
    analyzers.await_stored(1_100);
    analyzers.end(Signal::SIGKILL);

    analyzers.feed(900..1_200);
    analyzers.start(TOPICS_AND_COUNTRIES);
    for query in ["topics", "countries"] {
        let result = analyzers.result(query, 1_400);
        assert_eq!(result["total"], 1_200, "{result}");
        assert_eq!(result["duplicates"], 200, "{result}");
        assert_eq!(result["gaps"].as_array().map(Vec::len), Some(0), "{result}");
    }
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));
}

#[test]
fn what_a_zombie_writes_last_is_not_what_a_compacted_topic_ends_on() {
    let mut analyzers = Analyzers::new();
    analyzers.feed(0..400);
    analyzers.start(RSVP_TOPICS);
    analyzers.result("topics", 400);
    analyzers.await_stored(400);
    analyzers.end(Signal::SIGKILL);
    let of_zombie: Vec<Record> = analyzers.topics.read(PARTIALS);
    assert!(!of_zombie.is_empty());

    analyzers.start(RSVP_TOPICS);
    analyzers.feed(400..1_000);
    analyzers.result("topics", 1_000);
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));

    // The first one wakes up and writes what it still had in hand.
    for partition in 0..PARTITIONS {
        let late = of_zombie.iter().filter(|record| record.partition == partition).map(|record| {
            let key = String::from_utf8(record.key.clone().expect("a key")).expect("text");
            (key, record.payload.clone())
        });
        analyzers.send(PARTIALS, Some(partition), late.collect::<Vec<_>>());
    }
    analyzers.broker.alter_topic(
        PARTIALS,
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("segment.ms", "500"),
        ],
    );
    let Record { key, partition, .. } = of_zombie.last().expect("a record");
    eventually("compaction keeps the zombie's last record of a key", || {
        // A segment is closed, and so can be compacted, when a later record comes.
        analyzers.send(PARTIALS, Some(*partition), [("roll".to_owned(), b"x".to_vec())]);
        let standing = analyzers.topics.read(PARTIALS);
        (standing.iter().filter(|record| record.key == *key).count() == 1).then_some(())
    });

    analyzers.start(RSVP_TOPICS);
    analyzers.feed(1_000..1_001);
    let result = analyzers.result("topics", 1_001);
    assert_eq!(result["total"], 1_001, "{result}");
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));
}
