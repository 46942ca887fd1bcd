use common::event::{MAX_DEPTH, Schema};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decoder(items: &[&str]) -> Decoder {
    let items: Vec<Pointer> = items.iter().map(|item| item.parse().unwrap()).collect();
    Decoder::new(&items, Schema::default().time.as_ref())
}

fn topics_and_countries() -> Decoder {
    let topics = "/group/group_topics/*/topic_name";
    decoder(&[topics, "/group/group_country", topics])
}

fn items(event: Event<'_>, pointer: usize) -> Vec<String> {
    let mentions: Vec<(u64, &str)> = event.mentions(pointer).collect();
    assert!(mentions.iter().all(|&(item_hash, item)| item_hash == hash(item.as_bytes())));
    mentions.into_iter().map(|(_, item)| item.to_owned()).collect()
}

fn decode(decoder: &Decoder, payload: &[u8]) -> Result<(Vec<String>, Option<i64>), Reason> {
    let mut found = Found::default();
    let event = decoder.decode(payload, &mut found)?;
    Ok((items(event, 0), event.time_ms()))
}

#[test]
fn each_query_gets_its_items_and_queries_of_one_pointer_share_them() {
    let decoder = topics_and_countries();
    assert_eq!([0, 1, 2].map(|query| decoder.pointer(query)), [0, 1, 0]);
    let rsvp = br#"{"group":{"group_topics":[{"urlkey":"x","topic_name":"Social"},{"topic_name":"Hiking"},{"topic_name":"Social"}],
        "group_country":"de"},"mtime":1425772800123,"response":"yes"}"#;
    let mut found = Found::default();
    let event = decoder.decode(rsvp, &mut found).unwrap();
    assert_eq!(items(event, 0), ["Social", "Hiking", "Social"]);
    assert_eq!(items(event, 1), ["de"]);
    assert_eq!(event.time_ms(), Some(1_425_772_800_123));
}

