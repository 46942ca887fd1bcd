//! The answer is exact, whatever the recording looks like.

use std::path::Path;

use pipeline_tests::{
    Sandbox,
    oracle::Oracle,
    outcome::{Published, Summary},
    recording::{self, Scribe},
    sandbox::{Builder, scratch},
};

const HALF_AN_HOUR_MS: i64 = 1_800_000;
const SLIDE_MS: i64 = 5_000;
/// How many items a result has.
pub const TOP: usize = 50;

/// Runs a recording through the pipeline, and compares everything that is published with the oracle.
pub fn assert_exact(pipeline: Builder, path: &Path) -> Summary {
    let lines = recording::lines(path);
    let truth = Oracle::of(&lines);
    let outcome = pipeline.recording(path).once().start().finish();
    let (results, summary) = outcome.results();
    assert_results(&results, &truth);
    assert_eq!(summary.received, lines.len() as u64, "each line of the recording arrived");
    assert_eq!(
        summary.published - summary.duplicates,
        truth.events(),
        "published, less what came again"
    );
    assert_eq!(dead_letters(&summary), truth.bad, "dead letters: {:?}", summary.dead_letters);
    summary
}

/// Compares all three results with the oracle.
pub fn assert_results(results: &std::collections::BTreeMap<String, Published>, truth: &Oracle) {
    let names: Vec<&str> = results.keys().map(String::as_str).collect();
    assert_eq!(names, ["countries", "topics", "topics_30m"], "a line for every query");
    results["topics"].assert_exact(&truth.topics(), TOP);
    results["countries"].assert_exact(&truth.countries(), TOP);
    results["topics_30m"].assert_exact(&truth.topics_of_last(HALF_AN_HOUR_MS, SLIDE_MS), TOP);
}

pub fn dead_letters(summary: &Summary) -> u64 {
    summary.dead_letters.values().sum()
}

/// Compares the recording of 2015 with figures that were counted by people.
fn assert_known_answer(pipeline: Builder) {
    let Some(path) = recording::shared("meetup-rsvps-2015.jsonl.gz") else { return };
    let truth = Oracle::of(recording::lines(&path)).topics();
    assert_eq!(truth.total(), 21_078);
    assert_eq!(truth.distinct(), 4_020);
    let first = [("Social", 679), ("Social Networking", 440), ("New In Town", 414)];
    assert_eq!(truth.top(3), first.map(|(item, count)| (item.to_owned(), count)));
    assert_exact(pipeline, &path);
}

#[test]
fn the_recording_of_2015_gives_the_exact_answer_on_apache_kafka() {
    assert_known_answer(Sandbox::builder().max());
}

#[test]
fn the_recording_of_2015_gives_the_exact_answer_on_the_in_memory_broker() {
    assert_known_answer(Sandbox::builder().memory().max());
}

#[test]
fn a_hundred_thousand_events_with_redeliveries_give_the_exact_answer() {
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 100_000, 1);
    let truth = Oracle::of(recording::lines(&path));
    assert!(
        (15_000..30_000).contains(&truth.duplicates),
        "about a fifth are re-deliveries: {}",
        truth.duplicates
    );
    assert_exact(Sandbox::builder().max(), &path);
}

#[test]
fn a_recording_written_in_another_style_gives_the_same_answer() {
    let (_directory, path) = scratch();
    let plain = path.join("plain.jsonl");
    recording::synthesize(&plain, 4_000, 2);
    let mut scribe = Scribe::new(5);
    let mut bad = recording::bad_lines().into_iter();
    let mut lines = Vec::new();
    for (at, line) in recording::lines(&plain).iter().enumerate() {
        lines.push(scribe.write(line));
        if at % 100 == 7 {
            lines.extend(bad.next().map(|(line, _)| line));
        }
    }
    assert_eq!(bad.next(), None, "all bad lines are in between");
    let spelled = path.join("spelled.jsonl");
    recording::write(&spelled, &lines);
    let summary = assert_exact(Sandbox::builder().max(), &spelled);
    let mut reasons = std::collections::BTreeMap::new();
    for (_, reason) in recording::bad_lines() {
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    assert_eq!(summary.dead_letters, reasons);
}

#[test]
fn the_simulator_and_the_oracle_count_the_same() {
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    let truth = recording::synthesize(&path, 20_000, 3);
    assert_eq!(truth, Oracle::of(recording::lines(&path)).topics());
}
