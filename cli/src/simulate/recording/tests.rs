use std::io::Write;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tempfile::{NamedTempFile, TempDir};

use super::*;

const LINES: &[u8] = b"{\"a\":1}\r\n\n\xff\xfe\0\x0b\xc2\x85\ntruncated";

fn split() -> Vec<Vec<u8>> {
    LINES.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}

fn open(path: &Path) -> Result<Recording, Error> {
    Recording::open(path, &std::env::temp_dir())
}

fn refused(content: &[u8]) -> String {
    open(file(content).path()).unwrap_err().to_string()
}

/// The lines that are left, and how they end.
fn rest(reader: &mut Reader) -> (Vec<Vec<u8>>, Result<(), Error>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut lines = Vec::new();
    loop {
        match reader.next_line() {
            Ok(Next::Line(line)) => lines.push(line.bytes.to_vec()),
            Ok(Next::Later) => runtime.block_on(reader.grown()),
            Ok(Next::End) => return (lines, Ok(())),
            Err(error) => return (lines, Err(error)),
        }
    }
}

fn all(recording: &Recording) -> Vec<Vec<u8>> {
    let (lines, end) = rest(&mut recording.reader(0).unwrap());
    end.unwrap();
    lines
}

/// A FIFO that `content` is written to, as soon as it is read.
fn fifo(content: Vec<u8>) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("it's a \"pipe\"");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let pipe = path.clone();
    std::thread::spawn(move || fs::write(pipe, content));
    (directory, path)
}

#[test]
fn lines_are_split_at_newlines_only_and_stay_as_they_are() {
    let with_end = [LINES, b"\n"].concat();
    assert_eq!(all(&open(file(LINES).path()).unwrap()), split());
    assert_eq!(all(&open(file(&with_end).path()).unwrap()), split(), "it begins no line");
    assert_eq!(all(&open(file(b"").path()).unwrap()), [] as [Vec<u8>; 0]);
}

#[test]
fn every_packing_in_every_kind_of_file_gives_the_same_lines() {
    let (head, tail) = LINES.split_at(5);
    let packings = [
        LINES.to_vec(),
        gzip(LINES),
        [gzip(head), gzip(tail)].concat(),
        zstd(LINES),
        [zstd(head), zstd(tail)].concat(),
        [b"\x5a\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(LINES)].concat(),
    ];
    for (at, packed) in packings.into_iter().enumerate() {
        assert_eq!(all(&open(file(&packed).path()).unwrap()), split(), "a file, {at}");
        let (_directory, path) = fifo(packed.clone());
        assert_eq!(all(&open(&path).unwrap()), split(), "a FIFO, {at}");

        let (reader, mut writer) = io::pipe().unwrap();
        std::thread::spawn(move || writer.write_all(&packed));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        assert_eq!(all(&open(Path::new(&path)).unwrap()), split(), "a pipe, {at}");
    }
}

#[test]
fn a_pipe_without_a_writer_is_opened_at_once_and_its_lines_come_later() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let recording = open(&path).unwrap();
    let mut reader = recording.reader(0).unwrap();
    assert_eq!(reader.next_line().unwrap(), Next::Later);

    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"one\ntw").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut next = || loop {
        match reader.next_line().unwrap() {
            Next::Later => runtime.block_on(reader.grown()),
            Next::Line(line) => return line.bytes,
            Next::End => panic!("its writer has not closed it"),
        }
    };
    assert_eq!(next(), "one");
    writer.write_all(b"o\n").unwrap();
    assert_eq!(next(), "two");
    drop(writer);
    assert!(matches!(rest(&mut reader), (lines, Ok(())) if lines.is_empty()));
}

