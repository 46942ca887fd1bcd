use std::collections::BTreeMap;

use super::*;
use crate::result::Window;

fn cursor(text: &str) -> Cursor {
    text.parse().unwrap()
}

fn top_n() -> TopN {
    TopN {
        v: 1,
        query: "topics".to_owned(),
        window: Window::Running {},
        version: 13,
        is_final: false,
        revised: false,
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
        future: 0,
        shed_rate: 0.0,
        gaps: Vec::new(),
        top: Vec::new(),
    }
}

#[test]
fn every_server_frame_reads_back_as_it_was_written() {
    let update = Update {
        query: "topics".to_owned(),
        cursor: cursor("0000000e-12"),
        lag_ms: 5,
        result: top_n(),
    };
    let at = Some(cursor("0000000e-9"));
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
        ServerFrame::Gap(Gap { from: cursor("0000000e-1"), floor: at, skipped: Some(7) }),
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
        cursor: cursor("0000000e-12"),
        lag_ms: 5,
        result: &result,
    });
    let text = serde_json::to_string(&borrowed).unwrap();
    assert!(text.starts_with(r#"{"type":"result","query":"topics","cursor":"0000000e-12","lag_ms":5,"result":{"v":1,"#), "{text}");
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
fn a_cursor_has_one_text() {
    assert_eq!(cursor("00c0ffee-7"), Cursor { epoch: Epoch(0x00c0_ffee), seq: 7 });
    for text in [
        "",
        "-",
        "7",
        "00c0ffee",
        "00c0ffee-",
        "c0ffee-7",
        "00C0FFEE-7",
        "00c0ffee-07",
        "00c0ffee--7",
        "00c0ffee-+7",
        "x-7",
        "00c0ffee-18446744073709551616",
    ] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
    let error = serde_json::from_str::<ClientFrame>(r#"{"type":"ack","cursor":"seven"}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`seven` is no cursor"), "{error}");
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
