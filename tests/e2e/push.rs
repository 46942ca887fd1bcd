//! Events that are sent to the collector: what it has acknowledged is there, whatever happens to it.

use pipeline_tests::{
    broker::Broker,
    collector::{Collector, Process},
    eventually,
    numbered::lines,
    pushing::{acknowledged, answer, fate},
    sandbox::scratch,
    times,
};
use rand::RngExt as _;
use serde_json::{Value, json};

#[test]
fn what_was_acknowledged_is_in_kafka_whenever_the_collector_is_killed() {
    let (_directory, path) = scratch();
    let mut collector = Collector::start(&path.join("log"), &[]);
    let kills = if times() > 1 { 1_000 } else { 20 };
    let mut random = rand::rng();
    for kill in 1..=kills {
        collector.pushing().await_more(random.random_range(1..500));
        let unanswered = collector.pushing().so_far().unanswered;
        collector.kill();
        collector.start_again();
        collector.pushing().await_more(1);
        assert!(collector.pushing().so_far().unanswered > unanswered, "kill {kill} has bitten");
    }
    let pushed = collector.await_all_in_kafka();
    assert_eq!(pushed.refused, 0);
}

/// Waits until the collector says so of all of these.
fn await_state(collector: &Process, acks: &[&str], state: &str) -> Vec<Value> {
    let says = |ack: &&str| {
        let fate = fate(collector.address, ack)?;
        (fate["state"] == state).then_some(fate)
    };
    eventually(state, || acks.iter().map(says).collect())
}

#[test]
fn what_a_collector_has_acknowledged_any_other_answers_when_it_is_gone() {
    let (_directory, path) = scratch();
    let mut kafka = Broker::start();
    let mut first = Process::start(&kafka, &path.join("first"), &[]);
    let second = Process::start(&kafka, &path.join("second"), &[]);
    let good = acknowledged(first.address, lines(0..50));
    let partly = acknowledged(first.address, format!("{{\"no\":\"id\"}}\n{}", lines(50..60)));
    // It is known where it was acknowledged first, and then by what that one tells the other.
    let own = await_state(&first, &[&good, &partly], "in_kafka");
    let told = await_state(&second, &[&good, &partly], "in_kafka");
    for (own, told) in own.iter().zip(&told) {
        for member in ["ack", "complete", "dead_letters", "state"] {
            assert_eq!(own[member], told[member], "{own} {told}");
        }
        assert!(told["as_of_ms"].as_i64().is_some_and(|time_ms| time_ms > 0), "{told}");
        assert_eq!(told["complete"], json!(true));
    }
    assert_eq!(told[0]["dead_letters"], json!([]));
    let [letter] = &told[1]["dead_letters"].as_array().expect("a list")[..] else {
        panic!("one dead letter: {told:?}")
    };
    assert_eq!(letter["reason"], "missing_id");

    // Kafka is away, so that the first one has some on its disk alone when it is killed.
    kafka.kill();
    let waiting = acknowledged(first.address, lines(100..150));
    first.kill();
    let told = await_state(&second, &[&good, &partly], "in_kafka");
    assert_eq!(told[1]["dead_letters"][0], *letter, "it answers what it has read");
    kafka.start_again();
    await_state(&second, &[&waiting], "logged");
    // One that has never heard of the first one reads all of it.
    let third = Process::start(&kafka, &path.join("third"), &[]);
    let told = await_state(&third, &[&good, &partly], "in_kafka");
    assert_eq!(told[1]["dead_letters"][0], *letter);
    await_state(&third, &[&waiting], "logged");
    for unknown in [good.replacen('.', ".f", 1), good.replacen("orders", "others", 1)] {
        let (status, why) = answer(third.address, &unknown).expect("an answer");
        assert_eq!(status, 404, "{unknown}: {why}");
    }

    // It was not gone for good: its disk still has the rest.
    first.start_again();
    await_state(&third, &[&waiting], "in_kafka");
}
