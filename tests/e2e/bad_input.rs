//! Whatever a source sends, the stream continues, and a payload that is not an event is in the dead-letter topic, with
//! its reason.

use std::collections::BTreeMap;

use pipeline_tests::{
    Sandbox, eventually, feed::Feed, oracle::Oracle, recording, sandbox::scratch,
};
use tokio_tungstenite::tungstenite::Message;

const DEAD_LETTERS: &str = "raw-rsvps-dlq";
const SIXTEEN_MIB: usize = 16 << 20;

type Letters = BTreeMap<(Vec<u8>, String), usize>;

/// The dead letters with their reasons, counted.
fn letters(sandbox: &mut Sandbox) -> Letters {
    let mut letters = Letters::new();
    for record in sandbox.topics().read(DEAD_LETTERS) {
        let reason = record.headers.get("mr-reason").expect("a dead letter has a reason").clone();
        *letters.entry((record.payload, reason)).or_default() += 1;
    }
    letters
}

#[test]
fn each_bad_line_is_a_dead_letter_with_its_reason_byte_for_byte() {
    let (_directory, path) = scratch();
    let path = path.join("bad.jsonl");
    recording::synthesize(&path, 1_000, 41);
    let good = recording::lines(&path);
    let (before, after) = good.split_at(500);
    let bad = recording::bad_lines();
    let lines = before.iter().chain(bad.iter().map(|(line, _)| line)).chain(after);
    recording::write(&path, lines.map(Vec::as_slice).collect::<Vec<_>>());

    let mut sandbox = Sandbox::builder().recording(&path).rate(2_000).start();
    sandbox.await_total("topics", Oracle::of(&good).topics().total());
    let mut wanted = Letters::new();
    for (line, reason) in bad {
        *wanted.entry((line, reason.to_owned())).or_default() += 1;
    }
    let found = eventually("all dead letters", || {
        let found = letters(&mut sandbox);
        (found.values().sum::<usize>() >= wanted.values().sum()).then_some(found)
    });
    let reasons = |letters: &Letters| -> Vec<(String, String, usize)> {
        let show = |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        letters.iter().map(|((line, reason), count)| (show(line), reason.clone(), *count)).collect()
    };
    assert_eq!(reasons(&found), reasons(&wanted));
    assert_eq!(found, wanted, "payloads, byte for byte");
}

#[test]
fn the_recorded_bad_lines_stop_nothing() {
    let Some(bad) = recording::shared("meetup-bad-lines.txt") else { return };
    let (_directory, path) = scratch();
    let path = path.join("with-bad-lines.jsonl");
    recording::synthesize(&path, 200, 42);
    let good = recording::lines(&path);
    let (before, after) = good.split_at(100);
    let bad = recording::lines(&bad);
    recording::write(&path, before.iter().chain(&bad).chain(after));
    let summary = crate::exact::assert_exact(Sandbox::builder().max(), &path);
    assert_eq!(summary.received, 200 + bad.len() as u64);
    assert!(
        summary.dead_letters["not_json"] >= 1,
        "headers and a truncated line: {:?}",
        summary.dead_letters
    );
}

/// Messages that are larger or deeper than any that a feed should send, and others that are not events; a good event is
/// last.
fn monsters(round: u64) -> Vec<Message> {
    let huge =
        format!(r#"{{"rsvp_id":{round},"response":"yes","pad":"{}"}}"#, "x".repeat(SIXTEEN_MIB));
    let deep = recording::deep(100_000);
    vec![
        Message::text(huge),
        Message::text(deep.clone()),
        Message::binary(deep.into_bytes()),
        Message::binary(b"\xff\xfe{}".to_vec()),
        Message::text(""),
        Message::text("null"),
        Message::text(good(round, "after")),
    ]
}

fn good(round: u64, topic: &str) -> String {
    format!(
        r#"{{"rsvp_id":{},"response":"yes","mtime":{round},"group":{{"group_topics":[{{"topic_name":"{topic}"}}]}}}}"#,
        1_000 + round
    )
}

#[test]
fn a_message_of_sixteen_mebibytes_is_a_dead_letter_and_memory_does_not_grow() {
    const ROUNDS: u64 = 36;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let feed = runtime.block_on(Feed::listen());
    let mut sandbox =
        Sandbox::builder().environment("COLLECTOR__SOURCE__RSVPS__URL", &feed.url()).start();

    let mut resident = Vec::new();
    for round in 0..ROUNDS {
        feed.send(monsters(round));
        // The good event after the bad messages is counted, so the stream has continued.
        sandbox.await_total("topics", round + 1);
        resident.push(sandbox.process("collector").resident_kib().expect("the collector's memory"));
    }
    let result = sandbox.await_total("topics", ROUNDS);
    assert_eq!(
        result.total, ROUNDS,
        "each good event counts once, however often the feed had to start again"
    );

    let found = letters(&mut sandbox);
    let counted = |reason: &str| {
        found
            .iter()
            .filter(|((_, found), _)| found == reason)
            .map(|(_, count)| *count as u64)
            .sum::<u64>()
    };
    for reason in ["too_deep", "invalid_utf8", "empty", "not_object", "too_large"] {
        assert!(counted(reason) >= ROUNDS, "{reason}: {}", counted(reason));
    }
    assert_eq!(feed.connections(), 1, "no message ends the connection");
    assert!(sandbox.log().lines().all(|line| !line.contains("panicked")), "nothing panics");

    // The first rounds fill the message log's write buffer (64 MiB) and make other buffers grow, the allocator's for each
    // thread among them. Later rounds go up and down by several messages, as the allocator keeps or returns memory, so
    // that two single rounds say nothing. What grew with what is sent, at least 16 MiB a round, would be in every one of
    // the last rounds.
    let (early, late) = resident.split_at(12);
    let early = early.iter().max().expect("twelve rounds");
    let late = late.iter().rev().take(6).min().expect("six rounds");
    assert!(
        *late <= early + 32 * 1024,
        "resident memory of the collector by round, in KiB: {resident:?}"
    );
}
