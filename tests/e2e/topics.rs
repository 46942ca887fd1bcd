//! `millrace topics` on Apache Kafka: what is created, changed, and left to a person.

use std::time::Duration;

use pipeline_tests::{broker::Broker, eventually, sandbox::run, topics::NAMES};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

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
    let (code, missing) = topics(&broker, "diff", &[]);
    assert_eq!(
        (code, missing.matches("it does not exist").count()),
        (Some(1), NAMES.len()),
        "{missing}"
    );
    let (code, created) = topics(&broker, "apply", &[]);
    assert_eq!((code, created.matches("created").count()), (Some(0), NAMES.len()), "{created}");
    assert!(NAMES.iter().all(|name| created.contains(&format!("{name}: "))), "{created}");
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
fn a_removed_query_is_retired_by_a_record_without_a_value() {
    let broker = Broker::start();
    let address = broker.address();
    let retire = |query: &str| {
        let output = run("millrace", &["topics", "retire", query, "--brokers", &address], &[]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = retire("countries");
    assert!(code == Some(1) && said.contains("there is no topic topn-rsvps"), "{said}");

    assert_eq!(topics(&broker, "apply", &[]).0, Some(0));
    let producer: BaseProducer = broker.client().create().expect("a producer");
    for key in ["countries", "topics", "stream/0000000000000007"] {
        let record = BaseRecord::to("topn-rsvps").key(key).payload("{}");
        producer.send(record).map_err(|(error, _)| error).expect("room for a record");
    }
    producer.flush(Duration::from_secs(10)).expect("all records are acknowledged");

    for unknown in ["cities", "stream/0000000000000007"] {
        let (code, said) = retire(unknown);
        let names = format!("no result of {unknown}; there are: countries, topics");
        assert!(code == Some(1) && said.contains(&names), "{said}");
    }
    let (code, said) = retire("countries");
    assert!(code == Some(0) && said.contains("topn-rsvps: countries: retired"), "{said}");
    // What was refused has written nothing: the fourth record of the topic is the one that retires.
    let mut settings = broker.client();
    let consumer: BaseConsumer =
        settings.set("group.id", "tests-look-only").create().expect("a consumer");
    let mut position = TopicPartitionList::new();
    position.add_partition_offset("topn-rsvps", 0, Offset::Offset(3)).expect("an offset");
    consumer.assign(&position).expect("assigning a partition");
    let newest = eventually("the record", || consumer.poll(Duration::from_secs(1))?.ok());
    assert_eq!((newest.offset(), newest.key()), (3, Some(b"countries".as_slice())));
    assert_eq!(newest.payload(), None);
    drop(newest);
    let (code, said) = retire("countries");
    assert!(code == Some(1) && said.contains("there are: topics"), "it is gone: {said}");
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
