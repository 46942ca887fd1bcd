use std::fmt::Write as _;

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;
use crate::event::MAX_DEPTH;

fn rsvp(payload: impl AsRef<[u8]>) -> Result<Identity, Reason> {
    identify(payload.as_ref(), &Schema::default())
}

fn known(key: &str, id: &str, time_ms: Option<i64>) -> Result<Identity, Reason> {
    Ok(Identity { key: Some(key.to_owned()), id: Some(id.to_owned()), time_ms })
}

#[test]
fn an_rsvp_is_known_by_its_id_and_response() {
    let payload = r#"{"group":{"rsvp_id":7,"response":"no","mtime":1,"group_topics":[{"urlkey":"a"},{"urlkey":"b"}]},
        "response":"yes","guests":0,"mtime":1425788568167,"rsvp_id":1540021212}"#;
    assert_eq!(rsvp(payload), known("1540021212", "1540021212:yes", Some(1_425_788_568_167)));
}

#[test]
fn white_space_and_a_byte_order_mark_around_the_object_are_tolerated() {
    let expected = known("1", "1:yes", None);
    for payload in [
        "\u{feff}{\"rsvp_id\":1,\"response\":\"yes\"}",
        " \r\n\t{ \"rsvp_id\" : 1 , \"response\" : \"yes\" }\n",
        "\u{feff} {\"rsvp_id\":1,\"response\":\"yes\",\"a\":[ ],\"b\":{ }} ",
    ] {
        assert_eq!(rsvp(payload), expected, "{payload:?}");
    }
    assert_eq!(rsvp("\u{feff}\u{feff}{\"rsvp_id\":1,\"response\":\"yes\"}"), Err(Reason::NotJson));
}

#[test]
fn a_payload_that_is_not_an_event_is_refused_with_the_reason() {
    let cases: &[(&[u8], Reason)] = &[
        (b"", Reason::Empty),
        (b" \r\n\t", Reason::Empty),
        (b"\xef\xbb\xbf", Reason::Empty),
        (b"\0", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"y\xff\"}", Reason::InvalidUtf8),
        (b"{\"rsvp_id\":1,\"response\":\"y\xed\xa0\x80\"}", Reason::InvalidUtf8),
        (b"null", Reason::NotObject),
        (b"[{\"rsvp_id\":1}]", Reason::NotObject),
        (b"\"text\"", Reason::NotObject),
        (b"-12.5e+3", Reason::NotObject),
        (b"HTTP/1.1 200 OK", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"yes\"", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"yes\"} x", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"yes\"}{}", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"yes\",}", Reason::NotJson),
        (b"{\"rsvp_id\":01,\"response\":\"yes\"}", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"a\nb\"}", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"\\x\"}", Reason::NotJson),
        (b"{\"rsvp_id\":1,\"response\":\"yes\",\"a\":NaN}", Reason::NotJson),
        (b"{rsvp_id:1}", Reason::NotJson),
        (
            b"{\"rsvp_id\":1,\"response\":\"yes\",\"a\":{\"b\":1,\"c\":2,\"b\":3}}",
            Reason::DuplicateKey,
        ),
        (
            b"{\"rsvp_id\":1,\"response\":\"yes\",\"a\":[{\"b\":1,\"\\u0062\":2}]}",
            Reason::DuplicateKey,
        ),
        (b"{\"rsvp_id\":1,\"response\":\"yes\",\"rsvp_id\":1}", Reason::DuplicateKey),
        (b"{\"a\":1,\"a\":2", Reason::NotJson),
        (b"{}", Reason::MissingId),
        (b"{\"rsvp_id\":1}", Reason::MissingId),
        (b"{\"response\":\"yes\"}", Reason::MissingId),
        (b"{\"rsvp_id\":1.0,\"response\":\"yes\"}", Reason::BadId),
        (b"{\"rsvp_id\":1e3,\"response\":\"yes\"}", Reason::BadId),
        (b"{\"rsvp_id\":null,\"response\":\"yes\"}", Reason::BadId),
        (b"{\"rsvp_id\":{},\"response\":\"yes\"}", Reason::BadId),
        (b"{\"rsvp_id\":[1],\"response\":\"yes\"}", Reason::BadId),
        (b"{\"rsvp_id\":1,\"response\":true}", Reason::BadId),
        (b"{\"rsvp_id\":1,\"response\":2.5}", Reason::BadId),
    ];
    for (payload, reason) in cases {
        assert_eq!(rsvp(payload), Err(*reason), "{}", payload.escape_ascii());
    }
}

