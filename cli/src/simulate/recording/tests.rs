use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lines(content: &[u8], from: u64) -> Vec<Vec<u8>> {
    let file = file(content);
    let mut reader = Reader::open(file.path()).unwrap();
    reader.skip_to(from).unwrap();
    std::iter::from_fn(|| reader.next_line().unwrap()).map(|line| line.bytes.to_vec()).collect()
}

#[test]
fn lines_are_split_at_newlines_only_and_stay_as_they_are() {
    let content = b"one\r\n\n\xff\xfe\0\x0b\xc2\x85\ntruncated";
    let expected: [&[u8]; 4] = [b"one\r", b"", b"\xff\xfe\0\x0b\xc2\x85", b"truncated"];
    assert_eq!(lines(content, 0), expected);
    assert_eq!(lines(content, 2), expected[2..]);
    assert_eq!(lines(content, 9), [] as [&[u8]; 0]);
    assert_eq!(lines(b"a\n", 0), [b"a"], "a final newline begins no line");
    assert_eq!(lines(b"", 0), [] as [&[u8]; 0]);
}

#[test]
fn gzip_is_recognised_by_content_and_may_have_several_members() {
    let mut content = gzip(b"one\ntw");
    content.extend(gzip(b"o\nthree\n"));
    assert_eq!(lines(&content, 0), [b"one".as_slice(), b"two", b"three"]);
    assert_eq!(lines(&content, 1), [b"two".as_slice(), b"three"]);
}

#[test]
fn a_damaged_gzip_gives_its_whole_lines_and_then_says_where_it_broke() {
    let whole: Vec<u8> = (0..20_000u32)
        .flat_map(|n| format!("{:x}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    let mut content = gzip(&whole);
    content.truncate(content.len() / 2);
    let file = file(&content);
    let mut reader = Reader::open(file.path()).unwrap();
    let mut read = 0;
    let error = loop {
        match reader.next_line() {
            Ok(Some(_)) => read += 1,
            Ok(None) => panic!("a truncated gzip has no proper end"),
            Err(error) => break error,
        }
    };
    assert!(read > 1_000, "{read} lines were read");
    assert!(matches!(error, Error::Read { line, .. } if line == read + 1), "{error}");
}

#[test]
fn the_mtime_is_what_the_collector_reads() {
    let file = file(
        b"{\"rsvp_id\":1,\"response\":\"yes\",\"mtime\":1425788568167}\n{\"mtime\":1}\nnull\n",
    );
    let mut reader = Reader::open(file.path()).unwrap();
    let mtimes: Vec<_> =
        std::iter::from_fn(|| reader.next_line().unwrap()).map(|line| line.mtime_ms).collect();
    assert_eq!(mtimes, [Some(1_425_788_568_167), None, None]);
}

#[test]
fn a_missing_recording_is_named() {
    let error = Reader::open(Path::new("/nowhere/rsvps.jsonl")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/rsvps.jsonl"), "{error}");
}
