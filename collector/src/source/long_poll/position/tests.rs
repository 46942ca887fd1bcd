use proptest::prelude::*;

use super::*;

fn answer(place: &str) -> Resume {
    Resume::Answer("c".to_owned(), place.parse().unwrap())
}

fn highest(place: &str) -> Resume {
    Resume::Highest("c".to_owned(), place.parse().unwrap())
}

fn position(resume: &Resume, body: &str, begin: &Begin) -> Option<Bytes> {
    after(resume, &Framing::Array(None), &Bytes::copy_from_slice(body.as_bytes()), begin)
}

#[test]
fn it_is_at_a_place_in_the_answer_or_the_highest_of_its_messages() {
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES + 1));
    for (resume, body, expected) in [
        (answer("/next"), r#"{"items":[1],"next":"ab\u0063"}"#, Some("abc")),
        (answer("/page/next"), r#"{"page":{"next":12}}"#, Some("12")),
        (answer("/next"), r#"{"next":null}"#, None),
        (answer("/next"), r#"{"next":""}"#, None),
        (answer("/next"), r#"{"next":{}}"#, None),
        (answer("/next"), r#"{"other":1}"#, None),
        (answer("/next"), "[1]", None),
        (answer("/next"), "{\"next", None),
        (answer("/a"), &long, None),
        (highest("/id"), r#"[{"id":9},{"id":10},{"id":2}]"#, Some("10")),
        (highest("/id"), r#"[{"id":"0099"},{"id":"100"},{"no":1}]"#, Some("100")),
        (
            highest("/at"),
            r#"[{"at":"2026-01-02T00:00:00Z"},{"at":"2025-12-31T00:00:00Z"}]"#,
            Some("2026-01-02T00:00:00Z"),
        ),
        (highest("/id"), "[]", None),
        (highest("/id"), "{}", None),
        (Resume::None, r#"[{"id":9}]"#, None),
    ] {
        let found = position(&resume, body, &Begin::Now);
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{resume:?} {body:.50}");
    }
}

#[test]
fn the_highest_does_not_go_back() {
    let before = Begin::After("100".into());
    assert_eq!(position(&highest("/id"), r#"[{"id":99}]"#, &before).unwrap(), "100");
    assert_eq!(position(&highest("/id"), r#"[{"id":101}]"#, &before).unwrap(), "101");
}

proptest! {
    #[test]
    fn numbers_are_compared_by_value(numbers in prop::collection::vec(any::<u64>(), 1..9)) {
        let body: Vec<_> = numbers.iter().map(|number| format!(r#"{{"id":{number}}}"#)).collect();
        let body = format!("[{}]", body.join(","));
        let max = numbers.iter().max().unwrap().to_string();
        prop_assert_eq!(position(&highest("/id"), &body, &Begin::Now).unwrap(), max);
    }

    #[test]
    fn any_answer_has_a_position_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let bytes = Bytes::from(bytes);
        for resume in [answer("/a/b"), highest("/a")] {
            let _either = after(&resume, &Framing::Array(None), &bytes, &Begin::Now);
        }
    }
}
