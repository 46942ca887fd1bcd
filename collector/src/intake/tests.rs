use common::result::missed::Cause;
use prometheus::Registry;

use super::*;
use crate::metrics::Metrics;

fn queues(sources: &[&str]) -> (Queues, Vec<Intake>) {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let mut queues = Queues::default();
    let intakes = sources
        .iter()
        .map(|name| {
            queues.add(
                name,
                &Schema::default(),
                &Common::default(),
                Clock::default(),
                metrics.of_source(name),
            )
        })
        .collect();
    (queues, intakes)
}

fn message(payload: &str) -> Message {
    Message {
        payload: payload.to_owned().into(),
        received_ms: 0,
        identity: Err(Reason::NotJson),
        cursor: None,
        receipt: None,
    }
}

fn taken(queues: &mut Queues, messages: usize, bytes: usize) -> Vec<String> {
    let mut taken = Vec::new();
    queues.take(messages, bytes, 0, |queue, queued| {
        let payload = String::from_utf8(queued.sifted.message.payload.to_vec()).unwrap();
        taken.push(format!("{}{payload}", queue.source));
    });
    taken
}

#[tokio::test]
async fn a_source_with_many_messages_does_not_keep_another_one_waiting() {
    let (mut queues, intakes) = queues(&["a", "b"]);
    for _ in 0..1000 {
        intakes[0].push(message("")).await.unwrap();
    }
    intakes[1].push(message("")).await.unwrap();
    let first = taken(&mut queues, 100, usize::MAX);
    assert_eq!(first.len(), 100);
    assert_eq!(first.iter().filter(|source| **source == "b").count(), 1);
    let mut seen = first.len();
    while seen < 1001 {
        let next = taken(&mut queues, 100, usize::MAX);
        assert!(!next.is_empty());
        seen += next.len();
    }
}

