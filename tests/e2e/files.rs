//! Events that are read from files: each line once, whatever happens to the collector and to the file.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use pipeline_tests::{Sandbox, eventually, sandbox::scratch, topics::Record};
use serde_json::Value;

/// A configuration whose source reads `path`.
fn configuration(folder: &Path, path: &Path, keys: &str) -> PathBuf {
    let file = folder.join("file.toml");
    let text = format!("[source.log]\nkind = \"file\"\npath = {path:?}\n{keys}\n");
    fs::write(&file, text).expect("a file");
    file
}

fn line(number: u64) -> String {
    format!(
        "{{\"rsvp_id\":{number},\"response\":\"yes\",\"mtime\":{},\"group\":{{\"group_topics\":[]}}}}\n",
        1_700_000_000_000 + number
    )
}

fn add(path: &Path, numbers: std::ops::Range<u64>) {
    let mut file = fs::File::options().create(true).append(true).open(path).expect("the log");
    let lines: String = numbers.map(line).collect();
    file.write_all(lines.as_bytes()).expect("writing");
}

/// How often each event is there.
fn counts(records: &[Record]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        let event: Value = serde_json::from_slice(&record.payload).expect("an event");
        *counts.entry(event["rsvp_id"].as_u64().expect("a number")).or_default() += 1;
    }
    counts
}

/// Waits until all events below `end` are in Kafka, and checks that each is there once.
fn assert_once(sandbox: &mut Sandbox, end: u64) {
    let topics = sandbox.topics();
    let records = eventually("all lines are in Kafka", || {
        let records = topics.read("raw-rsvps");
        (counts(&records).len() as u64 == end).then_some(records)
    });
    let twice: Vec<_> = counts(&records).into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let mut sequences: Vec<_> = records.iter().map(|record| &record.headers["mr-seq"]).collect();
    sequences.sort();
    sequences.dedup();
    assert_eq!(sequences.len(), records.len(), "a sequence is there twice");
}

#[test]
fn each_line_of_a_growing_file_is_in_kafka_once_whenever_the_collector_is_killed() {
    let (_directory, folder) = scratch();
    let path = folder.join("app.log");
    let file = configuration(&folder, &path, "follow = true");
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let mut end = 0;
    for round in 0..6 {
        let next = end + 20_000;
        // A round is written while the collector is there, or while it is away, or is rotated away.
        for start in (end..next).step_by(1_000) {
            add(&path, start..start + 1_000);
        }
        if round % 3 == 2 {
            fs::rename(&path, folder.join(format!("app.log.{round}"))).expect("rotating");
        }
        eventually("some of it is read", || {
            let metrics = sandbox.metrics("collector")?;
            (metrics.sum("millrace_collector_received_messages_total") > 0.0).then_some(())
        });
        sandbox.kill9("collector");
        end = next;
    }
    add(&path, end..end + 10);
    assert_once(&mut sandbox, end + 10);
    sandbox.stop();
}

#[test]
fn a_file_that_was_read_is_not_read_again_and_the_collector_is_ready() {
    let (_directory, folder) = scratch();
    let path = folder.join("recording.json");
    add(&path, 0..3_000);
    let file = configuration(&folder, &path, "rate = 2000");
    let mut sandbox = Sandbox::builder().argument("--config").argument(&file).start();
    let finished = |sandbox: &mut Sandbox| {
        eventually("the file is finished", || {
            let metrics = sandbox.metrics("collector")?;
            (metrics.sum("millrace_collector_file_finished") == 1.0).then_some(())
        });
    };
    eventually("some of it is read", || {
        let metrics = sandbox.metrics("collector")?;
        (metrics.sum("millrace_collector_received_messages_total") > 0.0).then_some(())
    });
    sandbox.kill9("collector");
    finished(&mut sandbox);
    sandbox.kill9("collector");
    finished(&mut sandbox);
    eventually("the collector is ready", || {
        sandbox.admin("collector", "/ready").filter(|(status, _)| *status == 200)
    });
    assert_once(&mut sandbox, 3_000);
    sandbox.stop();
}
