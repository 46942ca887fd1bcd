use common::protocol::{ByeReason, KafkaState, RefusalCode, ServerFrame, Status, StreamId};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::config::Config;
use crate::limits::RingLimits;
use crate::test_api::{Api, Client, brief, cursor, eventually};

mod flow;
mod resume;

/// So large that a few of these fill the kernel's buffers of one connection.
const BIG: usize = 60_000;

fn small_ring() -> Config {
    let mut config =
        Config { ring: RingLimits { frames: 20, bytes: 16 << 20 }, ..Config::default() };
    config.limits.write_deadline_ms = 600_000;
    config
}

/// The sequences of the results in `frames`, in order, and the number of results reported as skipped.
fn account(frames: &[ServerFrame]) -> (Vec<u64>, u64) {
    let (mut seqs, mut skipped) = (Vec::new(), 0);
    for frame in frames {
        match frame {
            ServerFrame::Snapshot(update) | ServerFrame::Result(update) => {
                seqs.push(update.cursor.seq)
            }
            ServerFrame::StallWarning(warning) => skipped += warning.skipped,
            ServerFrame::SlowDown(_)
            | ServerFrame::Gap(_)
            | ServerFrame::Status(_)
            | ServerFrame::Error(_)
            | ServerFrame::Bye(_) => {}
        }
    }
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    (seqs, skipped)
}

async fn read_until(client: &mut Client, seq: u64) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while !matches!(frames.last(), Some(ServerFrame::Result(update)) if update.cursor.seq == seq) {
        frames.push(client.frame().await);
    }
    frames
}

fn place(frames: &[ServerFrame], kind: &str) -> usize {
    let briefs: Vec<_> = frames.iter().map(brief).collect();
    briefs
        .iter()
        .position(|brief| brief.starts_with(kind))
        .unwrap_or_else(|| panic!("no {kind} in {briefs:?}"))
}

