//! Events that are read from files: each line once, whatever happens to the collector and to the file.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use pipeline_tests::{
    Sandbox, eventually,
    numbered::{await_in_kafka, lines},
    sandbox::scratch,
};

/// A configuration whose source reads `path`.
fn configuration(folder: &Path, path: &Path, keys: &str) -> PathBuf {
    let file = folder.join("file.toml");
    let text = format!("[source.log]\nkind = \"file\"\npath = {path:?}\n{keys}\n");
    fs::write(&file, text).expect("a file");
    file
}

fn add(path: &Path, numbers: std::ops::Range<u64>) {
    let mut file = fs::File::options().create(true).append(true).open(path).expect("the log");
    file.write_all(lines(numbers).as_bytes()).expect("writing");
}

/// Waits until all events below `end` are in Kafka, and checks that each is there once.
fn assert_once(sandbox: &mut Sandbox, end: u64) {
    let counts = await_in_kafka(sandbox, |found| found.len() as u64 == end);
    let twice: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
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
        // A round is written while the collector reads, or while it is away, or is rotated away.
        if round % 2 == 1 {
            eventually("the collector reads", || {
                let metrics = sandbox.metrics("collector")?;
                (metrics.sum("millrace_collector_source_connected") == 1.0).then_some(())
            });
        }
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
    let file = configuration(&folder, &path, "rate_limit = 2000");
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
