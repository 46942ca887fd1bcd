use proptest::prelude::*;

use super::*;

fn read(toml: &str) -> Result<Schema, String> {
    toml::from_str(toml).map_err(|error| error.to_string())
}

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

#[test]
fn an_id_is_a_pointer_or_several_or_the_payload_or_none() {
    for (written, id) in [
        (r#"id = "/a""#, Id::Fields(vec![pointer("/a")])),
        (r#"id = ["/a", "/b/c"]"#, Id::Fields(vec![pointer("/a"), pointer("/b/c")])),
        (r#"id = "payload""#, Id::Payload),
        (r#"id = "none""#, Id::None),
    ] {
        let schema = read(written).unwrap();
        assert_eq!((schema.id, schema.key, schema.time), (id, None, None), "{written}");
    }
    for (wrong, told) in [
        (r#"id = "rsvp_id""#, "not a JSON pointer"),
        (r#"id = 7"#, "a JSON pointer, a list of them"),
        (r#"id = ["payload"]"#, "not a JSON pointer"),
        (r#"integers = []"#, "unknown field `integers`"),
        (r#"time = { path = "/t", unit = "h" }"#, "unknown variant `h`"),
        (r#"time = "/t""#, "invalid type"),
        (r#"max_jump = 5"#, "expected a string"),
        (r#"max_jump = "5""#, "write a number and a unit"),
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.contains(told), "{wrong}: {error}");
    }
}

#[test]
fn a_section_that_names_no_id_takes_those_of_rsvps() {
    assert_eq!(read(""), Ok(Schema::default()));
    let schema = read("max_jump = \"1day\"").unwrap();
    assert_eq!(schema, Schema { max_jump: Duration::from_secs(86_400), ..Schema::default() });
    let schema = read("time = { path = \"/created\", unit = \"rfc3339\" }").unwrap();
    assert_eq!(schema.time.unwrap(), Time { path: pointer("/created"), unit: Unit::Rfc3339 });
    assert_eq!(schema.id, Schema::default().id);
}

#[test]
fn a_schema_that_cannot_identify_events_has_its_problems_listed() {
    let schema = Schema {
        id: Id::Fields(Vec::new()),
        key: Some(pointer("/a/*/b")),
        max_jump: Duration::ZERO,
        max_future: Duration::MAX,
        idle: Duration::ZERO,
        time: Some(Time { path: pointer("/*"), unit: Unit::S }),
    };
    let problems = schema.problems();
    let keys: Vec<_> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
    assert_eq!(keys, ["id", "key", "time.path", "max_jump", "max_future", "idle"], "{problems:?}");
    assert!(Schema { id: Id::None, ..Schema::default() }.problems().is_empty());
    assert!(Schema::default().problems().is_empty());
}

fn schema() -> impl Strategy<Value = Schema> {
    let pointers = || "(/[a-z]{1,3}){1,3}".prop_map(|text| text.parse::<Pointer>().unwrap());
    let id = prop_oneof![
        prop::collection::vec(pointers(), 1..4).prop_map(Id::Fields),
        Just(Id::Payload),
        Just(Id::None),
    ];
    let unit = prop::sample::select(vec![Unit::Ms, Unit::S, Unit::Us, Unit::Ns, Unit::Rfc3339]);
    let time = prop::option::of((pointers(), unit).prop_map(|(path, unit)| Time { path, unit }));
    let durations = prop::array::uniform3((0..10_000_000_u64).prop_map(Duration::from_millis));
    (id, prop::option::of(pointers()), time, durations).prop_map(
        |(id, key, time, [max_jump, max_future, idle])| Schema {
            id,
            key,
            max_jump,
            max_future,
            idle,
            time,
        },
    )
}

proptest! {
    #[test]
    fn a_schema_reads_back_what_it_prints(schema in schema()) {
        prop_assert_eq!(read(&toml::to_string(&schema).unwrap()), Ok(schema));
    }

    #[test]
    fn different_parts_never_give_one_id(parts in prop::array::uniform2(prop::collection::vec(r"[a:\\]{0,4}", 3))) {
        let [one, other] = parts.clone().map(|parts| {
            let values: Vec<_> = parts.into_iter().map(|text| Value::Text(text.into())).collect();
            let mut id = String::new();
            Id::join(values.iter().map(Some), &mut id).unwrap();
            id
        });
        prop_assert_eq!(one == other, parts[0] == parts[1]);
    }
}
