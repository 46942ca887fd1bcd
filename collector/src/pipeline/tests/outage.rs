//! While Kafka takes nothing, and each mode of the log.

use super::*;
use crate::acks::{Span, State};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_producer_keeps_nobody_waiting_and_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.config.kafka.properties.insert("queue.buffering.max.messages".to_owned(), "7".to_owned());
    let mut running = bench.start();
    for id in 0..500 {
        running.push(rsvp(1000 + id)).await;
    }
    let metrics = running.drain().await;
    assert!(metrics.queue_full.get() > 0);
    assert_eq!(metrics.total().published, 500);
    let expected: Vec<_> = (0..500).map(|id| rsvp(1000 + id)).collect();
    assert_eq!(payloads(&bench.records(RAW)), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_drain_deadline_what_is_not_delivered_stays_in_the_log() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    while running.metrics.total().published == 0 {
        tokio::task::yield_now().await;
    }
    bench.cluster.broker_down(1).unwrap();
    running.push(rsvp(2)).await;
    assert_eq!(running.push_and_wait(rsvp(3)).await, Outcome::Released, "it is on disk");
    running.stop.cancel();
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().pending()), (1, 2));

    bench.cluster.broker_up(1).unwrap();
    let running = bench.start();
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 2);
    assert_eq!(payloads(&bench.records(RAW)), [rsvp(1), rsvp(2), rsvp(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_messages_are_taken_and_logged_and_the_order_is_kept() {
    let mut bench = Bench::new();
    // The producer has room for seven, whatever happens.
    bench.config.kafka.properties.insert("queue.buffering.max.messages".to_owned(), "7".to_owned());
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    for id in 0..3000 {
        running.push(rsvp(1000 + id)).await;
    }
    assert_eq!(running.push_and_wait(rsvp(5000)).await, Outcome::Released, "from the disk");
    assert_eq!(running.metrics.total().received, 3002);
    bench.cluster.broker_up(1).unwrap();
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 3002);
    let partitions = bench.in_order();
    assert_eq!(partitions.values().map(Vec::len).sum::<usize>(), 3002, "each once");
    for records in partitions.values() {
        assert!(records.is_sorted_by(|a, b| a < b));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_kafka_takes_and_logs_messages_too() {
    let bench = Bench::new();
    bench.cluster.broker_down(1).unwrap();
    let mut running = bench.start();
    for id in 0..50 {
        assert_eq!(running.push_and_wait(rsvp(100 + id)).await, Outcome::Released);
    }
    running.stop.cancel();
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().pending()), (0, 50));
    bench.cluster.broker_up(1).unwrap();
    let metrics = bench.start().drain().await;
    assert_eq!((metrics.total().recovered, metrics.total().published), (50, 50));
    let expected: Vec<_> = (0..50).map(|id| rsvp(100 + id)).collect();
    assert_eq!(payloads(&bench.records(RAW)), expected);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_start_a_partition_without_a_leader_keeps_no_other_waiting() {
    let bench = Bench::new();
    let (_, mut appender, _) = bench.open();
    let entries: Vec<_> = (0..50).map(|id| (appender.allot(), entry(100 + id))).collect();
    appender.append(&entries, &[]).unwrap();
    drop(appender);
    bench.cluster.partition_leader(RAW, 0, None).unwrap();
    let running = bench.start();
    while running.metrics.total().published == 0 {
        tokio::task::yield_now().await;
    }
    assert!(running.metrics.total().pending() > 0, "the others have a leader, this one has not");
    bench.cluster.partition_leader(RAW, 0, Some(1)).unwrap();
    let metrics = running.drain().await;
    assert_eq!((metrics.total().recovered, metrics.total().published), (50, 50));
    assert_eq!(bench.in_order().len(), 2);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_partition_stalls_the_others_go_on_and_the_log_keeps_its_share_only() {
    let mut bench = Bench::new();
    bench.config.source.insert("rsvps", accepting(200_000));
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.partition_leader(RAW, 0, None).unwrap();
    let padding = "x".repeat(10_000);
    let sent = 501;
    for id in 1..sent {
        let event = format!(r#"{{"rsvp_id":{id}00,"response":"yes","x":"{padding}"}}"#);
        running.push(event).await;
        // One after the other, because what arrives together is kept together.
        while running.metrics.total().received <= id {
            tokio::task::yield_now().await;
        }
    }
    // What waits for the stalled partition is copied out of its groups, so that all of these can go but the newest, up to a
    // stretch of 1 MiB.
    while running.metrics.log_held.get() > 1_500_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (total, share) = (running.metrics.total(), 100..400);
    let pending = u64::try_from(total.pending()).unwrap();
    assert!(share.contains(&pending) && total.published == sent - pending, "{total:?}");
    bench.cluster.partition_leader(RAW, 0, Some(1)).unwrap();
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, sent);
    assert!(bench.in_order().values().all(|sequences| sequences.is_sorted()));
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_at_its_limit_slows_the_source_down_and_says_so() {
    let mut bench = Bench::new();
    bench.config.log.max_bytes = Some(4 << 20);
    bench.config.source.insert("rsvps", accepting(200_000));
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    let padding = "x".repeat(100_000);
    let event = |id: u64| format!(r#"{{"rsvp_id":{id},"response":"yes","x":"{padding}"}}"#);
    for id in 0..200 {
        running.push(event(100 + id)).await;
    }
    running.is_ready("log", false).await;
    let why = running.readiness.unmet()["log"].clone();
    assert!(why.contains("log.max_bytes"), "{why}");
    let received = running.metrics.total().received;
    // One group of up to 8 MiB may be written at the limit.
    assert!((40..=130).contains(&received), "after {received}: {why}");
    bench.cluster.broker_up(1).unwrap();
    running.is_ready("log", true).await;
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 201);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_delivers_everything_and_without_a_log_the_receipt_comes_from_kafka() {
    for mode in [Mode::Hybrid, Mode::Pessimistic, Mode::Off] {
        let mut bench = Bench::new();
        bench.config.log.mode = mode;
        bench.cluster.request_errors(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
        );
        let mut running = bench.start();
        for id in 0..300 {
            running.push(rsvp(1000 + id)).await;
        }
        assert_eq!(running.push_and_wait("null").await, Outcome::Refused(Reason::NotObject));
        if mode == Mode::Off {
            let dead = bench.records(DEAD_LETTERS).len();
            assert_eq!(dead, 1, "nothing else makes it safe");
        }
        let metrics = running.drain().await;
        assert_eq!(metrics.total().published, 300, "{mode:?}");
        let expected: Vec<_> = (0..300).map(|id| rsvp(1000 + id)).collect();
        assert_eq!(payloads(&bench.records(RAW)), expected, "{mode:?}");
        nothing_left(bench.directory.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_sent_first_when_the_log_is_switched_off_and_on_again() {
    let mut bench = Bench::new();
    bench.cluster.broker_down(1).unwrap();
    let mut running = bench.start();
    for id in 0..50 {
        assert_eq!(running.push_and_wait(rsvp(100 + id)).await, Outcome::Released);
    }
    running.stop.cancel();
    running.drain().await;

    bench.cluster.broker_up(1).unwrap();
    bench.config.log.mode = Mode::Off;
    let mut running = bench.start();
    for id in 50..60 {
        running.push(rsvp(100 + id)).await;
    }
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, metrics.total().damaged), (60, 0));
    nothing_left(bench.directory.path());

    bench.config.log.mode = Mode::Hybrid;
    let mut running = bench.start();
    running.push(rsvp(160)).await;
    let metrics = running.drain().await;
    assert_eq!((metrics.total().recovered, metrics.total().published), (0, 1));
    let expected: Vec<_> = (0..61).map(|id| rsvp(100 + id)).collect();
    assert_eq!(payloads(&bench.records(RAW)), expected);
    nothing_left(bench.directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_what_was_not_delivered_is_gone_and_the_sources_cursor_says_so() {
    let mut bench = Bench::new();
    bench.config.log.mode = Mode::Off;
    let running = bench.start();
    let message = |intake: &Intake, id: u64| {
        let payload: bytes::Bytes = rsvp(id).into();
        let cursor = Some(crate::cursor::Cursor(bytes::Bytes::copy_from_slice(&id.to_be_bytes())));
        Message {
            received_ms: intake.now_ms(),
            identity: intake.identify(&payload),
            payload,
            cursor,
            receipt: None,
        }
    };
    let first = message(&running.intake, 1);
    running.intake.push(first).await.unwrap();
    while running.metrics.total().published == 0 {
        tokio::task::yield_now().await;
    }
    bench.cluster.broker_down(1).unwrap();
    let second = message(&running.intake, 2);
    running.intake.push(second).await.unwrap();
    while running.metrics.total().received < 2 {
        tokio::task::yield_now().await;
    }
    running.stop.cancel();
    running.drain().await;
    let (log, _, found) = bench.open();
    assert_eq!(found.pending(), 0);
    let cursor = log.cursor("rsvps").unwrap();
    assert_eq!(cursor.as_deref(), Some(&1_u64.to_be_bytes()[..]), "only what is in Kafka");
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_limit_the_oldest_refused_entry_is_dropped_and_counted() {
    let mut bench = Bench::new();
    // Exceeds the limit of the producer itself, whatever the topic.
    bench.config.kafka.properties.insert("message.max.bytes".to_owned(), "1000".to_owned());
    bench.config.source.insert("rsvps", accepting(5000));
    bench.config.log.max_failed = 2;
    let mut running = bench.start();
    for id in 1..=3 {
        running.push(format!(r#"{{"rsvp_id":{id},"response":"{}"}}"#, "x".repeat(1000))).await;
    }
    let metrics = running.drain().await;
    assert_eq!((metrics.total().failed, metrics.total().evicted), (2, 1));
    let (log, _, found) = bench.open();
    let kept = found.failed.iter().map(|sequence| log.get(Family::Failed, *sequence).unwrap());
    let ids: Vec<_> = kept.map(|entry| entry.unwrap().identity.unwrap().key.unwrap()).collect();
    assert_eq!(ids, ["2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_kafka_even_while_no_message_comes() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    running.is_ready("kafka", false).await;
    bench.cluster.broker_up(1).unwrap();
    running.is_ready("kafka", true).await;
    assert_eq!(running.drain().await.total().published, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_peer_has_given_up_is_not_taken_and_those_behind_it_are() {
    let bench = Bench::new();
    let mut running = bench.start();
    let released = Released::default();
    let receipts: Vec<_> = (0..2000).map(|_| released.receipt()).collect();
    drop(released);
    for (id, receipt) in (0..).zip(receipts) {
        running.push_with(rsvp(id), Some(receipt)).await;
    }
    assert_eq!(running.push_and_wait(rsvp(3000)).await, Outcome::Released);
    let metrics = running.drain().await;
    assert_eq!((metrics.total().published, bench.records(RAW).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_survives_a_restart_and_knows_when_kafka_has_all_of_it() {
    let bench = Bench::new();
    let mut running = bench.start();
    running.push(rsvp(1)).await;
    running.is_ready("kafka", true).await;
    bench.cluster.broker_down(1).unwrap();
    let released = Released::default();
    for payload in [rsvp(2), "{}".to_owned(), rsvp(3)] {
        running.push_with(payload, Some(released.receipt())).await;
    }
    assert_eq!(released.outcome().await, Outcome::Refused(Reason::MissingId));
    let (first, last) = released.range().unwrap();
    let span = Span { first, last };
    let acks = running.intake.acks().clone();
    let ack = acks.give("rsvps", span);
    assert_eq!(acks.find("rsvps", &ack).unwrap().state, State::Logged);
    running.stop.cancel();
    running.drain().await;

    let running = bench.start();
    let acks = running.intake.acks().clone();
    acks.follow(&"rsvps".into());
    assert_eq!(acks.find("rsvps", &ack).unwrap().state, State::Logged, "it is in the log");
    bench.cluster.broker_up(1).unwrap();
    assert_eq!(acks.settled(span).await, State::InKafka);
    let fate = acks.find("rsvps", &ack).unwrap();
    let reasons: Vec<_> = fate.dead_letters.iter().map(|(_, reason)| *reason).collect();
    assert_eq!((fate.state, reasons), (State::InKafka, vec![Reason::MissingId]));
    let dead = &bench.records(DEAD_LETTERS)[0];
    assert_eq!(dead.headers[header::SEQ], fate.dead_letters[0].0);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_kafka_is_shown_with_its_age_until_it_is_delivered() {
    let bench = Bench::new();
    let (_, mut appender, _) = bench.open();
    let entries: Vec<_> =
        [entry(1), entry(2)].into_iter().map(|entry| (appender.allot(), entry)).collect();
    appender.append(&entries, &[]).unwrap();
    drop(appender);
    bench.cluster.broker_down(1).unwrap();
    let running = bench.start();
    let since = Clock::default().now_ms() - entry(1).received_ms;
    let least = Duration::from_millis(since.unsigned_abs()).as_secs_f64();
    while running.metrics.oldest_pending.seconds() < least {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.metrics.total().pending(), 2);
    bench.cluster.broker_up(1).unwrap();
    let metrics = running.drain().await;
    assert_eq!(metrics.total().published, 2);
    assert!(metrics.oldest_pending.seconds().abs() < f64::EPSILON, "nothing waits any more");
}
