//! Starting, stopping, starting again, and the messages when that is not possible.

use std::{net::TcpListener, os::unix::fs::symlink};

use pipeline_tests::{
    Sandbox, eventually,
    oracle::Oracle,
    recording,
    sandbox::{run, scratch},
};

use crate::exact::assert_results;

#[test]
fn a_second_run_continues_where_the_first_stopped() {
    let (_directory, path) = scratch();
    let whole = path.join("whole.jsonl");
    recording::synthesize(&whole, 8_000, 31);
    let lines = recording::lines(&whole);
    let halves = [path.join("first.jsonl"), path.join("second.jsonl")];
    recording::write(&halves[0], &lines[..4_000]);
    recording::write(&halves[1], &lines[4_000..]);

    let mut sandbox = Sandbox::builder().recording(&halves[0]).max().once().start();
    let (results, _) =
        sandbox.finish_and_restart(Sandbox::builder().recording(&halves[1]).max().once()).results();
    assert_results(&results, &Oracle::of(&lines[..4_000]));
    let (results, summary) = sandbox.finish().results();
    assert_results(&results, &Oracle::of(&lines));
    assert!(summary.published >= 8_000, "the first half is still in Kafka: {summary:?}");
}

#[test]
fn asked_to_stop_it_drains_and_leaves_no_process() {
    let mut sandbox = Sandbox::builder().rate(500).start();
    sandbox.await_total("topics", 1);
    for tier in ["collector", "analyzer", "access-api"] {
        eventually(&format!("{tier} is ready"), || {
            sandbox.admin(tier, "/ready").filter(|(status, _)| *status == 200)
        });
        assert_eq!(sandbox.admin(tier, "/live").expect("an answer").0, 200);
        let metrics = sandbox.metrics(tier).expect("metrics");
        assert!(
            metrics.sum(&format!("millrace_{}_", tier.replace('-', "_"))) > 0.0,
            "{tier} counts something"
        );
    }
    let url = sandbox.url("");
    // `stop` itself asserts that no process is left.
    let outcome = sandbox.stop();
    assert_eq!(outcome.status.code(), Some(0), "a stop that was asked for is no failure");
    assert!(
        outcome.stdout.iter().any(|line| line.contains(&url)),
        "stdout names {url}: {:?}",
        outcome.stdout
    );
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_left_running() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = run("millrace", &["up", "--memory", "--port", &port], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(&port), "what is wrong and where: {said}");
    assert!(output.stdout.is_empty(), "nothing on stdout");
}

#[test]
fn a_recording_that_is_not_there_is_named() {
    let output =
        run("millrace", &["up", "--memory", "--once", "--recording", "nowhere/feed.jsonl"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("nowhere/feed.jsonl"), "what is wrong and where: {said}");
    assert!(output.stdout.is_empty(), "nothing on stdout");
}

/// Fetches Kafka and prepares its start, as on a machine that never had it.
#[test]
fn the_first_start_on_a_machine_gives_the_answer_too() {
    let (_directory, path) = scratch();
    let cache = path.join("cache");
    let recording = path.join("synthetic.jsonl");
    recording::synthesize(&recording, 500, 61);
    let truth = Oracle::of(recording::lines(&recording));
    let cache = cache.to_str().expect("a temporary directory's name is text");
    let pipeline = Sandbox::builder().environment("XDG_CACHE_HOME", cache).recording(&recording);
    let (results, _) = pipeline.max().once().start().finish().results();
    assert_results(&results, &truth);
}

#[test]
fn without_java_it_names_the_packages_and_the_flag_that_needs_none() {
    let (_directory, path) = scratch();
    let commands = std::env::var_os("PATH").expect("a PATH");
    for command in std::env::split_paths(&commands)
        .filter_map(|directory| directory.read_dir().ok())
        .flatten()
        .flatten()
    {
        let name = command.file_name();
        if name != "java" && name != "mvn" {
            // Fails for a second command of the same name, which would not be run anyway.
            let _ = symlink(command.path(), path.join(name));
        }
    }
    let without_java = path.to_str().expect("a temporary directory's name is text");
    let output = run("millrace", &["up", "--once", "--events", "10"], &[("PATH", without_java)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for word in ["java", "deploy/local/packages run", "Java 17 or later", "--memory"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
}

#[test]
fn every_tier_shows_its_configuration_and_refuses_a_bad_one() {
    for tier in ["collector", "analyzer", "access-api"] {
        let prefix = tier.to_uppercase().replace('-', "_");
        let brokers = format!("{prefix}__KAFKA__BROKERS");

        let shown = run(tier, &["--dump-config"], &[(&brokers, "elsewhere:1234")]);
        let text = String::from_utf8_lossy(&shown.stdout);
        assert_eq!(
            shown.status.code(),
            Some(0),
            "{tier}: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
        assert!(text.contains("elsewhere:1234"), "{tier}: the environment wins: {text}");
        for section in ["[kafka]", "[service]"] {
            assert!(text.contains(section), "{tier}: {section} is missing in: {text}");
        }

        let refused = run(tier, &[], &[(&brokers, " ")]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{tier}: {said}");
        assert!(said.contains("kafka.brokers"), "{tier}: what is wrong and where: {said}");

        let unknown = run(tier, &["--set", "kafka.brooker=x"], &[]);
        let said = String::from_utf8_lossy(&unknown.stderr);
        assert_eq!(unknown.status.code(), Some(64), "{tier}: {said}");
        assert!(said.contains("brooker"), "{tier}: what is wrong and where: {said}");
    }
}
