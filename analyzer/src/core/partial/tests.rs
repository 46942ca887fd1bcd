use proptest::prelude::*;

use super::*;

#[test]
fn keys_have_the_documented_text() {
    let pane = Key {
        query: "topics".to_owned(),
        partition: 3,
        part: Part::Pane { start_ms: 1_700_000_000_000 },
    };
    let head = Key { part: Part::Head, ..pane.clone() };
    assert_eq!(pane.to_string(), "topics/3/1700000000000");
    assert_eq!(head.to_string(), "topics/3/head");
}

#[test]
fn texts_that_are_no_keys_are_refused_by_name() {
    for text in
        ["", "topics", "topics/3", "topics/x/head", "topics/3/tail", "topics/3/head/", "topics/3/"]
    {
        assert_eq!(Key::parse(text.as_bytes()), Err(Error::Key(text.to_owned())));
    }
    assert!(matches!(Key::parse(b"\xff/3/head"), Err(Error::Key(_))));
}

proptest! {
    #[test]
    fn a_key_reads_back_what_it_prints(query in "[a-z0-9_-]{1,20}", partition in 0..i32::MAX, start in prop::option::of(any::<i64>())) {
        let part = start.map_or(Part::Head, |start_ms| Part::Pane { start_ms });
        let key = Key { query, partition, part };
        prop_assert_eq!(Key::parse(key.to_string().as_bytes()), Ok(key));
    }
}
