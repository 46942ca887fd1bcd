//! `millrace discover`: what it says about files, pipes and servers, and that what it writes runs.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pipeline_tests::{
    Sandbox, binaries,
    oracle::{Feed, Id, Oracle, Unit},
    public_feed::{Protocol, PublicFeed},
    recording,
    sandbox::{run, scratch},
};
use serde_json::{Value, json};

use crate::exact::TOP;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/fixtures").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(fixture(name)).expect("a fixture");
    text.lines().map(str::to_owned).collect()
}

fn discover(arguments: &[&str]) -> Output {
    run("millrace", &[&["discover"], arguments].concat(), &[])
}

fn found(arguments: &[&str]) -> Value {
    let output = discover(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn every_shared_recording_is_understood_as_a_person_would() {
    let expected = [
        (
            "meetup-rsvps-2015.jsonl.gz",
            "/rsvp_id",
            "/mtime",
            "ms",
            "/group/group_topics/*/topic_name",
        ),
        ("bluesky-jetstream-2026.jsonl.gz", "/did", "/time_us", "us", "/commit/collection"),
        (
            "bitflyer-ticker-ws-2021.jsonl.gz",
            "/params/message/tick_id",
            "/params/message/timestamp",
            "rfc3339",
            "/params/channel",
        ),
        ("wikipedia-edits-2015.jsonl.gz", "/page", "/time", "rfc3339", "/channel"),
    ];
    for (name, id, time, unit, item) in expected {
        let Some(path) = recording::shared(name) else { continue };
        let found = found(&[text(&path)]);
        assert_eq!(found["id"][0], id, "{name}");
        assert_eq!(found["time"], json!({"path": time, "unit": unit}), "{name}");
        assert_eq!(found["items"][0], item, "{name}");
    }
}

#[test]
fn a_file_a_packed_one_and_a_pipe_give_the_same() {
    let (_directory, path) = scratch();
    let packed = path.join("meetup.jsonl.gz");
    recording::write(&packed, lines("meetup.jsonl"));
    let plain = found(&[text(&fixture("meetup.jsonl"))]);
    assert_eq!(plain, found(&[text(&packed)]));
    let mut child = Command::new(binaries().join("millrace"))
        .args(["discover", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starting millrace");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    for line in lines("meetup.jsonl") {
        writeln!(pipe, "{line}").expect("writing to a pipe");
    }
    drop(pipe);
    let output = child.wait_with_output().expect("its end");
    let piped: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(plain, piped);
    assert_eq!(found(&[text(&packed), "--events", "7"])["events"], 7);
}

#[test]
fn the_preset_of_a_recording_runs_at_once_and_counts_exactly() {
    let (_directory, path) = scratch();
    let preset = path.join("my.toml");
    let recorded = fixture("meetup.jsonl");
    let output = discover(&[text(&recorded), "--write", text(&preset)]);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("/group/group_topics/*/topic_name"),
        "{report}"
    );
    let again = discover(&[text(&recorded), "--write", text(&preset)]);
    assert_eq!(again.status.code(), Some(64), "it does not overwrite a file");

    let pipeline = Sandbox::builder().memory().argument("--preset").argument(&preset);
    let outcome = pipeline.once().start().finish();
    assert!(outcome.status.success(), "{:?}: {}", outcome.status, outcome.stderr);
    let (results, _) = outcome.results();
    let items = ["/group/group_topics/*/topic_name"];
    let feed =
        Feed { id: Id::Fields(&["/rsvp_id"]), time: Some(("/mtime", Unit::Ms)), items: &items };
    let truth = Oracle::of_feed(recording::lines(&recorded), &feed);
    results["topic_name"].assert_exact(&truth.answer(0), TOP);
}

#[test]
fn the_preset_of_a_socket_that_wants_a_message_first_runs() {
    let sent = r#"{"method":"subscribe","params":{"channel":"all"}}"#;
    let protocol = Protocol::Socket { subscriptions: 1, answer: None };
    let feed = PublicFeed::serve(protocol, lines("bitflyer.jsonl"));
    let url = feed.url("ws", "/json-rpc?token=secret");
    let (_directory, path) = scratch();
    let preset = path.join("my.toml");
    let output = discover(&[&url, "--send", sent, "--events", "60", "--write", text(&preset)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("secret"), "{said}");

    let pipeline = Sandbox::builder().memory().argument("--preset").argument(&preset).once();
    let outcome = pipeline.argument("--events").argument("60").start().finish();
    assert!(outcome.status.success(), "{:?}: {}", outcome.status, outcome.stderr);
    let (results, summary) = outcome.results();
    let items = ["/params/channel"];
    let shape = Feed { id: Id::Payload, time: None, items: &items };
    let truth = Oracle::of_feed(lines("bitflyer.jsonl"), &shape);
    results["channel"].assert_exact(&truth.answer(0), TOP);
    assert_eq!(summary.published, 60);
    assert!(feed.requests().iter().filter(|request| *request == sent).count() >= 2);
}

#[test]
fn each_kind_of_server_is_recognised() {
    let edits = lines("wikipedia.jsonl");
    let body = |content_type, stays_open, text: String| {
        PublicFeed::serve(Protocol::Body { content_type, stays_open }, vec![text])
    };
    let json = "application/json";
    let feeds = [
        (PublicFeed::serve(Protocol::Events { of: "message" }, edits.clone()), "sse", None),
        (PublicFeed::serve(Protocol::Polled { page: 60 }, edits.clone()), "long_poll", None),
        (body(json, true, edits.join("\n") + "\n"), "http_stream", None),
        (body(json, true, edits.concat() + " "), "http_stream", Some("concatenated")),
        (
            body(json, false, format!("{{\"data\":{{\"items\":[{}]}}}}", edits.join(","))),
            "long_poll",
            Some("/data/items"),
        ),
    ];
    for (feed, kind, framing) in feeds {
        let (_directory, path) = scratch();
        let preset = path.join("my.toml");
        let url = feed.url("http", "/a");
        let output = discover(&[&url, "--events", "60", "--json", "--write", text(&preset)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}: {said}");
        let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(
            (&found["events"], &found["time"]["path"]),
            (&json!(60), &json!("/time")),
            "{kind}"
        );
        let preset = std::fs::read_to_string(&preset).expect("a preset");
        assert!(preset.contains(&format!("kind = \"{kind}\"")), "{kind}: {preset}");
        match framing {
            Some(framing) => assert!(preset.contains(framing), "{preset}"),
            None => assert!(!preset.contains("framing"), "{preset}"),
        }
    }
}

#[test]
fn an_array_without_end_has_no_preset() {
    let array = Protocol::Body { content_type: "application/json", stays_open: true };
    let feed = PublicFeed::serve(array, vec![format!("[{},", lines("wikipedia.jsonl").join(","))]);
    let (_directory, path) = scratch();
    let preset = path.join("my.toml");
    let output = discover(&[&feed.url("http", "/a"), "--events", "60", "--write", text(&preset)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("does not end") && !preset.exists(), "{said}");
}

#[test]
fn what_is_no_feed_ends_with_a_reason_and_its_own_code() {
    let (_directory, path) = scratch();
    let file = |name: &str, content: &[u8]| {
        let file = path.join(name);
        std::fs::write(&file, content).expect("a file");
        text(&file).to_owned()
    };
    let deep = format!("{}\n", "[".repeat(100_000));
    let garbage: Vec<u8> =
        (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let page = PublicFeed::serve(
        Protocol::Body { content_type: "text/html", stays_open: false },
        vec!["<html>".to_owned()],
    );
    let quiet = PublicFeed::serve(Protocol::Socket { subscriptions: 1, answer: None }, Vec::new());
    let cases = [
        (file("empty", b""), 66, "is empty"),
        (path.join("none").display().to_string(), 66, "No such file"),
        (file("text", b"hello\nworld \x1b[2J\n"), 65, "hello"),
        (file("deep", deep.as_bytes()), 65, "too_deep"),
        (file("array", b"[{\"a\":1},{\"a\":2}]\n"), 65, "jq -c"),
        (file("garbage", &garbage), 65, "unknown format"),
        ("ftp://example.org/x".to_owned(), 64, "ws://"),
        ("http://".to_owned(), 64, "address"),
        ("http://127.0.0.1:1/".to_owned(), 69, "refused"),
        ("ws://127.0.0.1:1/".to_owned(), 69, "refused"),
        (page.url("http", "/"), 69, "web page"),
        (quiet.url("ws", "/"), 66, "--send"),
    ];
    for (feed, code, word) in cases {
        let output = discover(&[&feed, "--seconds", "1"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{feed}: {said}");
        assert!(said.contains(word), "{feed}: {said}");
        assert!(!said.contains('\u{1b}'), "{feed}: {said:?}");
        assert!(output.stdout.is_empty(), "{feed}");
    }
    let usage = discover(&["x", "--send", "y"]);
    assert_eq!(usage.status.code(), Some(64));
}

#[test]
fn the_table_fits_the_width_that_is_asked_for() {
    for columns in ["60", "80", "160"] {
        let output =
            run("millrace", &["discover", text(&fixture("meetup.jsonl"))], &[("COLUMNS", columns)]);
        let report = String::from_utf8(output.stdout).expect("text");
        let widest = report.lines().map(|line| line.chars().count()).max();
        assert!(widest <= columns.parse().ok(), "{widest:?} of {columns}:\n{report}");
    }
}
