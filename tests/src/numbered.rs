//! Events with numbers, by which it is seen whether one is missing, or there twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Sandbox, eventually, topics::Topics};

/// The event with this number, as JSON.
pub fn event(number: u64) -> String {
    let time = 1_700_000_000_000 + number;
    format!(
        r#"{{"rsvp_id":{number},"response":"yes","mtime":{time},"group":{{"group_topics":[]}}}}"#
    )
}

/// The events with these numbers, one a line.
pub fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| event(number) + "\n").collect()
}

/// Waits until the raw topic holds what is wanted of the numbers in it, and returns how often each is there. No entry of a
/// log may be there twice.
pub fn await_in_kafka(
    sandbox: &mut Sandbox,
    are_wanted: impl Fn(&BTreeMap<u64, usize>) -> bool,
) -> BTreeMap<u64, usize> {
    let topics = sandbox.topics();
    eventually("the events are in Kafka", || {
        let counts = in_topic(&topics);
        are_wanted(&counts).then_some(counts)
    })
}

/// How often each number is in the raw topic. No entry of a log may be there twice.
pub fn in_topic(topics: &Topics) -> BTreeMap<u64, usize> {
    let records = topics.read("raw-rsvps");
    let mut counts = BTreeMap::new();
    for record in &records {
        let event: Value = serde_json::from_slice(&record.payload).expect("an event");
        *counts.entry(event["rsvp_id"].as_u64().expect("a number")).or_default() += 1;
    }
    let entries: BTreeSet<_> = records.iter().map(|record| &record.headers["mr-seq"]).collect();
    assert_eq!(entries.len(), records.len(), "an entry of the log is there twice");
    counts
}
