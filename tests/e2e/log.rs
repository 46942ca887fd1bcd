//! `millrace log` on a running pipeline.

use pipeline_tests::{
    Sandbox, eventually,
    oracle::Oracle,
    recording,
    sandbox::{run, scratch},
};
use serde_json::Value;

#[test]
fn dead_letters_of_a_wrong_configuration_are_listed_and_count_once_replayed() {
    let (_directory, path) = scratch();
    let path = path.join("feed.jsonl");
    recording::synthesize(&path, 300, 47);
    let oracle = Oracle::of(recording::lines(&path));
    let mut sandbox = Sandbox::builder()
        .recording(&path)
        .rate(2_000)
        .environment("COLLECTOR__EVENT__ID", "/no_such_member")
        .start();
    let brokers = sandbox.brokers();
    let letters = eventually("all are dead letters", || {
        let listed =
            run("millrace", &["log", "dead-letters", "--json", "--brokers", &brokers], &[]);
        let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
        (listed["reasons"][0]["count"].as_u64()? >= 300).then_some(listed)
    });
    assert_eq!(letters["reasons"][0]["reason"], "missing_id", "{letters}");

    let log = sandbox.directory().join("data/collector");
    let log = log.to_str().expect("text");
    let looked = run("millrace", &["log", "inspect", log, "--json"], &[]);
    let looked: Value = serde_json::from_slice(&looked.stdout).expect("one JSON object");
    assert_eq!((&looked["failed"], &looked["damaged_ranges"]), (&Value::from(0), &Value::from(0)));
    let verified = run("millrace", &["log", "verify", log], &[]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));

    let replayed =
        run("millrace", &["log", "replay", "--brokers", &brokers, "--reason", "missing_id"], &[]);
    let said = String::from_utf8_lossy(&replayed.stderr);
    assert!(replayed.status.success(), "{said}");
    assert!(replayed.stdout.starts_with(b"300 published"), "{replayed:?}");
    sandbox.await_total("topics", oracle.topics().total());
    // The analyzer knows them by their ids.
    let again = run("millrace", &["log", "replay", "--brokers", &brokers], &[]);
    assert!(again.stdout.starts_with(b"300 published"), "{again:?}");
    let raw = sandbox.topics().read("raw-rsvps");
    assert_eq!(raw.len(), 600);
    eventually("the analyzer has read all", || {
        let metrics = sandbox.metrics("analyzer")?;
        (metrics.sum("millrace_analyzer_records_total{outcome=\"duplicate\"") >= 300.0)
            .then_some(())
    });
    let result = sandbox.result("topics").expect("a result");
    assert_eq!(result.total, oracle.topics().total());
    sandbox.stop();
}
