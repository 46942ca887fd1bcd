//! What `delivery` and `release` of a source promise.

use futures_util::FutureExt as _;

use super::*;
use crate::acks::{Span, State};
use crate::config::{Common, Delivery, Release};
use crate::cursor::Cursor;

fn promising(delivery: Delivery, release: Release) -> Bench {
    let mut bench = Bench::new();
    let mut source = Websocket::rsvps();
    source.common = Common { delivery, release, ..Common::default() };
    bench.config.source.insert("rsvps", source);
    bench
}

/// Writes entries of these sources into the log, as a process that was killed leaves them.
fn leave(bench: &Bench, sources: &[&str]) {
    let (_, mut appender, _) = bench.open();
    let entries: Vec<_> = (100..)
        .zip(sources)
        .map(|(id, source)| (appender.allot(), Entry { source: (*source).into(), ..entry(id) }))
        .collect();
    appender.append(&entries, &[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_what_a_killed_process_left_is_dropped_and_that_of_other_sources_is_sent() {
    let mut bench = promising(Delivery::AtMostOnce, Release::First);
    bench.config.source.insert("second", Websocket::rsvps());
    leave(&bench, &["rsvps", "second", "rsvps", "rsvps", "removed"]);
    let mut running = bench.start();
    let acks = running.intake.acks().clone();
    running.push(rsvp(200)).await;
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().dropped), (3, 3));
    assert_eq!(payloads(&bench.records(RAW)), [rsvp(101), rsvp(104), rsvp(200)]);
    let (_, _, found) = bench.open();
    let low = found.settled.low();
    let all = Span { first: message_log::Sequence::ZERO, last: low };
    assert_eq!(acks.settled(all).await, State::Lost);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_an_outage_drops_nothing_and_what_a_lost_producer_had_is_not_sent_again() {
    let bench = promising(Delivery::AtMostOnce, Release::First);
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    for id in 0..50 {
        assert_eq!(running.push_and_wait(rsvp(100 + id)).await, Outcome::Released, "on receipt");
    }
    bench.cluster.broker_up(1).unwrap();
    while running.metrics.total().published < 51 {
        tokio::task::yield_now().await;
    }
    bench.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    running.push(rsvp(200)).await;
    while running.metrics.total().dropped == 0 {
        tokio::task::yield_now().await;
    }
    running.push(rsvp(300)).await;
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().dropped), (52, 1));
    assert!(!payloads(&bench.records(RAW)).contains(&rsvp(200)));
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_what_a_killed_process_left_is_sent_without_a_look_at_kafka() {
    let bench = promising(Delivery::AtLeastOnce, Release::First);
    leave(&bench, &["rsvps", "rsvps"]);
    // Whoever looks does not get beyond this.
    let no = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    bench.cluster.request_errors(RDKafkaApiKey::ListOffsets, &[no; 100]);
    let running = bench.start();
    let metrics = running.drain().await;
    assert_eq!((metrics.total().recovered, metrics.total().published), (2, 2));
    bench.cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    assert_eq!(payloads(&bench.records(RAW)), [rsvp(100), rsvp(101)]);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_for_both_waits_for_kafka_although_the_message_is_on_disk() {
    let bench = promising(Delivery::EffectivelyOnce, Release::Both);
    let mut running = bench.start();
    assert_eq!(running.push_and_wait(rsvp(1)).await, Outcome::Released);
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    let released = Released::default();
    for payload in [rsvp(2), "{}".to_owned()] {
        running.push_with(payload, Some(released.receipt())).await;
    }
    let syncs = running.metrics.log_sync.get_sample_count();
    while running.metrics.total().received < 3
        || running.metrics.log_sync.get_sample_count() == syncs
    {
        tokio::task::yield_now().await;
    }
    // Another process finds it there; this one does not say so.
    assert_eq!(released.outcome().now_or_never(), None);
    bench.cluster.broker_up(1).unwrap();
    assert_eq!(released.outcome().await, Outcome::Refused(Reason::MissingId));
    assert_eq!(bench.records(RAW).len() + bench.records(DEAD_LETTERS).len(), 3);
    running.drain().await;
}

/// Pushes a message behind which the source resumes here.
async fn push_at(running: &Running, payload: String, cursor: &'static str) {
    let payload: bytes::Bytes = payload.into();
    let (received_ms, identity) = (running.intake.now_ms(), running.intake.identify(&payload));
    let cursor = Some(Cursor(cursor.into()));
    let message = Message { payload, received_ms, identity, cursor, receipt: None };
    running.intake.push(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_for_both_is_stored_when_kafka_has_what_it_covers() {
    for (release, early) in [(Release::First, true), (Release::Both, false)] {
        let bench = promising(Delivery::EffectivelyOnce, release);
        bench.cluster.broker_down(1).unwrap();
        let running = bench.start();
        push_at(&running, rsvp(1), "here").await;
        while running.metrics.total().received == 0 {
            tokio::task::yield_now().await;
        }
        running.stop.cancel();
        running.drain().await;
        let cursor = |bench: &Bench| bench.open().0.cursor("rsvps").unwrap();
        assert_eq!(cursor(&bench).is_some(), early, "{release:?}");

        bench.cluster.broker_up(1).unwrap();
        let running = bench.start();
        push_at(&running, rsvp(2), "there").await;
        running.drain().await;
        assert_eq!(cursor(&bench).as_deref(), Some(&b"there"[..]), "{release:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kafka_takes_in_no_form_does_not_keep_its_peer_waiting() {
    let mut bench = promising(Delivery::EffectivelyOnce, Release::Both);
    // Exceeds the limit of the producer itself, whatever the topic.
    bench.config.kafka.properties.insert("message.max.bytes".to_owned(), "1000".to_owned());
    let large = |start: &str| format!(r#"{start}"{}"}}"#, "x".repeat(1000));
    let mut running = bench.start();
    let event = large(r#"{"rsvp_id":1,"response":"#);
    assert_eq!(running.push_and_wait(event).await, Outcome::Released);
    let no_event = large(r#"{"response":"#);
    assert_eq!(running.push_and_wait(no_event).await, Outcome::Refused(Reason::MissingId));
    assert_eq!(running.drain().await.total().failed, 2);
}
