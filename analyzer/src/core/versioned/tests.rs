use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NOTE: Format = Format::new("a note", 3, 4);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    #[serde(default)]
    stars: u64,
}

#[test]
fn this_version_and_the_one_before_are_read_and_no_other() {
    let mut bytes = NOTE.encode(&Note { text: "x".to_owned(), stars: 5 });
    assert_eq!(bytes[0], 4);
    for (version, read) in [(2, false), (3, true), (4, true), (5, false), (255, false)] {
        bytes[0] = version;
        let expected =
            Error::Version { what: "a note", found: version.into(), oldest: 3, newest: 4 };
        match NOTE.decode::<Note>(&bytes) {
            Ok(note) => assert!(read && note.stars == 5, "version {version}"),
            Err(error) => assert!(!read && error == expected, "version {version}: {error}"),
        }
    }
}

#[test]
fn a_field_may_be_added_or_taken_away_within_a_version() {
    let older = BTreeMap::from([("text", "x")]);
    let read: Note = NOTE.decode(&NOTE.encode(&older)).unwrap();
    assert_eq!(read, Note { text: "x".to_owned(), stars: 0 });
    let newer = BTreeMap::from([("text", "x"), ("colour", "red")]);
    let read: Note = NOTE.decode(&NOTE.encode(&newer)).unwrap();
    assert_eq!(read, Note { text: "x".to_owned(), stars: 0 });
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0..20_usize) {
        let _ = NOTE.decode::<Note>(&bytes);
        let whole = NOTE.encode(&Note { text: "twelve chars".to_owned(), stars: 1 });
        prop_assert!(NOTE.decode::<Note>(&whole[..cut.min(whole.len() - 1)]).is_err());
    }
}
