//! Any recording gives the exact answer, or an error that says what to do, but never a wrong answer.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use pipeline_tests::{
    Outcome, Sandbox, binaries,
    oracle::Oracle,
    outcome::Summary,
    recording,
    sandbox::{Builder, scratch},
};

use serde_json::Value;

use crate::exact::{assert_results, dead_letters};

/// Longer than the longest message that the collector accepts, and shorter than the longest line that the feed reads.
const TOO_LONG: usize = 21 << 20;

/// A small recording and its exact answer.
fn sample(directory: &Path, seed: u64) -> (Vec<Vec<u8>>, Oracle) {
    let path = directory.join(format!("sample-{seed}.jsonl"));
    recording::synthesize(&path, 1_000, seed);
    let lines = recording::lines(&path);
    let truth = Oracle::of(&lines);
    (lines, truth)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("packing")
}

/// Another event, which happened a day before.
fn a_day_older(line: &[u8]) -> Vec<u8> {
    const DAY_MS: i64 = 86_400_000;
    let mut event: Value = serde_json::from_slice(line).expect("a synthetic event");
    for (field, less) in [("mtime", DAY_MS), ("rsvp_id", DAY_MS * 1_000)] {
        event[field] = (event[field].as_i64().expect("a whole number") - less).into();
    }
    serde_json::to_vec(&event).expect("JSON")
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("running mkfifo");
    assert!(made.success(), "mkfifo");
}

/// Asserts that the answer of `up --once` is exact.
fn assert_answer(pipeline: Builder, truth: &Oracle) -> Summary {
    let outcome = pipeline.once().start().finish();
    let (results, summary) = outcome.results();
    assert_results(&results, truth);
    assert_eq!(summary.published - summary.duplicates, truth.events(), "events");
    assert_eq!(dead_letters(&summary), truth.bad, "dead letters: {:?}", summary.dead_letters);
    summary
}

fn assert_fails(pipeline: Builder, sentence: &str) -> Outcome {
    let outcome = pipeline.once().start().finish();
    assert_eq!(outcome.status.code(), Some(1), "the exit code");
    assert!(outcome.stderr.contains(sentence), "`{sentence}` is not in:\n{}", outcome.stderr);
    outcome
}

/// Runs `millrace up --once` with these arguments, in a directory of its own, for arguments that are refused before
/// anything starts.
fn up_once(arguments: &[&str]) -> Output {
    let (_directory, data) = scratch();
    Command::new(binaries().join("millrace"))
        .args(["up", "--once", "--memory", "--data-dir"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("running millrace")
}

#[test]
fn a_pipe_gives_the_exact_answer_on_the_in_memory_broker() {
    let (_scratch, directory) = scratch();
    let (lines, truth) = sample(&directory, 61);

    // Zstd through the standard input.
    let packed = directory.join("packed");
    let text = [lines.join(&b'\n'), b"\n".to_vec()].concat();
    let zstd = zstd::stream::encode_all(&text[..], 1).expect("packing");
    fs::write(&packed, zstd).expect("writing a recording");
    let mut writer =
        Command::new("cat").arg(&packed).stdout(Stdio::piped()).spawn().expect("starting cat");
    let pipe = writer.stdout.take().expect("stdout is piped");
    assert_answer(Sandbox::builder().memory().input(pipe).recording(Path::new("-")), &truth);
    assert!(writer.wait().expect("waiting for a child").success());

    // A FIFO; the lines end in carriage returns, and the last one has no newline.
    let path = directory.join("it's a \"fifo\"");
    fifo(&path);
    let (pipe, text) = (path.clone(), lines.join(&b"\r\n"[..]));
    let writer = std::thread::spawn(move || fs::write(pipe, text).expect("writing to a FIFO"));
    assert_answer(Sandbox::builder().memory().recording(&path), &truth);
    writer.join().expect("the writer");

    // A plain file as the standard input, by the name of that.
    let plain = File::open(directory.join("sample-61.jsonl")).expect("opening a recording");
    let stdin = Path::new("/dev/stdin");
    assert_answer(Sandbox::builder().memory().input(plain).recording(stdin), &truth);
}

#[test]
fn a_line_of_21_mib_is_skipped_and_counted_and_the_rest_is_exact() {
    let (_scratch, directory) = scratch();
    let (mut lines, truth) = sample(&directory, 62);
    let long = format!(r#"{{"rsvp_id":1,"response":"yes","pad":"{}"}}"#, "x".repeat(TOO_LONG));
    lines.insert(500, long.into_bytes());
    let path = directory.join("without an extension");
    fs::write(&path, gzip(&lines.join(&b'\n'))).expect("writing a recording");
    let summary = assert_answer(Sandbox::builder().memory().recording(&path), &truth);
    assert_eq!(summary.left_out, 1);
}

#[test]
fn a_recording_without_an_answer_is_an_error_with_the_reason() {
    let (_scratch, directory) = scratch();
    let write = |name: &str, content: &[u8]| -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, content).expect("writing a recording");
        path
    };
    let (lines, _) = sample(&directory, 63);

    let strange = write("strange.csv", b"time,member,group\n1,2,3\n");
    let sentence = "is an event: its first line is `time,member,group`";
    assert_fails(Sandbox::builder().memory().recording(&strange), sentence);

    let whole = gzip(&lines.join(&b'\n'));
    let cut = write("cut.gz", &whole[..whole.len() / 2]);
    let failed = assert_fails(Sandbox::builder().memory().recording(&cut), "is it whole?");
    assert!(failed.stdout.is_empty(), "no answer: {:?}", failed.stdout);

    let empty = write("empty", b"");
    assert_fails(Sandbox::builder().memory().recording(&empty), "is empty");
}

#[test]
fn a_file_that_is_not_a_recording_is_refused_before_anything_starts() {
    let (_scratch, directory) = scratch();
    let write = |name: &str, content: &[u8]| -> String {
        let path = directory.join(name);
        fs::write(&path, content).expect("writing a recording");
        path.to_str().expect("a temporary path is text").to_owned()
    };
    let utf16: Vec<u8> =
        "\u{feff}{\"rsvp_id\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = directory.to_str().expect("a temporary path is text");
    let good = write("good.jsonl", b"{\"rsvp_id\":1,\"response\":\"yes\"}\n");
    let recordings = [
        (write("it's.xz", b"\xfd7zXZ\0\0\x04"), "xz -dc '"),
        (write("xz without extension", b"\xfd7zXZ\0\0\x04"), "packed with xz"),
        (write("b.bz2", b"BZh91AY&SY"), "bzip2 -dc "),
        (write("z.zip", b"PK\x03\x04\x14\0"), "unzip -p "),
        (write("utf16.jsonl", &utf16), "iconv -f UTF-16 -t UTF-8 "),
        (write("array.json", b"[\n{\"rsvp_id\":1},\n{\"rsvp_id\":2}\n]\n"), "jq -c '.[]' "),
        (folder.to_owned(), "is a folder; name one file"),
        ("/nowhere/rsvps.jsonl".to_owned(), "cannot open the recording /nowhere/rsvps.jsonl"),
    ];
    for (recording, sentence) in recordings {
        let said = up_once(&["--recording", &recording]);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(64), "{recording}: {stderr}");
        assert!(stderr.contains(sentence), "{recording}: `{sentence}` is not in: {stderr}");
        assert!(said.stdout.is_empty(), "{recording}: no answer");
    }
    for rate in ["0", "-1", "nan", "inf"] {
        let said = up_once(&["--recording", &good, "--rate", rate]);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(64), "--rate {rate}: {stderr}");
        assert!(stderr.contains("the rate must be above 0"), "--rate {rate}: {stderr}");
    }
}