#[test]
fn only_strings_are_items_whatever_else_stands_in_their_place() {
    let decoder = decoder(&["/a/*"]);
    let found =
        decode(&decoder, br#"{"a":["x",1,-1,1.5,null,true,{"a":["y"]},["z"],"w"],"b":["v"]}"#);
    assert_eq!(found.unwrap().0, ["x", "w"]);
    for other in [r#"{"a":"x"}"#, r#"{"a":{"*":"x"}}"#, r#"{"a":7}"#, "{}"] {
        assert_eq!(decode(&decoder, other.as_bytes()).unwrap().0, Vec::<String>::new());
    }
}

#[test]
fn a_pointer_may_end_inside_the_path_of_another() {
    let decoder = decoder(&["/a", "/a/*/b"]);
    let mut found = Found::default();
    let event = decoder.decode(br#"{"a":[{"b":"x"}]}"#, &mut found).unwrap();
    assert_eq!((items(event, 0), items(event, 1)), (vec![], vec!["x".to_owned()]));
    let event = decoder.decode(br#"{"a":"y"}"#, &mut found).unwrap();
    assert_eq!((items(event, 0), items(event, 1)), (vec!["y".to_owned()], vec![]));
}

#[test]
fn escapes_lone_surrogates_and_a_byte_order_mark_are_read() {
    let decoder = decoder(&["/\u{fc}/*"]);
    let payload = "\u{feff} {\"\\u00fc\":[\"a\\tb\\\"\",\"\\ud83d\\ude00\",\"\\ud800\",\"x\\udc00y\",\"\u{1f600}\"],\"mtime\":7} \n";
    let (items, time) = decode(&decoder, payload.as_bytes()).unwrap();
    assert_eq!(items, ["a\tb\"", "\u{1f600}", "\u{fffd}", "x\u{fffd}y", "\u{1f600}"]);
    assert_eq!(time, Some(7));
}

#[test]
fn an_item_that_is_too_long_is_cut_and_still_differs_from_its_neighbours() {
    let decoder = decoder(&["/a/*"]);
    let long = "\u{e4}".repeat(MAX_ITEM_BYTES);
    let fits = "x".repeat(MAX_ITEM_BYTES);
    let payload = json!({ "a": [&long, format!("{long}!"), &long, &fits] }).to_string();
    let mut found = Found::default();
    let event = decoder.decode(payload.as_bytes(), &mut found).unwrap();
    let items = items(event, 0);
    assert!(items.iter().all(|item| item.len() <= MAX_ITEM_BYTES));
    assert!(items[0].starts_with("\u{e4}\u{e4}") && items[0].contains('…'));
    assert_eq!(items[0], items[2]);
    assert_ne!(items[0], items[1]);
    assert_eq!(items[3], fits);
    assert_eq!(event.shortened(), 3);
}

#[test]
fn times_are_whole_milliseconds_within_two_to_the_53rd() {
    let decoder = decoder(&["/a"]);
    let times = [
        ("1", Some(1)),
        ("-5", Some(-5)),
        ("2.9", Some(2)),
        ("1.5e3", Some(1_500)),
        ("\"1\"", None),
        ("null", None),
    ];
    let absurd = [
        ("9007199254740993", None),
        ("18446744073709551615", None),
        ("-9223372036854775808", None),
        ("1e300", None),
    ];
    for (text, time) in times.into_iter().chain(absurd) {
        let payload = format!("{{\"mtime\":{text}}}");
        assert_eq!(decode(&decoder, payload.as_bytes()).unwrap().1, time, "{text}");
    }
}

#[test]
fn what_is_not_an_event_is_refused_with_its_reason() {
    let decoder = topics_and_countries();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_in_the_trie =
        format!("{{\"group\":{}1{}}}", "{\"group\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
    let open = "[".repeat(1_000_000);
    let refused: [(&[u8], Reason); 12] = [
        (b"", Reason::Empty),
        (b" \n", Reason::Empty),
        (b"\xef\xbb\xbf", Reason::Empty),
        (b"{\"a\":\"\xff\"}", Reason::InvalidUtf8),
        (b"null", Reason::NotObject),
        (b"[{}]", Reason::NotObject),
        (b"{\"a\":1}x", Reason::NotJson),
        (b"{\"group\":{\"group_country\":\"de\"", Reason::NotJson),
        (b"{\"a\":\"\x01\"}", Reason::NotJson),
        (deep.as_bytes(), Reason::TooDeep),
        (deep_in_the_trie.as_bytes(), Reason::TooDeep),
        (open.as_bytes(), Reason::NotObject),
    ];
    for (payload, reason) in refused {
        assert_eq!(
            decode(&decoder, payload),
            Err(reason),
            "{:?}",
            String::from_utf8_lossy(&payload[..payload.len().min(40)])
        );
    }
}

#[test]
fn brackets_in_strings_are_no_depth_and_the_deepest_event_is_decoded() {
    let decoder = decoder(&["/a"]);
    let payload = format!(
        "{{\"a\":\"{}\\\"[\",\"b\":{}{}}}",
        "[{".repeat(500),
        "[".repeat(MAX_DEPTH - 1),
        "]".repeat(MAX_DEPTH - 1)
    );
    assert_eq!(decode(&decoder, payload.as_bytes()).unwrap().0[0].len(), 256);
}

fn select<'v>(value: &'v Value, steps: &[Step]) -> Vec<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return vec![value] };
    let next: Vec<&Value> = match (step, value) {
        (Step::Every, Value::Array(elements)) => elements.iter().collect(),
        (Step::Key(key), Value::Object(members)) => members.get(key).into_iter().collect(),
        _ => Vec::new(),
    };
    next.into_iter().flat_map(|value| select(value, rest)).collect()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ab\"\\\\\\n\u{e4}\u{1f600}]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[ab]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A JSON text with a few bytes changed: mostly none any more, by little.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let alphabet = br#"{}[]":,\/untrfalse0123456789.+-eEABC "#.to_vec();
    let change = (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(alphabet));
    let root = prop::collection::hash_map("[ab]", any_json(), 0..3);
    (root, prop::collection::vec(change, 0..4)).prop_map(|(root, changes)| {
        let mut text = Value::Object(root.into_iter().collect()).to_string().into_bytes();
        for (at, kind, byte) in changes {
            let at = at.index(text.len().max(1));
            match kind {
                0 => text.insert(at.min(text.len()), byte),
                1 if !text.is_empty() => drop(text.remove(at)),
                _ if !text.is_empty() => text[at] = byte,
                _ => {}
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_json_is_decided_as_by_serde_json(text in almost_json()) {
        // Which leaves lone surrogates and the size of numbers alone, as the decoder does.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        let is_event = is_json && std::str::from_utf8(&text).is_ok() && text.trim_ascii_start().starts_with(b"{");
        for paths in [&["/a/*/b"][..], &["/c"], &["/a", "/b/*/*", "/mtime"]] {
            let decoded = decode(&decoder(paths), &text);
            prop_assert_eq!(decoded.is_ok(), is_event, "{:?}: {:?}", String::from_utf8_lossy(&text), decoded);
        }
    }

    #[test]
    fn escaped_text_reads_as_itself(text in any::<String>(), name in "[a-c\u{e4}\u{1f600}]{1,3}") {
        let escape = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
        let payload = format!("{{\"{}\":\"{}\"}}", escape(&name), escape(&text));
        let items = decode(&decoder(&[&format!("/{name}")]), payload.as_bytes()).unwrap().0;
        prop_assert!(text.len() > MAX_ITEM_BYTES || items == [text]);
    }
}

proptest! {
    #[test]
    fn whatever_the_event_the_items_are_those_of_a_reader_that_builds_a_tree(
        root in prop::collection::hash_map("[ab]", any_json(), 0..3),
        paths in prop::collection::vec("(/[ab*]){1,4}", 1..4),
    ) {
        let event = Value::Object(root.into_iter().collect());
        let pointers: Vec<Pointer> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let decoder = Decoder::new(
            &pointers,
            Some(&Time { path: "/a".parse().unwrap(), unit: Unit::Ms }),
        );
        let text = event.to_string();
        let mut found = Found::default();
        let decoded = decoder.decode(text.as_bytes(), &mut found).unwrap();
        for (query, pointer) in pointers.iter().enumerate() {
            let expected: Vec<String> =
                select(&event, pointer.steps()).into_iter().filter_map(Value::as_str).map(str::to_owned).collect();
            // Several pointers may meet in one array, where the order is still that of the text.
            prop_assert_eq!(items(decoded, decoder.pointer(query)), expected);
        }
        let time = event["a"].as_i64().filter(|at| at.abs() <= time::MAX_MS);
        prop_assert_eq!(decoded.time_ms(), time);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(payload in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ud0a1-.e \xff".to_vec()), 0..60)) {
        drop(decode(&topics_and_countries(), &payload));
    }
}
