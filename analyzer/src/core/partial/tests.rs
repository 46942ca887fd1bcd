use proptest::prelude::*;

use super::*;

const OWNER: Owner = Owner::new(0x00c0_ffee);

#[test]
fn keys_have_the_documented_text() {
    let pane = Key {
        query: "topics".to_owned(),
        partition: 3,
        part: Part::Pane { start_ms: 1_700_000_000_000 },
    };
    let head = Key { part: Part::Head, ..pane.clone() };
    assert_eq!(pane.written_by(OWNER), "topics/3/0000000000c0ffee/1700000000000");
    assert_eq!(head.written_by(OWNER), "topics/3/0000000000c0ffee/head");
}

#[test]
fn texts_that_are_no_keys_are_refused_by_name() {
    for text in [
        "",
        "topics",
        "topics/3",
        "topics/3/head",
        "topics/3/c0ffee/head",
        "topics/x/0000000000c0ffee/head",
        "topics/3/0000000000c0ffee/tail",
        "topics/3/0000000000c0ffee/head/",
        "topics/3/0000000000c0ffee/",
        "topics/3/+000000000c0ffee/head",
    ] {
        assert_eq!(Key::parse(text.as_bytes()), Err(Error::Key(text.to_owned())));
    }
    assert!(matches!(Key::parse(b"\xff/3/0000000000c0ffee/head"), Err(Error::Key(_))));
}

#[test]
fn a_progress_of_a_build_that_knows_fewer_fields_is_read_with_their_defaults() {
    let older = std::collections::BTreeMap::from([("next_offset", 7), ("a_field_to_come", 1)]);
    let read: Progress = FORMAT.decode(&FORMAT.encode(&older)).unwrap();
    assert_eq!(read, Progress { next_offset: 7, ..Progress::default() });
}

proptest! {
    #[test]
    fn a_key_reads_back_what_it_prints(query in "[a-z0-9_-]{1,20}", partition in 0..i32::MAX, owner in any::<u64>(), start in prop::option::of(any::<i64>())) {
        let part = start.map_or(Part::Head, |start_ms| Part::Pane { start_ms });
        let key = Key { query, partition, part };
        let owner = Owner::new(owner);
        prop_assert_eq!(Key::parse(key.written_by(owner).as_bytes()), Ok((key, owner)));
    }
}
