//! What a source promises, `delivery` and `release`: who has to be told so before a crash, and what is there after it.

use std::{ops::Range, thread};

use pipeline_tests::{
    Sandbox, broker::Broker, eventually, numbered::await_in_kafka, pushing, sandbox::scratch,
};

/// How many numbers of these are in Kafka.
fn count(found: &std::collections::BTreeMap<u64, usize>, numbers: Range<u64>) -> usize {
    found.range(numbers).count()
}

/// Waits until the collector has so many messages that Kafka has not.
fn await_pending(sandbox: &mut Sandbox, messages: f64) {
    eventually("messages wait for kafka", || {
        let metrics = sandbox.metrics("collector")?;
        (metrics.sum("millrace_collector_pending_entries") >= messages).then_some(())
    });
}

#[test]
fn while_kafka_is_away_a_push_is_acknowledged_from_the_disk_unless_its_source_waits_for_both() {
    let (_directory, path) = scratch();
    let (file, [first, both, patient]) = pushing::sources(
        &path,
        [
            ("first", ""),
            ("both", "release = \"both\"\naccept_timeout_ms = 1000"),
            ("patient", "release = \"both\"\naccept_timeout_ms = 80000"),
        ],
    );
    let mut broker = Broker::start();
    let builder = Sandbox::builder().brokers(&broker.address());
    let mut sandbox = builder.argument("--config").argument(file).start();
    for (number, address) in (0..).zip([first, both, patient]) {
        assert_eq!(pushing::push(address, number..number + 1, ""), 202, "kafka is there");
    }
    assert_eq!(pushing::push(both, 3..4, "respond-sync"), 200);

    broker.kill();
    assert_eq!(pushing::push(first, 10..20, ""), 202, "it is on disk");
    assert_eq!(pushing::push(first, 20..30, "respond-sync, wait=1"), 202, "it is on disk");
    assert_eq!(pushing::push(both, 30..40, ""), 503);
    assert_eq!(pushing::push(both, 40..50, "respond-sync"), 503);
    let waiting = thread::spawn(move || pushing::push(patient, 50..60, ""));
    // Those that were not acknowledged are in the log all the same.
    await_pending(&mut sandbox, 50.0);
    assert!(!waiting.is_finished(), "it is only on disk");
    broker.start_again();
    assert_eq!(waiting.join().expect("an answer"), 202);
    assert_eq!(pushing::push(both, 30..50, ""), 202, "sent again");
    let found = await_in_kafka(&mut sandbox, |found| count(found, 10..60) == 50);
    assert_eq!(count(&found, 0..4), 4);
    sandbox.stop();
}

#[test]
fn what_a_kill_leaves_in_the_log_is_sent_unless_its_source_promises_that_nothing_is_sent_twice() {
    let (_directory, path) = scratch();
    let (file, [once, least, effectively]) = pushing::sources(
        &path,
        [
            ("once", "delivery = \"at_most_once\""),
            ("least", "delivery = \"at_least_once\""),
            ("effectively", "delivery = \"effectively_once\""),
        ],
    );
    let mut broker = Broker::start();
    let builder = Sandbox::builder().brokers(&broker.address());
    let mut sandbox = builder.argument("--config").argument(file).start();
    for (number, address) in (0..).zip([once, least, effectively]) {
        assert_eq!(pushing::push(address, number..number + 1, "respond-sync"), 200);
    }
    broker.kill();
    for (number, address) in [(100, once), (200, least), (300, effectively)] {
        assert_eq!(pushing::push(address, number..number + 50, ""), 202, "acknowledged");
    }
    await_pending(&mut sandbox, 150.0);
    sandbox.kill9("collector");
    broker.start_again();
    let found = await_in_kafka(&mut sandbox, |found| {
        count(found, 200..250) == 50 && count(found, 300..350) == 50
    });
    assert_eq!(count(&found, 100..150), 0, "they might have been there already");
    let dropped = eventually("the metrics", || {
        let metrics = sandbox.metrics("collector")?;
        let dropped = metrics.sum("millrace_collector_dropped_messages_total");
        (dropped > 0.0).then_some(dropped)
    });
    assert_eq!(dropped, 50.0);
    // What comes after the start is sent.
    assert_eq!(pushing::push(once, 150..151, "respond-sync"), 200);
    sandbox.stop();
}
