use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::result::Window;
use crate::result::missed::Missed;

fn cursor(seq: u64) -> Cursor {
    Cursor { stream: StreamId(0xe), seq }
}

fn top_n() -> TopN {
    TopN {
        v: 1,
        query: "topics".to_owned(),
        stream: String::new(),
        window: Window::Running {},
        version: 13,
        as_of_ms: 1,
        ingested_ms: 2,
        offsets: BTreeMap::from([(0, 5), (3, 6)]),
        events: 3,
        duplicates: 0,
        total: 4,
        distinct: 1,
        distinct_error: 0.0,
        ceiling: 0,
        late: 0,
        untimed: 0,
        future: 0,
        gaps: Vec::new(),
        missed: Missed::default(),
        top: Vec::new(),
    }
}

#[test]
fn every_server_frame_reads_back_as_it_was_written() {
    let update =
        Update { query: "topics".to_owned(), cursor: cursor(12), lag_ms: 5, result: top_n() };
    let at = Some(cursor(9));
    let frames: Vec<ServerFrame> = vec![
        ServerFrame::Snapshot(update.clone()),
        ServerFrame::Result(update),
        ServerFrame::SlowDown(SlowDown { percent_full: 50, lag_ms: 1, cursor: at }),
        ServerFrame::StallWarning(StallWarning {
            percent_full: 60,
            lag_ms: 1,
            skipped: 7,
            cursor: None,
        }),
        ServerFrame::Gap(Gap { from: cursor(1), floor: at, skipped: Some(7) }),
        ServerFrame::Status(Status {
            now_ms: 5,
            kafka: KafkaState::Away,
            kafka_away_since_ms: Some(3),
            newest_result_ms: None,
        }),
        ServerFrame::Error(Refusal { code: RefusalCode::UnknownQuery, message: "no".to_owned() }),
        ServerFrame::Bye(Bye { reason: ByeReason::Shutdown, cursor: at, retry_ms: 10 }),
    ];
    for frame in frames {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<ServerFrame>(&text).unwrap(), frame, "{text}");
    }
}

#[test]
fn a_writer_need_not_own_the_result() {
    let result = top_n();
    let borrowed = ServerFrame::Result(Update {
        query: "topics".to_owned(),
        cursor: cursor(12),
        lag_ms: 5,
        result: &result,
    });
    let text = serde_json::to_string(&borrowed).unwrap();
    assert!(text.starts_with(r#"{"type":"result","query":"topics","cursor":"AQAAAAAAAAAOAAAAAAAAAAw","lag_ms":5,"result":{"v":1,"#), "{text}");
    let ServerFrame::Result(read) = serde_json::from_str::<ServerFrame>(&text).unwrap() else {
        panic!("{text}")
    };
    assert_eq!(read.result, result);
}

#[test]
fn queries_are_names_or_a_star() {
    let read = |text: &str| serde_json::from_str::<ClientFrame>(text);
    let subscribe = |queries| ClientFrame::Subscribe { queries, cursor: None };
    let named: Queries = ["countries", "topics"].into_iter().collect();
    assert_eq!(
        read(r#"{"type":"subscribe","queries":["topics","countries"]}"#).unwrap(),
        subscribe(named)
    );
    for all in [r#""*""#, r#"["*"]"#, r#"["topics","*"]"#] {
        let text = format!(r#"{{"type":"subscribe","queries":{all}}}"#);
        assert_eq!(read(&text).unwrap(), subscribe(Queries::All));
    }
    let text = serde_json::to_string(&subscribe(Queries::All)).unwrap();
    assert_eq!(text, r#"{"type":"subscribe","queries":"*"}"#);
    let error = read(r#"{"type":"subscribe","queries":7}"#).unwrap_err().to_string();
    assert!(error.contains("array of names"), "{error}");
}

#[test]
fn a_cursor_has_exactly_one_text_and_every_other_text_is_refused() {
    let text = cursor(12).to_string();
    assert_eq!(text, "AQAAAAAAAAAOAAAAAAAAAAw");
    let other_version = text.replacen("AQ", "Ag", 1);
    let stray_bits = text.replace("Aw", "Ax");
    let padded = format!("{text}=");
    for text in ["", "-", "7", "00c0ffee-7", &text[..20], &other_version, &stray_bits, &padded, "é"]
    {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
    let error = serde_json::from_str::<ClientFrame>(r#"{"type":"ack","cursor":"seven"}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`seven` is not a cursor"), "{error}");
}

proptest! {
    #[test]
    fn every_cursor_reads_back_and_no_two_share_a_text(
        a in any::<(u64, u64)>(),
        b in any::<(u64, u64)>(),
    ) {
        let [a, b] = [a, b].map(|(stream, seq)| Cursor { stream: StreamId(stream), seq });
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
    }

    #[test]
    fn any_text_that_is_a_cursor_is_the_text_of_that_cursor(text in "AQ[A-Za-z0-9_-]{21}") {
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string(), text);
        }
    }
}

#[test]
fn a_stream_names_itself_by_a_key() {
    let stream = StreamId(0xc0ffee);
    assert_eq!(stream.key(), "stream/0000000000c0ffee");
    assert_eq!(StreamId::from_key(stream.key().as_bytes()), Some(stream));
    for key in
        ["stream/", "stream/c0ffee", "stream/0000000000C0FFEE", "topics", "stream/+000000000c0ffee"]
    {
        assert_eq!(StreamId::from_key(key.as_bytes()), None, "{key}");
    }
}

#[test]
fn the_frames_of_a_newer_server_are_read_and_what_is_unknown_in_them_is_ignored() {
    let read = |text: &str| serde_json::from_str::<ServerFrame>(text).unwrap();
    let bye = read(r#"{"type":"bye","reason":"moved","retry_ms":5,"to":"elsewhere"}"#);
    assert!(matches!(bye, ServerFrame::Bye(Bye { reason: ByeReason::Other, retry_ms: 5, .. })));
    let error = read(r#"{"type":"error","code":"bad_filter","message":"no"}"#);
    assert!(matches!(error, ServerFrame::Error(Refusal { code: RefusalCode::Other, .. })));
    let known = serde_json::to_string(&top_n()).unwrap();
    let newer = known.replace(r#"{"kind":"running"}"#, r#"{"kind":"session","gap_ms":[5]}"#);
    let cursor = cursor(7);
    let result = read(&format!(
        r#"{{"type":"result","query":"topics","cursor":"{cursor}","lag_ms":5,"result":{newer}}}"#
    ));
    assert!(matches!(result, ServerFrame::Result(update) if update.result.window == Window::Other));
    let status = read(r#"{"type":"status","now_ms":1,"kafka":"throttled","analyzer":"live"}"#);
    assert!(matches!(status, ServerFrame::Status(Status { kafka: KafkaState::Other, .. })));
}

#[test]
fn close_codes_are_ones_that_may_be_sent() {
    for reason in [
        ByeReason::Shutdown,
        ByeReason::Stalled,
        ByeReason::Idle,
        ByeReason::BadFrames,
        ByeReason::TooLarge,
    ] {
        assert!(matches!(reason.close_code(), 1008 | 1009 | 1012 | 4000..=4999));
        assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{}\"", reason.as_str()));
    }
}
