//! What collectors know to be missing of their sources, as results tell it.

use std::io::Write as _;

use pipeline_tests::{
    Sandbox, eventually, feed::Feed, numbered::await_in_kafka, pushing, sandbox::scratch,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

/// An event with one topic.
fn event(id: u64, topic: &str) -> String {
    format!(
        r#"{{"rsvp_id":{id},"response":"yes","mtime":{id},"group":{{"group_topics":[{{"topic_name":"{topic}"}}]}}}}"#
    )
}

/// What the newest result of the running query says to be missing, once this holds for it.
fn await_missed(sandbox: &mut Sandbox, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually("what is missing is told", || {
        sandbox.assert_running();
        let result: Value = serde_json::from_str(&sandbox.get("/v1/queries/topics")?.1).ok()?;
        let result = result.get("result").unwrap_or(&result);
        Some(result["missed"].clone()).filter(&wanted)
    })
}

#[test]
fn each_interruption_of_a_feed_that_cannot_be_asked_again_is_in_every_result() {
    const KILLS: u64 = 3;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let feed = runtime.block_on(Feed::listen());
    let mut sandbox = Sandbox::builder()
        .environment("COLLECTOR__SOURCE__RSVPS__URL", &feed.url())
        .environment("COLLECTOR__SOURCE__RSVPS__RESUME", "none")
        .start();
    feed.send([Message::text(event(1, "first"))]);
    sandbox.await_total("topics", 1);
    for kill in 1..=KILLS {
        sandbox.kill9("collector");
        let missed = await_missed(&mut sandbox, |missed| missed["gaps"] == kill);
        let last = &missed["last"][usize::try_from(kill - 1).expect("a number")];
        assert_eq!((&last["source"], &last["cause"]), (&"rsvps".into(), &"gap".into()), "{missed}");
        assert!(last["from_ms"].as_i64() < last["to_ms"].as_i64(), "{missed}");
    }
    feed.send([Message::text(event(2, "last"))]);
    let result = sandbox.await_total("topics", 2);
    assert_eq!(result.total, 2, "what tells of gaps is no event");
    sandbox.kill9("analyzer");
    feed.send([Message::text(event(3, "later"))]);
    sandbox.await_total("topics", 3);
    await_missed(&mut sandbox, |missed| missed["gaps"] == KILLS);
    sandbox.stop();
}

#[test]
fn what_keep_leaves_out_is_counted_and_told_and_once_does_not_wait_for_it() {
    let (_directory, path) = scratch();
    let recording = path.join("recording.jsonl");
    let mut lines = std::fs::File::create(&recording).expect("a file");
    for id in 0..3_000 {
        let topic = if id % 3 == 0 { "kept" } else { "other" };
        writeln!(lines, "{}", event(id, topic)).expect("a line");
    }
    writeln!(lines, "null").expect("a line");
    let config = path.join("collector.toml");
    let keep = "group.group_topics[*].topic_name = 'kept'";
    let text = format!("[source.rsvps]\nkeep = \"{keep}\"\n");
    std::fs::write(&config, text).expect("a file");
    let truth = path.join("truth.json");
    let builder = Sandbox::builder().recording(&recording).max().once();
    let builder = builder.argument("--config").argument(&config);
    let outcome = builder.argument("--truth").argument(&truth).start().finish();
    let (results, summary) = outcome.results();
    let top: Vec<_> = results["topics"].top.iter().map(|row| (&*row.item, row.count)).collect();
    assert_eq!(top, [("kept", 1_000)]);
    assert_eq!((summary.published, summary.dead_letters["not_object"]), (1_000, 1));
    let truth: Value =
        serde_json::from_slice(&std::fs::read(truth).expect("a file")).expect("JSON");
    let counted = |name: &str| truth[name].as_u64();
    assert_eq!((counted("events"), counted("filtered")), (Some(1_000), Some(2_000)), "{truth}");
}

#[test]
fn a_push_of_which_keep_leaves_nothing_is_answered_like_any_other() {
    let (_directory, path) = scratch();
    let (file, [orders]) = pushing::sources(&path, [("orders", "keep = \"rsvp_id >= 10\"")]);
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    assert_eq!(pushing::push(orders, 0..5, ""), 200);
    assert_eq!(pushing::push(orders, 0..5, "respond-sync"), 200);
    assert_eq!(pushing::push(orders, 5..15, ""), 202);
    let found = await_in_kafka(&mut sandbox, |found| found.len() == 5);
    assert!(found.keys().copied().eq(10..15), "{found:?}");
    await_missed(&mut sandbox, |missed| missed["filtered"] == 15);
    sandbox.stop();
}