#[test]
fn what_is_cut_off_gives_its_whole_lines_and_then_says_where_it_broke() {
    let whole: Vec<u8> = (0..100_000u32)
        .flat_map(|n| format!("{:x}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for mut content in [gzip(&whole), zstd(&whole)] {
        content.truncate(content.len() / 2);
        let file = file(&content);
        let recording = open(file.path()).unwrap();
        let (lines, end) = rest(&mut recording.reader(0).unwrap());
        let error = end.unwrap_err();
        let read = lines.len() as u64;
        assert!(whole.starts_with(&lines.join(&b'\n')));
        assert!(matches!(error, Error::Read { line, .. } if line == read + 1), "{error}");
        assert!(error.to_string().contains("zcat "), "{error}");
    }
}

#[test]
fn what_holds_no_lines_is_refused_by_name_at_once() {
    assert!(refused(b"\xfd7zXZ\0\0\x04").contains("is packed with xz; "));
    assert!(refused(&gzip(&gzip(b"x\n"))).contains("packed twice"));
    assert!(refused(&zstd(b"[\n{},\n{}\n]\n")).contains("one JSON array"));
    assert!(refused(b"\xff\xfe{\0}\0\n\0").contains("is UTF-16; "));
    let folder = open(&std::env::temp_dir()).unwrap_err();
    assert!(matches!(folder, Error::Folder { .. }), "{folder}");
    let missing = open(Path::new("/nowhere/rsvps.jsonl")).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/rsvps.jsonl"), "{missing}");
    let (_directory, path) = fifo(b"BZh91AY".to_vec());
    let (_, end) = rest(&mut open(&path).unwrap().reader(0).unwrap());
    assert!(matches!(end, Err(Error::NoLines { .. })), "{end:?}");
}

#[test]
fn a_file_that_is_removed_or_moved_meanwhile_is_read_to_its_end() {
    let content = b"line\n".repeat(100_000);
    let file = file(&content);
    let recording = open(file.path()).unwrap();
    let mut reader = recording.reader(0).unwrap();
    reader.next_line().unwrap();
    file.close().unwrap();
    assert_eq!(rest(&mut reader).0.len(), 99_999);
    recording.check_unchanged().unwrap();
}

#[test]
fn a_file_that_is_written_to_meanwhile_is_an_error() {
    for packed in [false, true] {
        let content = (0..300_000_u64)
            .flat_map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes());
        let mut content: Vec<u8> = content.collect();
        if packed {
            content = gzip(&content);
        }
        for length in [content.len() as u64 + 1, content.len() as u64 - 1] {
            let file = file(&content);
            let mut snapshot = Snapshot::open(file.path()).unwrap();
            file.as_file().set_len(length).unwrap();
            assert!(snapshot.check().is_err());
            let read = io::copy(&mut Arc::new(snapshot).reader(), &mut io::sink());
            assert!(read.unwrap_err().to_string().contains("stop what writes to it"));
            // Of the same length, but not the same.
            snapshot = Snapshot::open(file.path()).unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
            file.as_file().set_modified(later).unwrap();
            assert!(snapshot.check().is_err());
        }
    }
    let file = file(b"one\ntwo\n");
    let recording = open(file.path()).unwrap();
    let mut reader = recording.reader(0).unwrap();
    reader.next_line().unwrap();
    file.as_file().set_len(100).unwrap();
    let (_, end) = rest(&mut reader);
    assert!(matches!(end, Err(Error::Read { .. })), "{end:?}");
    assert!(recording.check_unchanged().is_err());
}

#[test]
fn the_mtime_is_what_the_collector_reads() {
    let file = file(
        b"{\"rsvp_id\":1,\"response\":\"yes\",\"mtime\":1425788568167}\n{\"mtime\":1}\nnull\n",
    );
    let mut reader = open(file.path()).unwrap().reader(0).unwrap();
    let mut mtimes = Vec::new();
    while let Next::Line(line) = reader.next_line().unwrap() {
        mtimes.push(line.mtime_ms);
    }
    assert_eq!(mtimes, [Some(1_425_788_568_167), None, None]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Wherever a reader begins, it gives what one that began at the first line gives.
    #[test]
    fn a_reader_begins_at_any_line_that_was_read(
        lines in prop::collection::vec(prop::collection::vec(1_u8..10, 0..40), 1..2_000),
        packed: bool,
        from in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let lines: Vec<Vec<u8>> = lines
            .into_iter()
            .map(|line| line.into_iter().map(|sign| sign + b'a').collect())
            .collect();
        let mut content = lines.join(&b'\n');
        content.push(b'\n');
        if packed {
            content = gzip(&content);
        }
        let file = file(&content);
        let recording = open(file.path()).unwrap();
        prop_assert_eq!(&all(&recording), &lines);
        for from in from {
            let from = from.index(lines.len() + 1);
            let mut reader = recording.reader(from as u64).unwrap();
            prop_assert_eq!(reader.position(), from as u64);
            prop_assert_eq!(rest(&mut reader).0, &lines[from..]);
        }
    }
}
