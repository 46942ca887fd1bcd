use std::collections::HashSet;
use std::sync::Arc;

use common::admin::Readiness;
use common::event::Reason;
use common::event::identity::Identity;
use common::message_log::Entry;
use rdkafka::mocking::MockCluster;

use super::*;
use crate::publisher::{Known, Publisher, Report};
use crate::traces::Traces;

fn entry(id: u64, reason: Option<Reason>) -> Entry {
    Entry {
        source: Arc::from("rsvps"),
        received_ms: 1_700_000_000_000,
        identity: Some(Identity {
            key: Some(id.to_string()),
            id: Some(id.to_string()),
            time_ms: None,
        }),
        reason,
        payload: bytes::Bytes::from_static(b"{}"),
    }
}

async fn publish(kafka: &Kafka, instance: &str, entries: &[(Sequence, Entry)]) -> Positions {
    let publisher = Publisher::new(
        kafka,
        instance,
        None,
        Readiness::default().condition("kafka"),
        Traces::default(),
    )
    .unwrap();
    for (sequence, entry) in entries {
        publisher.send(*sequence, entry, entry.received_ms).unwrap();
    }
    let (mut delivered, mut reached) = (Vec::new(), Positions::default());
    while delivered.len() < entries.len() {
        publisher.reports().some().await;
        let Known { reports, positions } = publisher.reports().take();
        delivered.extend(reports);
        reached.raise_all(&positions);
    }
    assert!(delivered.iter().all(|(_, report)| *report == Report::Delivered), "{delivered:?}");
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_this_log_are_found_and_those_of_others_are_not() {
    let cluster = MockCluster::new(1).unwrap();
    let mut kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
    kafka.topics.raw = "raw".to_owned();
    kafka.topics.dead_letters = "dead".to_owned();
    cluster.create_topic("raw", 3, 1).unwrap();
    cluster.create_topic("dead", 1, 1).unwrap();
    let sequence = |number: u64| number.to_string().parse::<Sequence>().unwrap();
    // There are gaps: 2, 4 and 6 never arrived.
    let mine = [
        (sequence(1), entry(1, None)),
        (sequence(3), entry(3, Some(Reason::NotJson))),
        (sequence(5), entry(5, None)),
        (sequence(7), entry(7, None)),
    ];
    let reached = publish(&kafka, "mine", &mine).await;

    let mut arrived = HashSet::new();
    let reader = Reader::new(&kafka).unwrap();
    let all = |topic: &str| {
        // The whole topic, because librdkafka's mock broker cannot look up offsets by time.
        let partitions = reader.partitions(topic).unwrap();
        reader.spans(topic, &partitions).unwrap()
    };
    for topic in [Topic::Raw, Topic::DeadLetters] {
        let (mut written, mut left) = (all(kafka.name(topic)), all(kafka.name(topic)));
        written.retain(|_, span| !span.is_empty());
        reached.shorten(topic, &mut left);
        assert!(!written.is_empty());
        assert!(left.values().all(|span| span.is_empty()), "nothing is left to search: {left:?}");
    }
    publish(&kafka, "other", &[(sequence(2), entry(2, None)), (sequence(4), entry(4, None))]).await;
    for topic in ["raw", "dead"] {
        let spans = all(topic);
        let look = |record: &BorrowedMessage<'_>| arrived.extend(own(record, "mine", |_| true));
        reader.read_to_end(topic, &spans, &CancellationToken::new(), look).unwrap();
    }
    let expected: HashSet<_> = mine
        .iter()
        .map(|(sequence, entry)| (*sequence, entry.source.clone(), entry.reason))
        .collect();
    assert_eq!(arrived, expected);
}

#[test]
fn only_a_complete_sequence_of_this_instance_is_recognised() {
    for (seq, found) in [
        ("a:7", true),
        ("b:7", false),
        ("a:x", false),
        ("a", false),
        ("a:", false),
        ("aa:7", false),
    ] {
        assert_eq!(sequence_of(seq.as_bytes(), "a").is_some(), found, "{seq}");
    }
}
