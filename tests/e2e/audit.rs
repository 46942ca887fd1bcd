//! The audit says what became of every offset of the raw topic, whatever is in it and whoever is killed.

use std::{collections::BTreeMap, time::Duration};

use nix::sys::signal::Signal;
use pipeline_tests::{Sandbox, eventually, oracle::Oracle, recording, sandbox::scratch, topics};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;

use crate::analyzers::{Analyzers, PARTITIONS, RAW};

const KEY: &str = "audit/offsets";
const MINUTE_MS: i64 = 60_000;
const TIMEOUT: Duration = Duration::from_secs(60);

const TOPICS_ALONE: &str = r#"
[[query]]
name = "topics"
item = "/group/group_topics/*/topic_name"
"#;

/// One outcome of an audit's row; it is left out where it is 0.
fn of(row: &Value, outcome: &str) -> u64 {
    row.get(outcome).map_or(0, |number| number.as_u64().expect("a number"))
}

/// The outcomes of a row: counted, duplicate, undecodable, control, gap.
fn outcomes(row: &Value) -> [u64; 5] {
    ["counted", "duplicate", "undecodable", "control", "gap"].map(|outcome| of(row, outcome))
}

/// The offsets of each minute.
fn by_minute(audit: &Value) -> BTreeMap<i64, u64> {
    let minutes = audit["minutes"].as_array().expect("a list").iter();
    let minute =
        |row: &Value| (row["start_ms"].as_i64().expect("a time"), outcomes(row).iter().sum());
    minutes.map(minute).collect()
}

/// Writes records that are no events to every partition.
fn write_nonsense(brokers: &str, records: usize) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a producer");
    for at in 0..records {
        let partition = i32::try_from(at).expect("a few") % PARTITIONS;
        let record = BaseRecord::<str, str>::to(RAW).partition(partition).payload("not an event");
        producer.send(record).map_err(|(error, _)| error).expect("sending");
    }
    producer.flush(TIMEOUT).expect("all records are acknowledged");
}

/// The audit once it reflects everything that the raw topic has, and what the topic has.
fn complete(sandbox: &mut Sandbox) -> (Value, Vec<topics::Record>) {
    eventually("an audit of the whole raw topic", || {
        sandbox.assert_running();
        let (status, body) = sandbox.get("/v1/audit")?;
        let audit: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        let records = sandbox.topics().read(RAW);
        (audit["version"] == records.len()).then_some((audit, records))
    })
}

/// Compares an audit with what stands in the raw topic.
fn assert_true(audit: &Value, records: &[topics::Record]) {
    let truth = Oracle::of(records.iter().map(|record| record.payload.as_slice()));
    let expected = [truth.events(), truth.duplicates, truth.bad, 0, 0];
    assert_eq!(audit["balanced"], true, "{audit}");
    assert_eq!(outcomes(&audit["total"]), expected, "{audit}");
    let mut minutes = BTreeMap::new();
    for record in records {
        *minutes.entry(record.time_ms.div_euclid(MINUTE_MS) * MINUTE_MS).or_default() += 1;
    }
    assert_eq!(by_minute(audit), minutes, "{audit}");
    assert_eq!(outcomes(&audit["before"]), [0; 5], "{audit}");
}

