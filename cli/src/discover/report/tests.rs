use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::discover::sample::Sample;

fn seen<'a>(events: impl IntoIterator<Item = &'a str>) -> (Shape, Proposal) {
    let (mut shape, mut sample) = (Shape::new(), Sample::default());
    for event in events {
        let _refused = shape.observe(event.as_bytes(), 1_800_000_000_000);
        sample.keep(&Bytes::copy_from_slice(event.as_bytes()));
    }
    let proposal = Proposal::of(&shape, &sample);
    (shape, proposal)
}

#[test]
fn no_line_is_wider_than_the_terminal_and_every_path_has_one() {
    let fixtures = [
        include_str!("../../../fixtures/meetup.jsonl"),
        include_str!("../../../fixtures/bluesky.jsonl"),
        include_str!("../../../fixtures/bitflyer.jsonl"),
        include_str!("../../../fixtures/wikipedia.jsonl"),
    ];
    for fixture in fixtures {
        let (shape, proposal) = seen(fixture.lines());
        for columns in [40, 80, 120, 160, 300] {
            let text = report(&shape, &proposal, Duration::from_secs(10), columns);
            let widest = text.lines().map(width).max().unwrap();
            assert!(widest <= columns, "{widest} of {columns}:\n{text}");
            let rows = text.lines().skip_while(|line| !line.starts_with("PATH")).count();
            assert_eq!(rows, shape.width() + 1);
        }
    }
}

#[test]
fn what_the_feed_sends_cannot_steer_the_terminal() {
    let (shape, proposal) =
        seen([r#"{"a\u001b[2J":"\u001b]0;x\u0007\u009b\u202e","b":"\u001b[31mred"}"#; 3]);
    let text = report(&shape, &proposal, Duration::ZERO, 200);
    let json = json(&shape, &proposal).unwrap();
    for text in [&text, &json] {
        assert!(!text.chars().any(|c| c != '\n' && crate::text::steers(c)), "{text:?}");
    }
    assert!(text.contains("\\u{1b}[31mred"), "{text}");
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["paths"][1]["examples"][0], "\u{1b}[31mred");
}

#[test]
fn the_json_has_exactly_the_documented_members() {
    let (shape, proposal) = seen(include_str!("../../../fixtures/meetup.jsonl").lines());
    let json: Value = serde_json::from_str(&json(&shape, &proposal).unwrap()).unwrap();
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&json), ["events", "id", "items", "key", "paths", "time", "values"]);
    assert_eq!(names(&json["time"]), ["path", "unit"]);
    assert_eq!(names(&json["paths"][0]), ["distinct", "examples", "path", "share", "types"]);
    assert_eq!((&json["events"], &json["key"]), (&Value::from(50), &Value::from("/rsvp_id")));
    let response =
        json["paths"].as_array().unwrap().iter().find(|path| path["path"] == "/response");
    assert_eq!(response.unwrap()["types"], serde_json::json!(["string"]));
    let numbers = json["paths"].as_array().unwrap().iter().find(|path| path["path"] == "/mtime");
    assert!(numbers.unwrap()["examples"][0].is_u64());
}

#[test]
fn nothing_proposed_is_null_or_empty() {
    let (shape, proposal) = seen(["{}"]);
    assert_eq!(
        json(&shape, &proposal).unwrap(),
        "{\"events\":1,\"id\":[],\"key\":null,\"time\":null,\"items\":[],\"values\":[],\"paths\":[]}\n"
    );
    assert!(report(&shape, &proposal, Duration::ZERO, 80).starts_with("1 event, 2 B each"));
}
