use super::*;

fn what(head: &[u8]) -> Option<&'static str> {
    check_lines(head).err().map(|foreign| foreign.what)
}

#[test]
fn what_is_packed_is_told_by_its_first_bytes() {
    assert_eq!(packing(b"\x1f\x8b\x08\x00"), Some(Packing::Gzip));
    assert_eq!(packing(b"\x28\xb5\x2f\xfd\x04"), Some(Packing::Zstd));
    assert_eq!(packing(b"\x50\x2a\x4d\x18\x00"), Some(Packing::Zstd), "a skippable frame first");
    for head in [b"".as_slice(), b"\x1f", b"{\"rsvp_id\":1}\n", b"5", b"\xfd7zXZ\0"] {
        assert_eq!(packing(head), None, "{head:?}");
    }
}

#[test]
fn what_is_not_read_is_named() {
    let mut tar = vec![b'a'; 512];
    tar[TAR_OFFSET..TAR_OFFSET + 5].copy_from_slice(b"ustar");
    let cases: [(&[u8], &str); 9] = [
        (b"\xfd7zXZ\0\x00\x04", "packed with xz"),
        (b"BZh91AY&SY", "packed with bzip2"),
        (b"PK\x03\x04\x14", "a zip archive"),
        (b"\x04\x22\x4d\x18\x64", "packed with lz4"),
        (b"PAR1\x15", "a Parquet table"),
        (b"\x1f\x8b\x08", "packed twice, or with something else inside"),
        (&tar, "a tar archive"),
        (b"\xff\xfe{\0\"\0", "UTF-16"),
        (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
    ];
    for (head, expected) in cases {
        assert_eq!(what(head), Some(expected), "{head:?}");
    }
    assert_eq!(what(b"\xfe\xff\0{\0\""), Some("UTF-16"));
    assert_eq!(what(b"{\0\"\0a\0"), Some("UTF-16"), "without a byte order mark");
    assert_eq!(what(b"\0{\0\"\0a"), Some("UTF-16"));
}

#[test]
fn json_over_many_lines_is_told_from_lines_of_json() {
    let array = Some("one JSON array over many lines");
    assert_eq!(what(b"[\n{\"a\":1},\n{\"a\":2}\n]\n"), array);
    assert_eq!(what(b"[{\"a\":1},\r\n{\"a\":2}]\n"), array);
    assert_eq!(what(b"\xef\xbb\xbf [\n"), array);
    assert_eq!(what(b"{\n  \"a\": 1\n}\n"), Some("JSON with objects over many lines"));
    for lines in [
        b"".as_slice(),
        b"\n\n{\"a\":1}\n",
        b"{\"a\":1}\n{\"a\":2}",
        b"{\"a\":1,\"trunc\n{\"a\":2}\n",
        b"[1,[2,3]]\n[4,[5,6]]\n",
        b"[{\"a\":1}]",
        b"\xff\xfe\n",
        b"plain text\n",
        b"null\n",
    ] {
        assert_eq!(what(lines), None, "{lines:?}");
    }
}