#[test]
fn the_audit_is_the_truth_after_redeliveries_bad_records_and_kills_and_a_restart_resets_nothing() {
    let (_directory, path) = scratch();
    let path = path.join("synthetic.jsonl");
    recording::synthesize(&path, 20_000, 71);
    let lines = recording::lines(&path);
    let total = Oracle::of(&lines).topics().total();

    let mut sandbox = Sandbox::builder().recording(&path).rate(4_000).start();
    sandbox.await_total("topics", total / 5);
    let brokers = sandbox.brokers();
    write_nonsense(&brokers, 37);
    sandbox.kill9("analyzer");
    sandbox.await_total("topics", total / 2);
    sandbox.kill9("analyzer");
    write_nonsense(&brokers, 20);
    sandbox.await_total("topics", total);
    let (audit, records) = complete(&mut sandbox);
    assert_true(&audit, &records);
    assert_eq!(of(&audit["total"], "undecodable"), 57);
    assert!(of(&audit["total"], "duplicate") > 1_000, "{audit}");

    // Nothing new comes, and it says the same after every tier was killed.
    for tier in ["analyzer", "access-api"] {
        sandbox.kill9(tier);
    }
    let before = outcomes(&audit["total"]);
    write_nonsense(&brokers, 1);
    let (audit, records) = complete(&mut sandbox);
    assert_true(&audit, &records);
    let [counted, duplicate, undecodable, ..] = outcomes(&audit["total"]);
    assert_eq!(undecodable, 58);
    assert!(counted >= before[0] && duplicate >= before[1], "{before:?}, then {audit}");
    let metrics = sandbox.metrics("analyzer").expect("metrics");
    let shown = metrics.sum("millrace_analyzer_audit_offsets{outcome=\"counted\"}");
    assert!((shown - counted as f64).abs() < 0.5, "no restart resets {shown}");
}

/// The audit that reflects so many offsets, as it stands in the topic of results.
fn await_audit(analyzers: &mut Analyzers, offsets: u64) -> Value {
    analyzers.result(KEY, offsets)
}

#[test]
fn transaction_markers_and_deleted_records_are_in_the_books_too() {
    let mut analyzers = Analyzers::new();
    let event = |id: u32| {
        let topics = r#"[{"topic_name":"t"}]"#;
        let event =
            format!(r#"{{"rsvp_id":{id},"response":"yes","group":{{"group_topics":{topics}}}}}"#);
        (id.to_string(), event.into_bytes())
    };
    // Partition 0: ten events, a transaction of two that is committed, one of three that is aborted, five events.
    analyzers.send(RAW, Some(0), (0..10).map(event));
    let mut client = analyzers.broker.client();
    let producer: BaseProducer =
        client.set("transactional.id", "audit").create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("transactions");
    for (ids, is_committed) in [(10..12, true), (12..15, false)] {
        producer.begin_transaction().expect("a transaction");
        for (key, value) in ids.map(event) {
            let record = BaseRecord::to(RAW).partition(0).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).expect("sending");
        }
        producer.flush(TIMEOUT).expect("all records are acknowledged");
        let ended = if is_committed {
            producer.commit_transaction(TIMEOUT)
        } else {
            producer.abort_transaction(TIMEOUT)
        };
        ended.expect("the transaction's end");
    }
    analyzers.send(RAW, Some(0), (15..20).map(event));
    // Partition 1: twenty events, of which seven are deleted before anybody reads them; then some again.
    analyzers.send(RAW, Some(1), (100..120).map(event));
    analyzers.send(RAW, Some(1), (110..114).map(event));
    let mut deleted = TopicPartitionList::new();
    deleted.add_partition_offset(RAW, 1, Offset::Offset(7)).expect("an offset");
    let done = analyzers
        .broker
        .administer(async |admin, options| admin.delete_records(&deleted, options).await);
    done.expect("deleting records");

    // The markers of two transactions, and three records that were aborted.
    let (control, gap) = (2 + 3, 7);
    let (offsets, counted) = ((10 + 2 + 3 + 5 + 2) + 24, [10 + 2 + 5, 13]);
    for (signal, round) in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL].into_iter().zip(0..)
    {
        analyzers.start(TOPICS_ALONE);
        let more = u64::from(round);
        let audit = await_audit(&mut analyzers, offsets + more);
        assert_eq!(audit["balanced"], true, "{audit}");
        let total = [counted[0] + counted[1] + more, 4, 0, control, gap];
        assert_eq!(outcomes(&audit["total"]), total, "round {round}: {audit}");
        let partition = |id: &str| outcomes(&audit["partitions"][id]);
        assert_eq!(partition("0"), [counted[0], 0, 0, control, 0], "round {round}: {audit}");
        assert_eq!(partition("1"), [counted[1] + more, 4, 0, 0, gap], "round {round}: {audit}");
        analyzers.end(signal);
        // The next one has something to say that no one before it has said.
        analyzers.send(RAW, Some(1), [event(1_000 + round)]);
    }
}
