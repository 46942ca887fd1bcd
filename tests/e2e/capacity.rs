//! With too few counters the answer is approximate, and has the bound of its error.

use std::path::Path;

use pipeline_tests::{Sandbox, oracle::Oracle, recording, sandbox::scratch};

const CAPACITY: u64 = 200;

fn assert_bounded(path: &Path) {
    let truth = Oracle::of(recording::lines(path));
    assert!(truth.topics().distinct() > 4 * CAPACITY, "more topics than counters");
    let pipeline =
        Sandbox::builder().max().environment("ANALYZER__CAPACITY", &CAPACITY.to_string());
    let (results, _) = pipeline.recording(path).once().start().finish().results();
    let topics = &results["topics"];
    assert_eq!(topics.top.len(), crate::exact::TOP);
    topics.assert_bounded(&truth.topics(), CAPACITY);
    results["topics_30m"].assert_bounded(&truth.topics_of_last(1_800_000, 5_000), CAPACITY);
    assert!(
        topics.top.iter().any(|one| one.error > 0),
        "with so few counters some errors show: {:?}",
        topics.top
    );
    // There are fewer countries than counters, so they are still exact.
    results["countries"].assert_exact(&truth.countries(), crate::exact::TOP);
}

#[test]
fn with_few_counters_every_truth_lies_within_the_published_error() {
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 5_000, 21);
    assert_bounded(&path);
}

#[test]
fn with_few_counters_the_recording_of_2015_lies_within_the_published_error() {
    if let Some(path) = recording::shared("meetup-rsvps-2015.jsonl.gz") {
        assert_bounded(&path);
    }
}