#[tokio::test]
async fn a_subscriber_gets_a_snapshot_of_each_query_and_then_each_newer_result() {
    let mut api = Api::start(&Config::default());
    for query in ["countries", "topics", "topics", "other"] {
        api.publish(query);
    }
    let mut client = api.connect().await;
    client.subscribe(["topics", "countries"], None).await;
    assert_eq!(client.briefs(2).await, ["snapshot countries 0", "snapshot topics 2"]);
    for query in ["topics", "other", "countries"] {
        api.publish(query);
    }
    assert_eq!(client.briefs(2).await, ["result topics 4", "result countries 6"]);
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_star_subscribes_to_queries_that_do_not_exist_yet() {
    let mut api = Api::start(&Config::default());
    let mut client = api.connect().await;
    client.subscribe(["*"], None).await;
    eventually("a client", || api.metrics.clients.get() == 1).await;
    // It comes whether it is published before or after the server has read the subscription.
    api.publish("topics");
    assert!(client.brief().await.ends_with(" topics 0"));
    api.publish("brand new");
    assert_eq!(client.brief().await, "result brand new 1");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn another_subscription_replaces_the_first() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    api.publish("countries");
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 0");
    client.subscribe(["countries"], None).await;
    assert_eq!(client.brief().await, "snapshot countries 1");
    api.publish("topics");
    api.publish("countries");
    assert_eq!(client.brief().await, "result countries 3");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_with_its_cursor_misses_nothing() {
    let mut api = Api::start(&Config::default());
    let mut client = api.connect().await;
    api.publish("topics");
    client.subscribe(["topics"], None).await;
    let last = client.frame().await.cursor().unwrap();
    drop(client);
    for _ in 0..3 {
        api.publish("topics");
    }
    let mut client = api.connect().await;
    client.subscribe(["topics"], Some(last)).await;
    assert_eq!(client.briefs(3).await, ["result topics 1", "result topics 2", "result topics 3"]);
    api.publish("topics");
    assert_eq!(client.brief().await, "result topics 4");
    assert_eq!(api.metrics.resumes.with_label_values(&["resumed"]).get(), 1);
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_cursor_that_is_too_old_or_of_another_stream_is_answered_with_a_gap_and_snapshots() {
    let mut api =
        Api::start(&Config { ring: RingLimits { frames: 2, bytes: 1 << 20 }, ..Config::default() });
    for _ in 0..5 {
        api.publish("topics");
    }
    let mut client = api.connect().await;
    client.subscribe(["topics"], Some(cursor(0))).await;
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("no gap") };
    assert_eq!((gap.from, gap.floor, gap.skipped), (cursor(0), Some(cursor(2)), Some(3)));
    assert_eq!(client.brief().await, "snapshot topics 4");
    client.subscribe(["topics"], Some(Cursor { stream: StreamId(1), seq: 3 })).await;
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("no gap") };
    assert_eq!(gap.skipped, None);
    assert_eq!(client.brief().await, "snapshot topics 4");
    for outcome in ["too_old", "other_stream"] {
        assert_eq!(api.metrics.resumes.with_label_values(&[outcome]).get(), 1, "{outcome}");
    }
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn subscribers_are_told_when_the_stream_begins_anew() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let mut client = api.connect().await;
    client.subscribe(["*"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 0");
    api.hub.begin(StreamId(2), 1);
    api.publish("topics");
    api.hub.complete();
    assert_eq!(client.brief().await, "gap");
    let frame = client.frame().await;
    assert_eq!(frame.cursor().unwrap(), Cursor { stream: StreamId(2), seq: 1 });
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_result_is_encoded_once_for_all_clients() {
    const CLIENTS: usize = 20;
    const RESULTS: u64 = 10;
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = api.connect().await;
        client.subscribe(["topics"], None).await;
        assert_eq!(client.brief().await, "snapshot topics 0");
        clients.push(client);
    }
    for _ in 0..RESULTS {
        api.publish("topics");
    }
    for client in &mut clients {
        let (seqs, skipped) = account(&read_until(client, RESULTS).await);
        assert_eq!((seqs, skipped), ((1..=RESULTS).collect(), 0));
    }
    let encoded = |kind| api.metrics.frames_encoded.with_label_values(&[kind]).get();
    assert_eq!((encoded("result"), encoded("snapshot")), (RESULTS + 1, 1));
    assert_eq!(api.metrics.deliveries.get(), (RESULTS + 1) * CLIENTS as u64);
    drop(clients);
    api.stop().await;
}

#[tokio::test]
async fn frames_that_cannot_be_read_are_answered_and_the_connection_stays() {
    let mut config = Config::default();
    config.limits.bad_frames = 10;
    let mut api = Api::start(&config);
    api.publish("topics");
    let mut client = api.connect().await;
    let nested = "[".repeat(15_000);
    let bad = [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"subscribe\"",
        r#"{"type":"unsubscribe"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","queries":["topics"],"cursor":"x"}"#,
        nested.as_str(),
    ];
    assert_eq!(bad.len(), 10);
    for text in bad {
        client.say(text).await;
        let ServerFrame::Error(refusal) = client.frame().await else {
            panic!("no error for {}", &text[..text.len().min(60)])
        };
        assert_eq!(refusal.code, RefusalCode::BadFrame);
        assert!(refusal.message.len() < 500, "{}", refusal.message);
    }
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 0");
    assert_eq!(api.metrics.bad_frames.get(), 10);
    client.socket.send(Message::binary(vec![0, 1])).await.unwrap();
    let (frames, close) = client.rest().await;
    assert_eq!(frames.iter().map(brief).collect::<Vec<_>>(), ["error BadFrame", "bye bad_frames"]);
    assert_eq!(close.unwrap().code, CloseCode::Policy);
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn an_unknown_query_is_named_and_comes_when_it_is_published() {
    let mut api = Api::start(&Config::default());
    let mut client = api.connect().await;
    client.subscribe(["tropics"], None).await;
    let ServerFrame::Error(refusal) = client.frame().await else { panic!("no error") };
    assert_eq!(refusal.code, RefusalCode::UnknownQuery);
    assert!(refusal.message.contains("`tropics`"), "{}", refusal.message);
    api.publish("tropics");
    assert!(client.brief().await.ends_with(" tropics 0"));
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_connection_with_a_reason() {
    let api = Api::start(&Config::default());
    let mut client = api.connect().await;
    client.say("x".repeat(1 << 20)).await;
    let (frames, close) = client.rest().await;
    assert_eq!(frames.iter().map(brief).collect::<Vec<_>>(), ["bye too_large"]);
    assert_eq!(close.unwrap().code, CloseCode::Size);
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_client_that_is_silent_even_to_pings_is_closed() {
    let mut config = Config::default();
    config.limits.ping_interval_ms = 20;
    config.limits.idle_timeout_ms = 100;
    let api = Api::start(&config);
    let mut dead = api.connect().await;
    // It does not read, and so answers no ping.
    eventually("the end", || api.metrics.disconnects.with_label_values(&["idle"]).get() == 1).await;
    let (frames, close) = dead.rest().await;
    assert_eq!(frames.iter().map(brief).collect::<Vec<_>>(), ["bye idle"]);
    assert_eq!(u16::from(close.unwrap().code), 4009);
    drop(dead);
    api.stop().await;
}

#[tokio::test]
async fn a_drain_says_bye_with_the_cursor_and_when_to_come_back() {
    let config = Config::default();
    let mut api = Api::start(&config);
    api.publish("topics");
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 0");
    api.shutdown.cancel();
    let (frames, close) = client.rest().await;
    let [ServerFrame::Bye(bye)] = frames[..] else { panic!("{frames:?}") };
    assert_eq!((bye.reason, bye.cursor), (ByeReason::Shutdown, Some(cursor(0))));
    assert!(bye.retry_ms <= config.limits.retry_ms);
    assert_eq!(u16::from(close.unwrap().code), 1012);
    drop(client);
    let metrics = api.metrics.clone();
    api.stop().await;
    assert_eq!((metrics.clients.get(), metrics.connections.get()), (0, 0));
}

#[tokio::test]
async fn a_client_that_closes_or_breaks_off_is_counted_as_such() {
    let api = Api::start(&Config::default());
    let mut polite = api.connect().await;
    polite.socket.close(None).await.unwrap();
    assert_eq!(polite.rest().await.0, []);
    drop(api.connect().await);
    let gone = |reason| api.metrics.disconnects.with_label_values(&[reason]).get();
    eventually("both gone", || gone("client") == 1 && gone("lost") == 1).await;
    api.stop().await;
}

#[tokio::test]
async fn a_client_that_acknowledged_all_it_was_given_lags_nothing_whatever_others_are_given() {
    let mut api = Api::start(&small_ring());
    let mut client = api.connect().await;
    let mut busy = api.connect().await;
    busy.subscribe(["busy"], None).await;
    api.publish("quiet");
    client.subscribe(["quiet"], None).await;
    let frame = client.frame().await;
    client.ack(client_cursor(&frame)).await;
    for _ in 0..5 {
        // Ten times what the ring holds, of a query that the client did not ask for.
        let mut last = 0;
        for _ in 0..200 {
            last = api.publish("busy");
            while !busy.brief().await.ends_with(&format!(" busy {last}")) {}
        }
        let own = api.publish("quiet");
        assert!(own > last);
        let frame = client.frame().await;
        assert_eq!(brief(&frame), format!("result quiet {own}"));
        client.ack(client_cursor(&frame)).await;
    }
    let warned = |kind| api.metrics.warnings.with_label_values(&[kind]).get();
    assert_eq!((warned("slow_down"), warned("stall_warning")), (0, 0));
    drop((client, busy));
    api.stop().await;
}

fn client_cursor(frame: &ServerFrame) -> Cursor {
    frame.cursor().unwrap()
}

#[tokio::test]
async fn a_client_is_told_of_kafka_when_it_subscribes_and_when_that_changes() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    let ServerFrame::Status(status) = client.any().await.unwrap() else { panic!("no status") };
    assert_eq!((status.kafka, status.kafka_away_since_ms), (KafkaState::Connected, None));
    assert_eq!(status.newest_result_ms, Some(0));
    assert_eq!(client.brief().await, "snapshot topics 0");
    api.hub.set_kafka(Some(77));
    api.hub.set_kafka(Some(88));
    let ServerFrame::Status(status) = client.any().await.unwrap() else { panic!("no status") };
    assert_eq!((status.kafka, status.kafka_away_since_ms), (KafkaState::Away, Some(77)));
    // A client that connects meanwhile is told the same.
    let mut other = api.connect().await;
    other.subscribe(["topics"], None).await;
    let told = other.any().await.unwrap();
    assert!(matches!(told, ServerFrame::Status(Status { kafka_away_since_ms: Some(77), .. })));
    api.hub.set_kafka(None);
    let told = client.any().await.unwrap();
    assert!(matches!(told, ServerFrame::Status(Status { kafka: KafkaState::Connected, .. })));
    drop((client, other));
    api.stop().await;
}

#[tokio::test]
async fn while_the_results_are_read_again_nothing_is_given_and_then_only_what_is_new() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    api.publish("topics");
    let mut client = api.connect().await;
    client.subscribe(["topics"], None).await;
    assert_eq!(client.brief().await, "snapshot topics 1");
    api.hub.begin(crate::test_api::STREAM, 0);
    let told = client.any().await.unwrap();
    assert!(matches!(told, ServerFrame::Status(Status { kafka: KafkaState::Reading, .. })));
    for seq in 0..3 {
        crate::test_api::publish(&api.hub, seq, &crate::test_api::top_n("topics", seq + 1));
    }
    api.hub.complete();
    let told = client.any().await.unwrap();
    assert!(matches!(told, ServerFrame::Status(Status { kafka: KafkaState::Connected, .. })));
    assert_eq!(client.brief().await, "result topics 2");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_subscription_names_no_more_queries_than_there_may_be() {
    let mut config = Config::default();
    config.limits.queries = 3;
    let api = Api::start(&config);
    let mut client = api.connect().await;
    client.subscribe(["a", "b", "c", "d"], None).await;
    let ServerFrame::Error(refusal) = client.frame().await else { panic!("no error") };
    assert_eq!(refusal.code, RefusalCode::BadFrame);
    assert!(refusal.message.contains("at most 3"), "{}", refusal.message);
    client.subscribe(["a", "b", "c"], None).await;
    assert_eq!(client.brief().await, "error UnknownQuery");
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn an_answer_repeats_little_of_a_frame_that_cannot_be_read() {
    let api = Api::start(&Config::default());
    let mut client = api.connect().await;
    client.say(format!(r#"{{"type":"{}"}}"#, "é".repeat(7_000))).await;
    let ServerFrame::Error(refusal) = client.frame().await else { panic!("no error") };
    assert!(refusal.message.len() < 600, "{}", refusal.message.len());
    drop(client);
    api.stop().await;
}

#[tokio::test]
async fn a_close_that_crosses_a_result_on_its_way_is_answered() {
    let mut api = Api::start(&Config::default());
    api.publish("topics");
    for _ in 0..50 {
        let mut client = api.connect().await;
        client.subscribe(["topics"], None).await;
        client.frame().await;
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        api.publish("topics");
        client.socket.close(Some(close)).await.unwrap();
        api.publish("topics");
        let (_, close) = client.rest().await;
        assert_eq!(close.map(|close| close.code), Some(CloseCode::Normal));
    }
    let gone = || api.metrics.disconnects.with_label_values(&["client"]).get();
    eventually("all gone", || gone() == 50).await;
    api.stop().await;
}

#[tokio::test]
async fn a_flood_of_pings_is_read_no_faster_than_a_client_may_send() {
    let mut config = Config::default();
    config.limits.client_frames_per_second = 50;
    let api = Api::start(&config);
    let mut client = api.connect().await;
    let begun = std::time::Instant::now();
    for _ in 0..80 {
        client.socket.send(Message::Ping(bytes::Bytes::new())).await.unwrap();
    }
    client.say("?").await;
    assert_eq!(client.brief().await, "error BadFrame");
    // 50 of the 81 are allowed at once, as those of one second; the others are read one every 20 ms.
    assert!(begun.elapsed() >= Duration::from_millis(560));
    drop(client);
    api.stop().await;
}