#[test]
fn numbers_that_no_machine_word_holds_are_fine_where_they_are_not_read() {
    for number in
        ["1e400", "-1e-400", "1180591620717411303424", "0.0000000000000000000000001", "-0"]
    {
        let payload = format!(r#"{{"rsvp_id":1,"response":"yes","guests":{number}}}"#);
        assert_eq!(rsvp(payload), known("1", "1:yes", None), "{number}");
    }
}

#[test]
fn an_integer_id_may_have_any_length_and_minus_zero_is_zero() {
    let payload = r#"{"rsvp_id":1180591620717411303424,"response":"yes"}"#;
    assert_eq!(rsvp(payload), known("1180591620717411303424", "1180591620717411303424:yes", None));
    assert_eq!(rsvp(r#"{"rsvp_id":-0,"response":"yes"}"#), known("0", "0:yes", None));
}

#[test]
fn a_time_that_cannot_be_read_does_not_reject_the_event() {
    for (time, expected) in [
        ("1425788568167.9", Some(1_425_788_568_167)),
        ("1.5e3", Some(1500)),
        ("-0.5", Some(-1)),
        ("1e400", None),
        ("1e300", None),
        ("18446744073709551616", None),
        ("9007199254740992", Some(time::MAX_MS)),
        ("9223372036854775807", None),
        ("\"1425788568167\"", None),
        ("null", None),
        ("[]", None),
    ] {
        let payload = format!(r#"{{"rsvp_id":1,"response":"yes","mtime":{time}}}"#);
        assert_eq!(rsvp(payload), known("1", "1:yes", expected), "{time}");
    }
}

#[test]
fn escapes_are_resolved_and_lone_surrogates_become_the_replacement_character() {
    for (written, read) in [
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r"\u00fc\u00FC", "üü"),
        (r"\ud83d\ude00!", "😀!"),
        (r"\ud800", "\u{fffd}"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
        (r"\ud800\n", "\u{fffd}\n"),
        (r"\ud800x", "\u{fffd}x"),
        (r"\ud800ü", "\u{fffd}ü"),
    ] {
        let payload = format!(r#"{{"rsvp_id":1,"response":"{written}"}}"#);
        assert_eq!(rsvp(payload), known("1", &format!("1:{read}"), None), "{written}");
    }
    assert_eq!(rsvp(r#"{"rsvp_\u0069d":1,"response":"yes"}"#), known("1", "1:yes", None));
}

#[test]
fn nesting_beyond_the_maximum_depth_is_refused() {
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!(
            r#"{{"rsvp_id":1,"response":"yes","a":{}{}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    assert_eq!(rsvp(nested(MAX_DEPTH)), known("1", "1:yes", None));
    assert_eq!(rsvp(nested(MAX_DEPTH + 1)), Err(Reason::TooDeep));
    assert_eq!(rsvp(nested(100_000)), Err(Reason::TooDeep));
    assert_eq!(rsvp("[".repeat(100_000)), Err(Reason::TooDeep));
    assert_eq!(rsvp(r#"{"a":"#.repeat(100_000)), Err(Reason::TooDeep));
}

#[test]
fn a_hundred_thousand_names_are_checked_too() {
    let mut payload = r#"{"rsvp_id":1,"response":"yes""#.to_owned();
    for name in 0..100_000 {
        write!(payload, r#","n{name}":0"#).unwrap();
    }
    assert_eq!(rsvp(format!("{payload}}}")), known("1", "1:yes", None));
    assert_eq!(rsvp(format!(r#"{payload},"n77777":0}}"#)), Err(Reason::DuplicateKey));
}

#[test]
fn integers_and_strings_count_by_their_text() {
    for payload in [
        r#"{"rsvp_id":7,"response":"1"}"#,
        r#"{"rsvp_id":"7","response":1}"#,
        r#"{"rsvp_id":"\u0037","response":"1"}"#,
    ] {
        assert_eq!(rsvp(payload), known("7", "7:1", None), "{payload}");
    }
}

fn schema(toml: &str) -> Schema {
    let schema: Schema = toml::from_str(toml).unwrap();
    assert_eq!(schema.problems(), Vec::<String>::new());
    schema
}

#[test]
fn other_feeds_name_other_fields() {
    let schema = schema(
        r#"
        id = ["/did", "/commit/rev", "/op/path"]
        time = { path = "/time_us", unit = "us" }
        "#,
    );
    let payload =
        r#"{"did":"did:plc:x","commit":{"rev":"3l\\4"},"op":{"path":"a:b"},"time_us":5999}"#;
    let expected = known("did:plc:x", r"did\:plc\:x:3l\\4:a:b", Some(5));
    assert_eq!(identify(payload.as_bytes(), &schema), expected);
    assert_eq!(identify(br#"{"did":"x","commit":[{"rev":"1"}]}"#, &schema), Err(Reason::MissingId));
}

#[test]
fn an_event_may_be_known_by_its_bytes() {
    let payload = br#"{"user":"u","at":"1970-01-01T01:00:00.001+01:00"}"#;
    let by = |toml| identify(payload, &schema(toml));
    let hash = fingerprint(payload);
    assert_eq!(hash.len(), 32);
    assert_ne!(hash, fingerprint(br#"{"user":"u","at":"1970-01-01T01:00:00.001+01:00"} "#));
    assert_eq!(by("id = 'payload'"), known(&hash, &hash, None));
    assert_eq!(
        by("id = 'payload'\nkey = '/user'\ntime = { path = '/at', unit = 'rfc3339' }"),
        known("u", &hash, Some(1))
    );
    assert_eq!(by("id = 'payload'\nkey = '/nobody'"), Err(Reason::MissingId));
}

#[test]
fn an_event_without_an_id_has_the_key_that_the_schema_names_or_none() {
    let payload = br#"{"user":"u","at":7}"#;
    let by = |toml| identify(payload, &schema(toml));
    assert_eq!(by("id = 'none'"), Ok(Identity { key: None, id: None, time_ms: None }));
    assert_eq!(
        by("id = 'none'\nkey = '/user'\ntime = { path = '/at', unit = 's' }"),
        Ok(Identity { key: Some("u".to_owned()), id: None, time_ms: Some(7_000) })
    );
    assert_eq!(by("id = 'none'\nkey = '/at/x'"), Err(Reason::MissingId));
    assert_eq!(identify(b"null", &schema("id = 'none'")), Err(Reason::NotObject));
}

#[test]
fn fields_that_are_named_twice_or_lie_inside_each_other_are_found() {
    let schema = schema(
        r#"
        id = ["/a", "/a", "/t"]
        key = "/a"
        time = { path = "/t" }
        "#,
    );
    assert_eq!(identify(br#"{"a":"x","t":9}"#, &schema), known("x", "x:x:9", Some(9)));
}

/// JSON text of many shapes, written in ways that a serialiser would not choose.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        string(),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        let member = (string(), inner.clone()).prop_map(|(name, value)| format!("{name} :{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..6)
                .prop_map(|items| format!("[{}]", items.join(" ,\n"))),
            prop::collection::vec(member, 0..6)
                .prop_map(|members| format!("{{ {} }}", members.join(","))),
        ]
    })
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,12}",
        "[a-zü€😀]{0,10}",
        Just(r"\n".to_owned()),
        Just(r"\\".to_owned()),
        "\\\\u[0-9a-fA-F]{4}",
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Whether serde_json accepts it; its `IgnoredAny` checks the grammar and nothing else.
fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

fn agrees(payload: &[u8]) -> Result<(), TestCaseError> {
    let answer = rsvp(payload);
    if std::str::from_utf8(payload).is_err() {
        prop_assert_eq!(answer, Err(Reason::InvalidUtf8));
    } else if !payload.trim_ascii().is_empty() {
        prop_assert_eq!(
            answer != Err(Reason::NotJson),
            is_json(payload),
            "{}",
            payload.escape_ascii()
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_json_is_what_serde_json_takes(text in json()) {
        prop_assert!(is_json(text.as_bytes()));
        agrees(text.as_bytes())?;
    }

    #[test]
    fn what_is_not_json_is_what_serde_json_refuses(
        text in json(),
        at in any::<prop::sample::Index>(),
        with in prop_oneof![prop::sample::select(br#"{}[]":,\ 0-.eEtu"#.to_vec()), any::<u8>()],
        remove in 0..3usize,
    ) {
        let mut payload = text.into_bytes();
        let start = at.index(payload.len());
        let end = (start + remove).min(payload.len());
        payload.splice(start..end, [with]);
        agrees(&payload)?;
        agrees(&payload[..start])?;
    }

    #[test]
    fn values_are_those_that_serde_json_reads(response in any::<String>(), rsvp_id in any::<i64>(), mtime in -time::MAX_MS..=time::MAX_MS, other in json()) {
        // Valid text by construction, and no name twice, unless `other` has one.
        let payload = format!(r#"{{"other":{other},"response":{},"mtime":{mtime},"rsvp_id":{rsvp_id}}}"#, serde_json::to_string(&response).unwrap());
        match rsvp(&payload) {
            Err(Reason::DuplicateKey) => {}
            answer => prop_assert_eq!(answer, known(&rsvp_id.to_string(), &format!("{rsvp_id}:{response}"), Some(mtime))),
        }
    }

    #[test]
    fn a_string_is_decoded_as_serde_json_decodes_it(text in string()) {
        prop_assume!(serde_json::from_str::<String>(&text).is_ok());
        let read: String = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(rsvp(format!(r#"{{"rsvp_id":1,"response":{text}}}"#)), known("1", &format!("1:{read}"), None));
    }

    #[test]
    fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees(&payload)?;
    }
}
