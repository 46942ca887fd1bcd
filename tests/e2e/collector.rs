//! What the collector shows of its secrets, and a clock that is wrong.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use pipeline_tests::{
    Sandbox,
    broker::Broker,
    eventually, free_port, http,
    oracle::Oracle,
    recording,
    sandbox::{self, Builder, scratch},
};

const SECRET: &str = "pl4nted";

#[test]
fn no_secret_is_in_anything_that_the_collector_shows() {
    let (_directory, path) = scratch();
    let config = path.join("collector.toml");
    let log = path.join("log");
    let shown = path.join("stderr");
    let admin = free_port();
    std::fs::write(
        &config,
        format!(
            r#"
            [service]
            admin = "127.0.0.1:{admin}"
            log_filter = "debug"
            [log]
            path = "{}"
            [kafka]
            brokers = "127.0.0.1:1"
            [kafka.properties]
            "security.protocol" = "sasl_plaintext"
            "sasl.mechanism" = "PLAIN"
            "sasl.username" = "ada"
            "sasl.password" = "{SECRET}"
            [trace]
            endpoint = "http://127.0.0.1:1"
            headers = {{ Authorization = "Bearer {SECRET}" }}
            [source.x]
            url = "ws://ada:{SECRET}@127.0.0.1:1/feed?token={SECRET}"
            first_message = "{SECRET}"
            headers = {{ X-Key = "{SECRET}" }}
            "#,
            log.display()
        ),
    )
    .expect("a configuration");
    let config = config.to_str().expect("a path");

    let dumped = sandbox::run("collector", &["--config", config, "--dump-config"], &[]);
    let dumped = String::from_utf8(dumped.stdout).expect("text");
    assert!(dumped.contains("sasl.password") && !dumped.contains(SECRET), "{dumped}");

    let mistyped = format!("kafka.properties={{ \"sasl.passwrd\" = \"{SECRET}\" }}");
    let refused = sandbox::run("collector", &["--config", config, "--set", &mistyped], &[]);
    let refused = String::from_utf8(refused.stderr).expect("text");
    assert!(refused.contains("sasl.passwrd") && !refused.contains(SECRET), "{refused}");

    let mut collector = Command::new(pipeline_tests::binaries().join("collector"))
        .args(["--config", config])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&shown).expect("a file for its log"))
        .spawn()
        .expect("a collector");
    let ready = eventually("/ready tells of the source", || {
        http::get(admin, "/ready").filter(|answer| answer.contains("cannot connect"))
    });
    let metrics = http::get(admin, "/metrics").expect("metrics");
    let _ = collector.kill();
    let _ = collector.wait();
    let lines = std::fs::read_to_string(&shown).expect("its log");
    let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line.contains("trying again")), "{lines:?}");
    for shown in [ready, metrics].into_iter().chain(lines) {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// As on Kubernetes when a pod is replaced by force, and the former one still runs for a while.
#[test]
fn a_collector_takes_the_log_over_when_the_one_before_it_is_killed() {
    let (_directory, path) = scratch();
    let start = |name: &str| {
        let log = path.join(name);
        let child = Command::new(pipeline_tests::binaries().join("collector"))
            .args(["--brokers", "127.0.0.1:1", "--set", "service.admin=127.0.0.1:0"])
            .args(["--set", &format!("log.path={}", path.join("log").display())])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file for its log"))
            .spawn()
            .expect("a collector");
        (child, log)
    };
    let says = |log: &Path, text: &str| {
        eventually(text, || std::fs::read_to_string(log).ok()?.contains(text).then_some(()));
    };
    let (mut first, log) = start("first");
    says(&log, "message log open");
    let (mut second, log) = start("second");
    says(&log, "another process has the message log");
    first.kill().expect("killing the first");
    first.wait().expect("its end");
    says(&log, "message log open");
    second.kill().expect("killing the second");
    second.wait().expect("its end");
}

#[test]
fn a_clock_two_hours_ahead_loses_nothing() {
    collect_two_hours_ahead(Sandbox::builder());
}

/// With Kafka's own limit, which a topic has that was there before: batches of four partitions are refused at once.
#[test]
fn a_clock_two_hours_ahead_loses_nothing_in_topics_that_refuse_its_time() {
    let broker = Broker::start();
    broker.create_topic("raw-rsvps", 4);
    broker.create_topic("raw-rsvps-dlq", 1);
    let mut sandbox = collect_two_hours_ahead(Sandbox::builder().brokers(&broker.address()));
    let metrics = eventually("metrics", || sandbox.metrics("collector"));
    assert!(metrics.sum("millrace_collector_records_dated_back_milliseconds") >= 3_600_000.0);
}

/// Collects 300 events and what is none, by a clock that is two hours ahead, until they are counted.
fn collect_two_hours_ahead(builder: Builder) -> Sandbox {
    let (_directory, path) = scratch();
    let path = path.join("feed.jsonl");
    recording::synthesize(&path, 300, 43);
    let good = recording::lines(&path);
    let bad: &[u8] = b"not json";
    recording::write(&path, good.iter().map(Vec::as_slice).chain([bad]).collect::<Vec<_>>());
    let mut sandbox = builder
        .recording(&path)
        .rate(1_000)
        .environment("COLLECTOR__SERVICE__CLOCK_OFFSET_MS", "7200000")
        .start();
    sandbox.await_total("topics", Oracle::of(&good).topics().total());
    let letters = eventually("the dead letter", || {
        let letters = sandbox.topics().read("raw-rsvps-dlq");
        (!letters.is_empty()).then_some(letters)
    });
    assert_eq!(letters.len(), 1, "only what is no event");
    sandbox
}
