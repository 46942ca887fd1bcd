use common::event::identity::{self, Identity};
use common::event::{MAX_DEPTH, Step, Time as TimeField};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A decoder of events without an id.
fn decoder(items: &[&str]) -> Decoder {
    let items: Vec<Pointer> = items.iter().map(|item| item.parse().unwrap()).collect();
    Decoder::new(&items, &Schema { id: Id::None, ..Schema::default() })
}

fn topics_and_countries() -> Decoder {
    let topics = "/group/group_topics/*/topic_name";
    decoder(&[topics, "/group/group_country", topics])
}

fn items(event: Event<'_>, query: usize) -> Vec<String> {
    let mentions: Vec<(u64, &str)> = event.mentions(query).collect();
    assert!(mentions.iter().all(|&(item_hash, item)| item_hash == hash(item.as_bytes())));
    mentions.into_iter().map(|(_, item)| item.to_owned()).collect()
}

fn decode(decoder: &mut Decoder, payload: &[u8]) -> Result<(Vec<String>, Option<i64>), Reason> {
    let event = decoder.decode(payload)?;
    Ok((items(event, 0), time_ms(event)))
}

fn time_ms(event: Event<'_>) -> Option<i64> {
    match event.time() {
        Time::At(time_ms, _) => Some(time_ms),
        Time::Missing | Time::Unreadable(..) => None,
    }
}

/// The identity that the collector should find in the same event.
fn identity(event: Event<'_>) -> Identity {
    Identity {
        key: event.key().map(str::to_owned),
        id: event.id().map(str::to_owned),
        time_ms: time_ms(event),
    }
}

#[test]
fn each_query_gets_its_items_and_queries_of_one_pointer_share_them() {
    let mut decoder = topics_and_countries();
    let rsvp = br#"{"group":{"group_topics":[{"urlkey":"x","topic_name":"Social"},{"topic_name":"Hiking"},{"topic_name":"Social"}],
        "group_country":"de"},"mtime":1425772800123,"response":"yes"}"#;
    let event = decoder.decode(rsvp).unwrap();
    assert_eq!(items(event, 0), ["Social", "Hiking", "Social"]);
    assert_eq!(items(event, 2), items(event, 0));
    assert_eq!(items(event, 1), ["de"]);
    assert_eq!(time_ms(event), Some(1_425_772_800_123));
}

