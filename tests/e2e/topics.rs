//! `millrace topics` on Apache Kafka: what is created, changed, and left to a person.

use pipeline_tests::{broker::Broker, sandbox::run};

/// Runs it with the topics of this broker: its exit code and what it prints.
fn topics(broker: &Broker, command: &str, set: &[&str]) -> (Option<i32>, String) {
    let address = broker.address();
    let mut arguments = vec!["topics", command, "--brokers", &address];
    arguments.extend(set.iter().flat_map(|set| ["--set", set]));
    let output = run("millrace", &arguments, &[]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn topics_are_created_compared_and_changed_where_nothing_is_lost() {
    let broker = Broker::start();
    let names =
        ["raw-rsvps", "raw-rsvps-dlq", "topn-rsvps-partials", "topn-rsvps-state", "topn-rsvps"];
    let (code, missing) = topics(&broker, "diff", &[]);
    assert_eq!((code, missing.matches("it does not exist").count()), (Some(1), 5), "{missing}");
    let (code, created) = topics(&broker, "apply", &[]);
    assert_eq!((code, created.matches("created").count()), (Some(0), 5), "{created}");
    assert!(names.iter().all(|name| created.contains(&format!("{name}: "))), "{created}");
    assert_eq!(topics(&broker, "diff", &[]), (Some(0), String::new()));

    // Somebody has set one thing that is harmless and one of his own; the second one has to survive.
    let state = "topn-rsvps-state";
    let own = ("cleanup.policy", "compact");
    broker.alter_topic(state, &[("segment.ms", "3600000"), ("file.delete.delay.ms", "12345"), own]);
    let (code, changed) = topics(&broker, "apply", &[]);
    assert_eq!(code, Some(0), "{changed}");
    assert!(changed.contains("it has segment.ms=3600000 instead of 600000; changed"), "{changed}");
    assert_eq!(broker.setting(state, "segment.ms"), "600000");
    assert_eq!(broker.setting(state, "file.delete.delay.ms"), "12345");
    assert_eq!(broker.setting(state, "cleanup.policy"), "compact");

    // What would delete records, or count events again, is not done.
    let wanted = [r#"kafka.settings.raw={ "retention.ms" = "1000" }"#, "kafka.partitions=8"];
    let (code, left) = topics(&broker, "apply", &wanted);
    assert_eq!(code, Some(1), "{left}");
    assert_eq!(left.matches("by hand: kafka-").count(), 2, "{left}");
    assert_ne!(broker.setting("raw-rsvps", "retention.ms"), "1000");

    broker.alter_topic("topn-rsvps-partials", &[("cleanup.policy", "delete")]);
    let (code, unusable) = topics(&broker, "diff", &[]);
    assert_eq!(code, Some(1));
    assert!(unusable.contains("UNUSABLE  topn-rsvps-partials"), "{unusable}");
}

#[test]
fn a_kafka_that_does_not_answer_and_a_wrong_setting_have_exit_codes_of_their_own() {
    let codes = [
        (["--brokers=127.0.0.1:1", "--timeout=1s"], 69, "Kafka at 127.0.0.1:1 does not answer"),
        (
            ["--set=kafka.settings.raw={ \"cleanup.policy\" = \"compact\" }", "--timeout=1s"],
            64,
            "cleanup.policy",
        ),
    ];
    for (arguments, code, says) in codes {
        let [first, second] = arguments;
        let output = run("millrace", &["topics", "diff", first, second], &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(says), "{said}");
    }
}