#[tokio::test]
async fn the_order_of_a_source_is_kept_and_bytes_end_a_batch() {
    let (mut queues, intakes) = queues(&["a"]);
    for number in 0..9 {
        intakes[0].push(message(&number.to_string())).await.unwrap();
    }
    assert_eq!(taken(&mut queues, 9, 3), ["a0", "a1", "a2"]);
    assert_eq!(taken(&mut queues, 4, 9), ["a3", "a4", "a5", "a6"]);
    assert_eq!(taken(&mut queues, 9, 9), ["a7", "a8"]);
    assert_eq!(taken(&mut queues, 9, 9), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_does_not_wait_drops_messages_while_there_is_no_room_and_counts_them() {
    let (mut queues, intakes) = queues(&["a"]);
    let dropped = |queues: &Queues| queues.queues[0].metrics.no_room();
    for _ in 0..QUEUE_MESSAGES {
        intakes[0].offer(message("")).await.unwrap();
    }
    for expected in [1, 2] {
        intakes[0].offer(message("")).await.unwrap();
        assert_eq!(dropped(&queues), expected);
    }
    taken(&mut queues, 1, 1);
    for expected in [2, 3] {
        intakes[0].offer(message("x")).await.unwrap();
        assert_eq!(dropped(&queues), expected);
    }
    drop(queues);
    assert_eq!(intakes[0].offer(message("")).await, Err(Closed));
}

#[tokio::test]
async fn what_keep_leaves_out_is_not_told_as_shed_and_keeps_its_cursor_in_its_place() {
    let common: Common = toml::from_str(
        "keep = \"rsvp_id < 10\"\nshed = { above_percent = 0, keep = \"rsvp_id = 1\" }",
    )
    .unwrap();
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let mut queues = Queues::default();
    let (schema, clock) = (Schema::default(), Clock::default());
    let intake = queues.add("a", &schema, &common, clock, metrics.of_source("a"));
    queues.load().set(1.0);
    for id in [1, 5, 50, 1] {
        let payload = format!(r#"{{"rsvp_id":{id},"response":"yes"}}"#);
        let identity = intake.identify(payload.as_bytes());
        let cursor = Some(Cursor(id.to_string().into()));
        let message =
            Message { payload: payload.into(), received_ms: 0, identity, cursor, receipt: None };
        intake.push(message).await.unwrap();
    }
    let mut came = Vec::new();
    queues.take(9, usize::MAX, 0, |_, Queued { sifted: Sifted { message, left_out }, .. }| {
        assert_eq!(message.payload.is_empty(), left_out.is_some());
        came.push((String::from_utf8(message.cursor.unwrap().0.to_vec()).unwrap(), left_out));
    });
    let (shed, filtered) = (Some(LeftOut::Shed), Some(LeftOut::Filtered));
    let expected = [("1", None), ("5", shed), ("50", filtered), ("1", None)];
    assert!(came.iter().map(|(cursor, why)| (&**cursor, *why)).eq(expected), "{came:?}");
    drop(intake);
    queues.take(9, usize::MAX, 0, |_, queued| panic!("{queued:?}"));
    let told: Vec<_> = queues.missing().into_iter().map(|one| (one.cause, one.events)).collect();
    assert_eq!(told, [(Cause::Shed, Some(1)), (Cause::Filtered, Some(1))]);
}

#[tokio::test]
async fn nobody_but_a_collector_can_write_a_control_record() {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let schema: Schema = toml::from_str(r#"id = "/mr_control/id""#).unwrap();
    let (mut queues, common) = (Queues::default(), Common::default());
    let intake = queues.add("a", &schema, &common, Clock::default(), metrics.of_source("a"));
    let with = |more: &str| format!(r#"{{"mr_control":{{"id":"mr-control"}}{more}}}"#);
    assert_eq!(intake.identify(with("").as_bytes()), Err(Reason::BadId));
    assert!(intake.identify(with(r#","of":5"#).as_bytes()).is_ok(), "an event may have any key");
}

#[tokio::test]
async fn messages_without_a_payload_have_a_share_of_the_queue_too() {
    let (mut queues, intakes) = queues(&["a"]);
    // As without a log: they keep their shares until Kafka has them.
    let mut shares = Vec::new();
    let all = QUEUE_BYTES as usize / Entry::OVERHEAD_BYTES;
    while shares.len() <= all {
        let pushed = tokio::task::unconstrained(intakes[0].push(message("")));
        tokio::select! {
            biased;
            pushed = pushed => pushed.unwrap(),
            () = std::future::ready(()) => break,
        }
        queues.take(1, 1, 0, |_, queued| shares.push(queued.share));
    }
    // The next one has to wait.
    assert_eq!(shares.len(), all);
}

#[tokio::test]
async fn the_end_of_the_last_source_wakes_whoever_waits_for_messages() {
    let (mut queues, mut intakes) = queues(&["a", "b"]);
    intakes.pop();
    intakes[0].push(message("x")).await.unwrap();
    queues.some().await;
    assert!(!queues.are_closed());
    let waiting = tokio::spawn(queues.some());
    drop(intakes);
    waiting.await.unwrap();
    assert_eq!(taken(&mut queues, 9, 9), ["ax"], "what was pushed is there");
    assert!(queues.are_closed());
}

#[tokio::test]
async fn a_source_with_a_rate_waits_or_drops_what_comes_faster_if_it_cannot_wait() {
    for (keys, waits) in [("rate_limit = 200", true), ("rate_limit = 200\nshed = {}", false)] {
        let common: Common = toml::from_str(keys).unwrap();
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let mut queues = Queues::default();
        let (schema, clock) = (Schema::default(), Clock::default());
        let began = Instant::now();
        let intake = queues.add("a", &schema, &common, clock, metrics.of_source("a"));
        for _ in 0..50 {
            intake.push(message("")).await.unwrap();
        }
        let most = 200.0 * began.elapsed().as_secs_f64() + 12.0;
        let mut taken = 0;
        queues.take(99, usize::MAX, 0, |_, _| taken += 1);
        assert_eq!(taken + metrics.total().shed, 50);
        assert_eq!(taken == 50, waits, "{keys}: {taken}");
        assert!(taken as f64 <= most, "{keys}: {taken}, and {most} at most");
    }
}