#[test]
fn only_strings_and_numbers_are_items_and_other_values_are_ignored() {
    let mut decoder = decoder(&["/a/*"]);
    let found =
        decode(&mut decoder, br#"{"a":["x",1,-1,1.5,null,true,{"a":["y"]},["z"],"w"],"b":["v"]}"#);
    assert_eq!(found.unwrap().0, ["x", "1", "-1", "1.5", "w"]);
    for other in [r#"{"a":"x"}"#, r#"{"a":{"*":"x"}}"#, r#"{"a":7}"#, "{}"] {
        assert_eq!(decode(&mut decoder, other.as_bytes()).unwrap().0, Vec::<String>::new());
    }
}

#[test]
fn a_pointer_may_end_inside_the_path_of_another() {
    let mut decoder = decoder(&["/a", "/a/*/b"]);
    let event = decoder.decode(br#"{"a":[{"b":"x"}]}"#).unwrap();
    assert_eq!((items(event, 0), items(event, 1)), (vec![], vec!["x".to_owned()]));
    let event = decoder.decode(br#"{"a":"y"}"#).unwrap();
    assert_eq!((items(event, 0), items(event, 1)), (vec!["y".to_owned()], vec![]));
}

#[test]
fn escapes_lone_surrogates_and_a_byte_order_mark_are_read() {
    let mut decoder = decoder(&["/\u{fc}/*"]);
    let payload = "\u{feff} {\"\\u00fc\":[\"a\\tb\\\"\",\"\\ud83d\\ude00\",\"\\ud800\",\"x\\udc00y\",\"\u{1f600}\"],\"mtime\":7} \n";
    let (items, time) = decode(&mut decoder, payload.as_bytes()).unwrap();
    assert_eq!(items, ["a\tb\"", "\u{1f600}", "\u{fffd}", "x\u{fffd}y", "\u{1f600}"]);
    assert_eq!(time, Some(7));
}

#[test]
fn an_item_that_is_too_long_is_cut_and_still_differs_from_its_neighbours() {
    let mut decoder = decoder(&["/a/*"]);
    let long = "\u{e4}".repeat(MAX_ITEM_BYTES);
    let fits = "x".repeat(MAX_ITEM_BYTES);
    let payload = json!({ "a": [&long, format!("{long}!"), &long, &fits] }).to_string();
    let event = decoder.decode(payload.as_bytes()).unwrap();
    let items = items(event, 0);
    assert!(items.iter().all(|item| item.len() <= MAX_ITEM_BYTES));
    assert!(items[0].starts_with("\u{e4}\u{e4}") && items[0].contains('…'));
    assert_eq!(items[0], items[2]);
    assert_ne!(items[0], items[1]);
    assert_eq!(items[3], fits);
    assert_eq!(event.shortened(), 3);
}

#[test]
fn a_time_is_returned_as_it_is_written_whether_it_can_be_read_or_not() {
    let mut decoder = decoder(&["/a"]);
    for (payload, time) in [
        (r#"{"mtime":1.5e3}"#, Time::At(1_500, "1.5e3")),
        (r#"{"mtime":-5}"#, Time::At(-5, "-5")),
        (r#"{"mtime":"2015-03-08"}"#, Time::Unreadable("\"2015-03-08\"", Unreadable::NoNumber)),
        (r#"{"mtime":1e300}"#, Time::Unreadable("1e300", Unreadable::TooFar)),
        (
            r#"{"mtime":null}"#,
            Time::Unreadable("neither a number nor a text", Unreadable::NoNumber),
        ),
        (r#"{"other":1}"#, Time::Missing),
    ] {
        assert_eq!(decoder.decode(payload.as_bytes()).unwrap().time(), time, "{payload}");
    }
}

#[test]
fn numbers_that_are_equal_are_one_item_and_none_loses_a_digit() {
    let mut decoder = decoder(&["/a/*"]);
    let long = format!("1{}", "0".repeat(255));
    for (item, written) in [
        ("5", &["5", "5.0", "5e0", "50E-1", "0.5e1", "0.05e+2"][..]),
        ("0", &["0", "-0", "0.0", "-0e9", "0e99999999999999999999"]),
        ("-12.5", &["-12.5", "-12.50", "-125e-1", "-0.125e2"]),
        ("1200", &["1200", "1.2e3", "12E+2"]),
        ("1425788568167123456789", &["1425788568167123456789", "1425788568167123456789.000"]),
        ("0.1", &["0.1", "1e-1", "0.10"]),
        ("0.30000000000000004", &["0.30000000000000004"]),
        ("0.0001", &["0.0001", "1e-4"]),
        ("1e-05", &["0.00001", "1e-5", "10e-6"]),
        ("-1.25e-100", &["-1.25e-100"]),
        (&long, &["1e255"]),
        ("1.5e+400", &["1.5e400", "15e399"]),
        ("1e99999999999999999999", &["1e99999999999999999999"]),
    ] {
        for written in written {
            let payload = format!("{{\"a\":[{written}]}}");
            assert_eq!(decode(&mut decoder, payload.as_bytes()).unwrap().0, [item], "{written}");
        }
    }
    let huge = "7".repeat(MAX_ITEM_BYTES + 1);
    let items = decode(&mut decoder, format!("{{\"a\":[{huge},{huge}0]}}").as_bytes()).unwrap().0;
    assert_ne!(items[0], items[1]);
    assert!(items.iter().all(|item| item.len() <= MAX_ITEM_BYTES), "{items:?}");
}

#[test]
fn an_event_is_identified_by_the_fields_that_the_schema_names() {
    let payload =
        br#"{"seq":7,"did":"a:b","commit":{"rev":"x\ny"},"time":"2015-03-08T00:00:00.5Z"}"#;
    let time = Some(TimeField { path: "/time".parse().unwrap(), unit: Unit::Rfc3339 });
    let fields =
        |paths: &[&str]| Id::Fields(paths.iter().map(|path| path.parse().unwrap()).collect());
    let schema = |id, key: Option<&str>| Schema {
        id,
        key: key.map(|key| key.parse().unwrap()),
        time: time.clone(),
        ..Schema::default()
    };
    let hash = identity::fingerprint(payload);
    for (schema, id, key) in [
        (schema(fields(&["/seq"]), None), Some("7"), Some("7")),
        (schema(fields(&["/did", "/commit/rev"]), None), Some("a\\:b:x\ny"), Some("a:b")),
        (schema(fields(&["/did"]), Some("/seq")), Some("a:b"), Some("7")),
        (schema(Id::Payload, None), Some(hash.as_str()), Some(hash.as_str())),
        (schema(Id::Payload, Some("/seq")), Some(hash.as_str()), Some("7")),
        (schema(Id::None, None), None, None),
        (schema(Id::None, Some("/did")), None, Some("a:b")),
    ] {
        // It makes no difference if a query reads the id too, or something next to it.
        let items: Vec<Pointer> = vec!["/seq".parse().unwrap(), "/commit/*".parse().unwrap()];
        let mut decoder = Decoder::new(&items, &schema);
        let event = decoder.decode(payload).unwrap();
        assert_eq!((event.id(), event.key()), (id, key), "{schema:?}");
        assert_eq!(time_ms(event), Some(1_425_772_800_500));
        assert_eq!(super::tests::items(event, 0), ["7"]);
    }
}

#[test]
fn a_name_that_an_object_has_twice_is_found_wherever_it_is_and_however_written() {
    let mut decoder = decoder(&["/a"]);
    let many: Vec<String> = (0..5_000).map(|n| format!("\"name {n}\":{n}")).collect();
    let many = many.join(",");
    for (payload, is_event) in [
        (r#"{"a":1,"b":2,"":3,"ab":4,"ba":5}"#.to_owned(), true),
        (r#"{"a":1,"a":1}"#.to_owned(), false),
        (r#"{"b":[{"c":{}},{"c":{"d":1,"e":1,"d":2}}]}"#.to_owned(), false),
        (r#"{"b":1,"c":{"b":1},"d":[{"b":1},{"b":1}]}"#.to_owned(), true),
        (r#"{"b":1,"\u0062":1}"#.to_owned(), false),
        (r#"{"\u0062":1,"b":1}"#.to_owned(), false),
        (r#"{"\u0062":1,"\u0062\u0062":1,"c":2}"#.to_owned(), true),
        (r#"{"":1,"":1}"#.to_owned(), false),
        (format!("{{{many}}}"), true),
        (format!("{{{many},\"name 3\":0}}"), false),
        (format!("{{{many},\"name 4999\":0}}"), false),
        (format!("{{\"x\":{{{many}}},{many}}}"), true),
    ] {
        let expected = if is_event { Ok(()) } else { Err(Reason::DuplicateKey) };
        assert_eq!(decode(&mut decoder, payload.as_bytes()).map(|_| ()), expected, "{payload:.80}");
    }
}

#[test]
fn an_object_may_have_more_names_than_are_learned_or_marked() {
    let queries: Vec<String> = (0..100).map(|n| format!("/name {n}")).collect();
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let members: Vec<String> = (0..200).map(|n| format!("\"name {n}\":{n}")).collect();
    let members = members.join(",");
    let event = format!("{{{members}}}");
    for mut decoder in [decoder(&[]), decoder(&queries[..1]), decoder(&queries)] {
        for _ in 0..2 {
            decoder.decode(event.as_bytes()).unwrap();
            for twice in 0..200 {
                for name in [format!("name {twice}"), format!("\\u006eame {twice}")] {
                    let payload = format!("{{{members},\"{name}\":0}}");
                    let refused = decoder.decode(payload.as_bytes()).map(drop);
                    assert_eq!(refused, Err(Reason::DuplicateKey), "{name}");
                }
            }
        }
        let event = decoder.decode(event.as_bytes()).unwrap();
        for query in 0..event.decoder.pointers.len() {
            assert_eq!(items(event, query), [query.to_string()]);
        }
    }
}

#[test]
fn names_that_need_escapes_are_found_however_they_are_written() {
    let mut decoder = decoder(&["/a\":1,\"b", "/\u{1}\\"]);
    let cases: [(&str, [&[&str]; 2]); 3] = [
        (r#"{"a\":1,\"b":"x","\u0001\\":"y"}"#, [&["x"], &["y"]]),
        (r#"{"a\u0022:1,\u0022b":"x","\u0001\u005c":"y"}"#, [&["x"], &["y"]]),
        (r#"{"a":1,"b":"x"}"#, [&[], &[]]),
    ];
    for (payload, found) in cases {
        for _ in 0..2 {
            let event = decoder.decode(payload.as_bytes()).unwrap();
            assert_eq!([items(event, 0), items(event, 1)], found, "{payload}");
        }
    }
}

#[test]
fn what_was_learned_of_former_events_is_forgotten_from_time_to_time() {
    let mut decoder = decoder(&["/a"]);
    for n in 0..2 * MAX_LEARNED {
        let payload = format!("{{\"b {}\":{{\"{n}\":1}}}}", n % 40);
        decoder.decode(payload.as_bytes()).unwrap();
    }
    assert_eq!(decoder.found.room, 0);
    for _ in 0..LEARNED_FOR {
        decoder.decode(br#"{"a":1,"d":2}"#).unwrap();
    }
    assert!(decoder.found.room > MAX_LEARNED / 2);
}

#[test]
fn what_is_not_an_event_is_refused_with_its_reason() {
    let mut decoder = topics_and_countries();
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
        (open.as_bytes(), Reason::TooDeep),
    ];
    for (payload, reason) in refused {
        assert_eq!(
            decode(&mut decoder, payload),
            Err(reason),
            "{:?}",
            String::from_utf8_lossy(&payload[..payload.len().min(40)])
        );
    }
}

#[test]
fn brackets_in_strings_do_not_count_as_depth_and_the_deepest_event_is_decoded() {
    let mut decoder = decoder(&["/a"]);
    let payload = format!(
        "{{\"a\":\"{}\\\"[\",\"b\":{}{}}}",
        "[{".repeat(500),
        "[".repeat(MAX_DEPTH - 1),
        "]".repeat(MAX_DEPTH - 1)
    );
    assert_eq!(decode(&mut decoder, payload.as_bytes()).unwrap().0[0].len(), 256);
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

/// A JSON text with a few bytes changed, so that it is nearly JSON, but mostly not JSON any more.
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

/// Events with few different names, in any order and some of them twice, written in several ways.
fn events() -> impl Strategy<Value = Vec<String>> {
    let name =
        prop::sample::select(vec!["a", "b", "c", "dd", "", "\\u0061", "\\u0064d", "\\ud800"]);
    let leaf = prop::sample::select(vec!["1", "\"x\"", "null", "1.50", "{}", "[]", "\"\\u0062\""]);
    let object = move |members: Vec<(&'static str, &'static str, String)>| {
        let members =
            members.into_iter().map(|(name, colon, value)| format!("\"{name}\"{colon}{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let colon = prop::sample::select(vec![":", ": ", " :"]);
    let value = leaf.prop_map(str::to_owned).prop_recursive(3, 20, 4, {
        let (name, colon) = (name.clone(), colon.clone());
        move |inner| {
            prop_oneof![
                prop::collection::vec((name.clone(), colon.clone(), inner.clone()), 0..5)
                    .prop_map(object),
                prop::collection::vec(inner, 0..3)
                    .prop_map(|values| format!("[{}]", values.join(", "))),
            ]
        }
    });
    let event = prop::collection::vec((name, colon, value), 0..5).prop_map(object);
    prop::collection::vec(event, 1..8)
}

/// Schemas of every form, over the names that the events have.
fn schemas() -> impl Strategy<Value = Schema> {
    let path = || {
        prop::sample::select(vec!["/a", "/b", "/a/b", "/b/a"])
            .prop_map(|path| path.parse::<Pointer>().unwrap())
    };
    let id = prop_oneof![
        3 => prop::collection::vec(path(), 1..4).prop_map(Id::Fields),
        1 => Just(Id::Payload),
        1 => Just(Id::None),
    ];
    let unit = prop::sample::select(vec![Unit::Ms, Unit::S, Unit::Us, Unit::Ns, Unit::Rfc3339]);
    let time = (path(), unit).prop_map(|(path, unit)| TimeField { path, unit });
    (id, prop::option::of(path()), prop::option::of(time)).prop_map(|(id, key, time)| Schema {
        id,
        key,
        time,
        ..Schema::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn an_event_has_the_same_identity_for_the_analyzer_and_the_collector(text in almost_json(), schema in schemas(), paths in prop::collection::vec("(/[ab*]){1,4}", 0..3)) {
        let pointers: Vec<Pointer> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let mut decoder = Decoder::new(&pointers, &schema);
        let decoded = decoder.decode(&text).map(identity);
        prop_assert_eq!(decoded, identity::identify(&text, &schema), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn former_events_change_nothing(events in events(), room in 0..12_usize, schema in schemas(), paths in prop::collection::vec("(/[ab*]){1,3}", 0..3)) {
        let pointers: Vec<Pointer> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let decoder = || Decoder::new(&pointers, &schema);
        let all = |event: Event<'_>| (identity(event), (0..pointers.len()).map(|query| items(event, query)).collect::<Vec<_>>());
        let mut used = decoder();
        used.found.room = room;
        for event in &events {
            let decoded = used.decode(event.as_bytes()).map(all);
            prop_assert_eq!(&decoded, &decoder().decode(event.as_bytes()).map(all), "{}", event);
            prop_assert_eq!(decoded.map(|(identity, _)| identity), identity::identify(event.as_bytes(), &schema), "{}", event);
        }
    }

    #[test]
    fn what_is_accepted_as_json_is_what_serde_json_accepts(text in almost_json()) {
        // Reading into `IgnoredAny` accepts lone surrogates, numbers of any size and repeated names.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        let is_event = is_json && std::str::from_utf8(&text).is_ok() && text.trim_ascii_start().starts_with(b"{");
        for paths in [&["/a/*/b"][..], &["/c"], &["/a", "/b/*/*", "/mtime"]] {
            let decoded = decode(&mut decoder(paths), &text);
            let decoded = decoded.map(drop).or_else(|reason| if reason == Reason::DuplicateKey { Ok(()) } else { Err(reason) });
            prop_assert_eq!(decoded.is_ok(), is_event, "{:?}: {:?}", String::from_utf8_lossy(&text), decoded);
        }
    }

    #[test]
    fn escaped_text_reads_as_itself(text in any::<String>(), name in "[a-c\u{e4}\u{1f600}]{1,3}") {
        let escape = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
        let payload = format!("{{\"{}\":\"{}\"}}", escape(&name), escape(&text));
        let items = decode(&mut decoder(&[&format!("/{name}")]), payload.as_bytes()).unwrap().0;
        prop_assert!(text.len() > MAX_ITEM_BYTES || items == [text]);
    }
}

proptest! {
    #[test]
    fn the_items_are_those_that_a_reader_which_builds_a_tree_finds(
        root in prop::collection::hash_map("[ab]", any_json(), 0..3),
        paths in prop::collection::vec("(/[ab*]){1,4}", 1..4),
    ) {
        let event = Value::Object(root.into_iter().collect());
        let pointers: Vec<Pointer> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let time = Some(TimeField { path: "/a".parse().unwrap(), unit: Unit::Ms });
        let mut decoder = Decoder::new(&pointers, &Schema { id: Id::None, time, ..Schema::default() });
        let text = event.to_string();
        let decoded = decoder.decode(text.as_bytes()).unwrap();
        for (query, pointer) in pointers.iter().enumerate() {
            let item = |value: &Value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            let expected: Vec<String> = select(&event, pointer.steps()).into_iter().filter_map(item).collect();
            // Even where several pointers lead into one array, the order is that of the text.
            prop_assert_eq!(items(decoded, query), expected);
        }
        let expected = event["a"].as_i64().filter(|at| at.unsigned_abs() <= time::MAX_MS as u64);
        prop_assert_eq!(time_ms(decoded), expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(payload in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ud0a1-.e \xff".to_vec()), 0..60)) {
        drop(decode(&mut topics_and_countries(), &payload));
    }
}
