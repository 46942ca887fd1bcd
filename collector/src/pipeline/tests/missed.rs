//! What readers of the events are told of what is missing among them.

use common::event::control::{Control, KEY};
use common::expr::Condition;
use common::result::missed::{Cause, Interval};

use super::*;
use crate::config::Shed;
use crate::cursor::Cursor;
use crate::ledger::{CONTROL, LeftOut};

/// What the raw topic tells, in its order.
fn told(bench: &Bench) -> Vec<Interval> {
    let records = bench.records(RAW).into_iter();
    let controls = records.filter(|record| record.key.as_deref() == Some(KEY.as_bytes()));
    let interval = |record: Record| {
        assert_eq!(record.headers[header::SOURCE], CONTROL);
        match Control::read(record.key.as_deref(), &record.payload) {
            Some(Control::Missed { interval, .. }) => interval,
            other => panic!("{other:?}"),
        }
    };
    controls.map(interval).collect()
}

fn of(account: &str, metrics: &Metrics) -> crate::ledger::Counts {
    let accounts = metrics.ledger.statement().accounts;
    accounts.into_iter().find(|(name, _)| &**name == account).unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_and_what_was_dropped_are_told_between_the_events() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.push(rsvp(7)).await;
    running.intake.missed().gap(Some(5), None, "the feed was away");
    running.push(rsvp(8)).await;
    running.intake.missed().leave_out(LeftOut::Dropped, 100, 3);
    let metrics = running.drain().await;
    let told = told(&bench);
    let causes: Vec<_> = told.iter().map(|one| (one.cause, one.from_ms, one.events)).collect();
    assert_eq!(causes, [(Cause::Gap, Some(5), None), (Cause::Dropped, Some(100), Some(3))]);
    assert!(told.iter().all(|interval| interval.source == "rsvps"));
    let (source, control) = (of("rsvps", &metrics), of(CONTROL, &metrics));
    assert_eq!((source.received, source.published, source.dropped), (5, 2, 3));
    assert_eq!((control.received, control.published), (2, 2));
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_in_the_log_no_later_than_the_message_that_ends_it() {
    let bench = Bench::new();
    let mut running = bench.start();
    bench.cluster.broker_down(1).unwrap();
    for id in 0..20 {
        running.intake.missed().gap(Some(id), None, "the feed was away");
        running.push_and_wait(rsvp(id.unsigned_abs())).await;
        let held = running.metrics.ledger.statement();
        let received =
            |name: &str| held.accounts.iter().find(|(of, _)| &**of == name).unwrap().1.received;
        assert!(received(CONTROL) >= received("rsvps"), "{held:?}");
    }
    // As a kill would leave it.
    running.stop.cancel();
    drop(running.intake);
    running.pipeline.await.unwrap().unwrap();
    bench.cluster.broker_up(1).unwrap();
    let metrics = bench.start().drain().await;
    assert_eq!(metrics.total().published, 40);
    assert_eq!(told(&bench).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keep_leaves_out_is_counted_its_receipt_is_released_and_its_cursor_is_stored() {
    let mut bench = Bench::new();
    let mut source = accepting(1000);
    source.common.keep = Some(Condition::parse("rsvp_id < 10").unwrap());
    bench.config.source.insert("rsvps", source);
    let mut running = bench.start();
    for id in [7, 70, 700, 8, 80] {
        assert_eq!(running.push_and_wait(rsvp(id)).await, Outcome::Released);
    }
    assert_eq!(running.push_and_wait("null").await, Outcome::Refused(Reason::NotObject));
    let cursor = Some(Cursor(bytes::Bytes::from_static(b"here")));
    let (payload, received_ms) = (bytes::Bytes::from(rsvp(90)), running.intake.now_ms());
    let identity = running.intake.identify(&payload);
    let last = Message { payload, received_ms, identity, cursor, receipt: None };
    running.intake.push(last).await.unwrap();
    // Whoever takes the source over goes on from the cursor, so that it is not waited for with the numbers.
    running.intake.written().await;
    assert!(of(CONTROL, &running.metrics).received > 0);
    let metrics = running.drain().await;
    assert_eq!(
        payloads(&bench.records(RAW)).iter().filter(|one| one.contains("rsvp_id")).count(),
        2
    );
    let source = of("rsvps", &metrics);
    assert_eq!((source.received, source.published, source.filtered), (7, 2, 4));
    let told = told(&bench);
    let filtered: u64 = told.iter().filter_map(|interval| interval.events).sum();
    assert!(told.iter().all(|interval| interval.cause == Cause::Filtered));
    assert_eq!(filtered, 4);
    let (log, ..) = bench.open();
    assert_eq!(log.cursor("rsvps").unwrap().as_deref(), Some(&b"here"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_fills_messages_are_shed_but_those_to_be_kept_are_not() {
    let mut bench = Bench::new();
    let mut source = accepting(1000);
    source.common.shed =
        Some(Shed { above_percent: 0, keep: Some(Condition::parse("rsvp_id < 200").unwrap()) });
    bench.config.source.insert("rsvps", source);
    bench.config.log.max_bytes = Some(1 << 20);
    bench.cluster.broker_down(1).unwrap();
    let mut running = bench.start();
    let mut ids = 0..;
    while of("rsvps", &running.metrics).shed < 500 {
        let id = 1_000 + ids.next().unwrap();
        running.push(rsvp(id)).await;
    }
    for id in 100..150 {
        running.push(rsvp(id)).await;
    }
    bench.cluster.broker_up(1).unwrap();
    let metrics = running.drain().await;
    let source = of("rsvps", &metrics);
    assert_eq!(source.received, ids.start + 50);
    assert_eq!(source.published + source.shed, source.received);
    let records = bench.records(RAW);
    let has = |id: u64| records.iter().any(|record| record.payload == rsvp(id).as_bytes());
    assert!((100..150).all(has), "what is to be kept");
    let told = told(&bench);
    assert!(told.iter().all(|interval| interval.cause == Cause::Shed));
    assert_eq!(told.iter().filter_map(|interval| interval.events).sum::<u64>(), source.shed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shed_is_told_after_a_stop_in_an_outage_that_has_filled_the_log() {
    let mut bench = Bench::new();
    let mut source = accepting(1000);
    source.common.shed = Some(Shed { above_percent: 0, keep: None });
    bench.config.source.insert("rsvps", source);
    bench.config.log.max_bytes = Some(1 << 20);
    bench.cluster.broker_down(1).unwrap();
    let mut running = bench.start();
    let mut ids = 0..;
    let is_full = |running: &Running| {
        running.readiness.unmet().get("log").is_some_and(|why| why.contains("log.max_bytes"))
    };
    while !is_full(&running) {
        running.push(rsvp(1_000 + ids.next().unwrap())).await;
    }
    // The queue takes some more, and is not emptied.
    for id in ids.by_ref().take(5_000) {
        running.push(rsvp(1_000 + id)).await;
    }
    running.stop.cancel();
    running.pipeline.await.unwrap().unwrap();
    let shed = of("rsvps", &running.metrics).shed;
    assert!(shed > 1_000, "{shed}");
    bench.cluster.broker_up(1).unwrap();
    bench.start().drain().await;
    let told = told(&bench);
    assert_eq!(told.iter().filter_map(|interval| interval.events).sum::<u64>(), shed);
}
