use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn shape_of<'a>(events: impl IntoIterator<Item = &'a str>) -> Shape {
    let mut shape = Shape::new();
    for event in events {
        let _refused = shape.observe(event.as_bytes(), NOW);
    }
    shape.settle();
    shape
}

fn pointers(shape: &Shape) -> Vec<String> {
    shape.paths().into_iter().map(|path| path.pointer).collect()
}

#[test]
fn each_path_has_its_types_share_values_and_examples() {
    let shape = shape_of([
        r#"{"a":{"b/c":1,"b~":null},"l":[{"n":"x"},{"n":"y"},{"n":"x"}]}"#,
        r#"{"a":{"b/c":"1"},"l":[]}"#,
    ]);
    assert_eq!(pointers(&shape), ["/a", "/a/b~1c", "/a/b~0", "/l", "/l/*", "/l/*/n"]);
    let paths = shape.paths();
    let name = &paths[5];
    let values = name.node.values().unwrap();
    assert_eq!((name.share, name.node.seen(), values.different()), (0.5, 3, 2));
    assert_eq!(&*values.examples().next().unwrap().text, "x", "the most frequent one is first");
    assert_eq!(paths[1].node.kinds(), [Kind::Text, Kind::Integer]);
    assert!(name.in_array && !paths[1].in_array);
}

#[test]
fn what_is_no_event_is_counted_by_its_reason() {
    let deep = "[".repeat(100_000);
    let deep = format!("{{\"a\":{deep}");
    let shape =
        shape_of(["", "[1]", "{\"a\":1}", "{\"a\"", "\u{0}\u{1}", &deep, "{\"a\":1,\"a\":2}"]);
    assert_eq!(shape.events(), 1);
    let refused: Vec<(&str, u64)> =
        shape.refused().iter().map(|(reason, &count)| (reason.as_str(), count)).collect();
    assert_eq!(
        refused,
        [("empty", 1), ("not_json", 2), ("not_object", 1), ("too_deep", 1), ("duplicate_key", 1)]
    );
    let mut shape = shape;
    assert_eq!(shape.observe(b"{\"a\":\"\xff\"}", NOW), Err(Reason::InvalidUtf8));
}

#[test]
fn an_object_whose_names_are_ids_is_one_path() {
    let many: Vec<String> = (0..300)
        .map(|at| {
            format!(
                r#"{{"time":{at},"users":{{"u{}":{{"score":{at}}},"u{}":{{"score":1}}}}}}"#,
                at * 7,
                at * 7 + 1
            )
        })
        .collect();
    let shape = shape_of(many.iter().map(String::as_str));
    assert_eq!(pointers(&shape), ["/time", "/users", "/users/{}", "/users/{}/score"]);
    let score = &shape.paths()[3];
    assert!(score.in_map);
    assert_eq!((score.node.seen(), score.share), (600, 1.0));

    // Few names, but rare ones with digits.
    let few: Vec<String> =
        (0..400).map(|at| format!(r#"{{"by":{{"{}":1}}}}"#, 10_000 + at % 20)).collect();
    assert_eq!(pointers(&shape_of(few.iter().map(String::as_str))), ["/by", "/by/{}"]);

    // All at once.
    let all: Vec<String> = (0..5_000).map(|at| format!("\"k{at}\":{at}")).collect();
    let all = format!("{{{}}}", all.join(","));
    assert_eq!(pointers(&shape_of([all.as_str()])), ["/{}"]);
}

#[test]
fn an_object_with_many_names_that_every_event_has_stays_an_object() {
    let columns: Vec<String> = (0..200).map(|at| format!("\"column_{at}\":{at}")).collect();
    let event = format!("{{{}}}", columns.join(","));
    assert_eq!(shape_of([event.as_str(); 20]).width(), 200);
}

#[test]
fn the_number_of_paths_is_bounded_whatever_comes() {
    let mut shape = Shape::new();
    for at in 0..3_000 {
        // Names that are as frequent as their objects, on two levels, so that none is a map.
        let event = format!(r#"{{"a{}":{{"b{}":{{"c{at}":1}}}}}}"#, at % 60, at % 60);
        shape.observe(event.as_bytes(), NOW).unwrap();
        assert!(shape.width() <= MAX_PATHS);
    }
    let long = format!(r#"{{"{}":1}}"#, "x".repeat(1_000));
    let before = shape.left_out();
    shape.observe(long.as_bytes(), NOW).unwrap();
    assert_eq!(shape.left_out(), before + 1, "its name is too long");
    let deep = format!("{}1{}", "{\"d\":".repeat(100), "}".repeat(100));
    shape.observe(deep.as_bytes(), NOW).unwrap();
    assert_eq!(shape.left_out(), before + 2, "it has too many steps");
    assert!(shape.paths().iter().all(|path| path.steps <= MAX_STEPS));
}

#[test]
fn long_examples_are_cut() {
    let long = format!(r#"{{"a":"{}"}}"#, "ü".repeat(10_000));
    let shape = shape_of([long.as_str()]);
    let paths = shape.paths();
    let example = paths[0].node.values().unwrap().examples().next().unwrap();
    assert_eq!(example.text.chars().count(), 65);
}

#[test]
fn a_unit_is_that_of_the_numbers_and_another_one_does_not_fit() {
    let events =
        [1_800_000_000_i64, 1_800_000_001, 1_800_000_000_000].map(|t| format!("{{\"t\":{t}}}"));
    let shape = shape_of(events.iter().map(String::as_str));
    let paths = shape.paths();
    let (track, fits) = paths[0].node.values().unwrap().times().track().unwrap();
    assert_eq!((track.unit.name(), track.fits, track.near), ("s", 2, 2));
    assert!((fits - 2.0 / 3.0).abs() < 1e-9);
}

/// The paths of a value, as serde reads it.
fn expected(value: &Value, path: &str, into: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}/{name}");
                *into.entry(path.clone()).or_default() += 1;
                expected(member, &path, into);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                let path = format!("{path}/*");
                *into.entry(path.clone()).or_default() += 1;
                expected(element, &path, into);
            }
        }
        _ => {}
    }
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i32>().prop_map(|n| json!(n)),
        "\\PC{0,6}".prop_map(|s| json!(s)),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_is_counted_at_its_path(events in prop::collection::vec(
        prop::collection::btree_map("[a-d]", value(), 0..4), 1..8)) {
        let mut shape = Shape::new();
        let mut counts = BTreeMap::new();
        for event in events {
            let event = Value::Object(event.into_iter().collect());
            shape.observe(event.to_string().as_bytes(), NOW).unwrap();
            expected(&event, "", &mut counts);
        }
        let found: BTreeMap<String, u64> =
            shape.paths().into_iter().map(|path| (path.pointer, path.node.seen())).collect();
        prop_assert_eq!(found, counts);
        for path in shape.paths() {
            prop_assert!(path.share > 0.0 && path.share <= 1.0);
            let different = path.node.values().map_or(0, |values| values.different());
            prop_assert!(different <= path.node.seen());
        }
    }

    #[test]
    fn any_bytes_are_an_event_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut shape = Shape::new();
        let is_event = shape.observe(&bytes, NOW).is_ok();
        let refused: u64 = shape.refused().values().sum();
        prop_assert_eq!((shape.events(), refused), if is_event { (1, 0) } else { (0, 1) });
    }
}
