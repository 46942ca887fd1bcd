//! Members of the analyzer's consumer groups on Apache Kafka.

use std::time::Duration;

use pipeline_tests::eventually;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::analyzers::{Analyzers, RAW, RSVP_TOPICS};

const SENTENCE: &str = "if another process runs with the same instance_id";

/// Joins the group of the tallies in the place of the analyzer's member, and is gone without leaving it.
fn replace_member(analyzers: &Analyzers) {
    let mut client = analyzers.broker.client();
    client.set("group.id", "analyzer-tally").set("group.instance.id", "analyzer-0");
    client.set("session.timeout.ms", "6000").set("partition.assignment.strategy", "range");
    let member: BaseConsumer = client.create().expect("a consumer");
    member.subscribe(&[RAW]).expect("a subscription");
    eventually("the member has its partitions", || {
        drop(member.poll(Duration::from_millis(100)));
        (member.assignment().expect("an assignment").count() > 0).then_some(())
    });
}

fn log(analyzers: &Analyzers) -> String {
    std::fs::read_to_string(analyzers.log()).expect("a log")
}

#[test]
fn a_member_that_is_fenced_joins_again_and_one_that_is_fenced_at_once_again_ends() {
    let mut analyzers = Analyzers::new();
    analyzers.start(RSVP_TOPICS);
    analyzers.feed(0..200);
    analyzers.result("topics", 200);
    replace_member(&analyzers);
    eventually("the analyzer joins again", || {
        log(&analyzers)
            .lines()
            .any(|line| line.contains("joining again") && line.contains(SENTENCE))
            .then_some(())
    });
    analyzers.feed(200..300);
    assert_eq!(analyzers.result("topics", 300)["total"], 300);

    let code = eventually("the analyzer gives up", || {
        replace_member(&analyzers);
        analyzers.exit_code()
    });
    assert_ne!(code, Some(0));
    let log = log(&analyzers);
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(SENTENCE)), "{log}");
}