#[test]
fn an_answer_that_nobody_reads_is_an_error_and_not_a_panic() {
    let (_scratch, directory) = scratch();
    sample(&directory, 64);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let said = Command::new(binaries().join("millrace"))
        .args(["up", "--once", "--memory", "--data-dir"])
        .arg(directory.join("data"))
        .arg("--recording")
        .arg(directory.join("sample-64.jsonl"))
        .stdin(Stdio::null())
        .stdout(writer)
        .output()
        .expect("running millrace");
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write to stdout"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_pipe_gives_the_exact_answer_on_apache_kafka_although_the_collector_is_killed() {
    let (_scratch, directory) = scratch();
    let (newer, truth) = sample(&directory, 65);
    // The data are those of an earlier run with newer events, so its cursor must not be used for this one.
    let lines: Vec<Vec<u8>> = newer.iter().map(|line| a_day_older(line)).collect();
    let all = Oracle::of(newer.iter().chain(&lines));
    let (known, total) = (truth.topics().total(), all.topics().total());

    let mut sandbox =
        Sandbox::builder().recording(&directory.join("sample-65.jsonl")).once().start();
    let pipe = directory.join("fifo");
    fifo(&pipe);
    let (target, text) = (pipe.clone(), lines.join(&b'\n'));
    let writer = std::thread::spawn(move || fs::write(target, text).expect("writing to a FIFO"));
    let next = Sandbox::builder().recording(&pipe).rate(400).once();
    let first = sandbox.finish_and_restart(next);
    assert!(first.status.success(), "the newer recording: {}", first.status);
    for quarter in 1..=3 {
        sandbox.await_total("topics", known + (total - known) * quarter / 4);
        sandbox.kill9("collector");
    }
    let (results, summary) = sandbox.finish().results();
    assert_results(&results, &all);
    assert_eq!(dead_letters(&summary), 0);
    writer.join().expect("the writer");
}

#[test]
fn up_waits_for_a_fifo_that_nobody_writes_to_and_can_be_stopped() {
    let (_scratch, directory) = scratch();
    let path = directory.join("fifo");
    fifo(&path);
    let mut sandbox = Sandbox::builder().memory().recording(&path).once().start();
    sandbox.process("collector");
    let outcome = sandbox.stop();
    assert_eq!(outcome.status.code(), Some(130), "{}", outcome.stderr);
    assert!(outcome.stdout.is_empty(), "no answer: {:?}", outcome.stdout);
}
