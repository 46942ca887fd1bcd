use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use common::admin::Readiness;
use common::clock::Clock;
use common::event::Schema;
use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Source as _;
use super::super::connection::Connections;
use super::super::feed::following::{unready, until};
use super::*;
use crate::config::Framing;
use crate::intake::{Queued, Queues};
use crate::metrics::Metrics;

/// A source that reads a file, with the journal's end of its queue.
struct Reading {
    messages: mpsc::Receiver<Queued>,
    source: SourceMetrics,
    metrics: FileMetrics,
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<End>,
    /// The cursor of the last message that was taken.
    cursor: Option<Cursor>,
}

impl Reading {
    fn of(section: Section) -> Self {
        Self::from(section, None)
    }

    fn from(section: Section, cursor: Option<Cursor>) -> Self {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (name, stop): (Arc<str>, _) = ("log".into(), CancellationToken::new());
        let (source, of_file) = (metrics.of_source(&name), metrics.of_file(&name));
        let mut queues = Queues::default();
        let schema = Schema::default();
        let intake = queues.add(&name, &schema, &section.common, Clock::default(), source.clone());
        let readiness = Readiness::default();
        let connection = Connections::new(readiness.condition("source")).of(&name);
        let file = File::new(&name, &section, source.clone(), of_file.clone(), connection).unwrap();
        let task = tokio::spawn(file.run(intake, cursor, stop.clone()));
        let messages = queues.into_queues().remove(0).messages;
        Self { messages, source, metrics: of_file, readiness, stop, task, cursor: None }
    }

    async fn message(&mut self) -> Message {
        let message = self.messages.recv().await.unwrap().sifted.message;
        self.cursor = message.cursor.clone().or(self.cursor.take());
        message
    }

    async fn next(&mut self) -> String {
        String::from_utf8(self.message().await.payload.to_vec()).unwrap()
    }

    async fn taken(&mut self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    async fn finished(&self) {
        until(|| self.metrics.finished.get() > 0).await;
        assert!(self.readiness.unmet().is_empty());
    }

    async fn unready(&self, text: &str) {
        unready(&self.readiness, text).await;
    }

    /// As a kill would: what was not taken is forgotten. Returns where it goes on.
    async fn killed(self) -> Option<Cursor> {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap(), End::Stopped);
        self.cursor
    }
}

struct Log {
    folder: TempDir,
    path: PathBuf,
}

impl Log {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, text).unwrap();
        Self { folder, path }
    }

    fn section(&self) -> Section {
        Section { path: self.path.clone(), ..Section::default() }
    }

    fn followed(&self) -> Section {
        Section { follow: true, ..self.section() }
    }

    fn add(&self, text: &str) {
        let mut file = fs::File::options().create(true).append(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, to: &str) -> PathBuf {
        let rotated = self.folder.path().join(to);
        fs::rename(&self.path, &rotated).unwrap();
        rotated
    }
}

fn line(number: usize) -> String {
    format!(r#"{{"rsvp_id":{number},"response":"yes"}}"#)
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| line(number) + "\n").collect()
}

fn wanted(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(line).collect()
}

#[tokio::test]
async fn a_file_is_read_to_its_end_and_then_the_source_is_finished_and_ready() {
    let log = Log::new(&format!("{}\r\n\n{}", line(0), line(1)));
    let mut reading = Reading::of(log.section());
    assert_eq!(reading.taken(2).await, wanted(0..2), "the last line has no end");
    reading.finished().await;
    assert_eq!(reading.metrics.position.get(), fs::metadata(&log.path).unwrap().len() as i64);
    let cursor = reading.killed().await;
    let again = Reading::from(log.section(), cursor.clone());
    again.finished().await;
    again.killed().await;
    // What was added meanwhile is read, and nothing else.
    log.add(&format!("\n{}", lines(2..3)));
    let mut again = Reading::from(log.section(), cursor);
    assert_eq!(again.next().await, line(2));
    again.finished().await;
}

#[tokio::test]
async fn a_killed_source_goes_on_after_the_last_message_that_was_logged() {
    let log = Log::new(&lines(0..5000));
    let (mut cursor, mut at) = (None, 0);
    for logged in [1, 700, 1, 2000, 2298] {
        let mut reading = Reading::from(log.section(), cursor);
        assert_eq!(reading.taken(logged).await, wanted(at..at + logged));
        at += logged;
        cursor = reading.killed().await;
    }
    Reading::from(log.section(), cursor).finished().await;
}

#[tokio::test]
async fn packed_files_are_unpacked_by_their_content_also_after_a_restart() {
    let text = lines(0..3000);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let log = Log::new("");
        fs::write(&log.path, packed).unwrap();
        let mut reading = Reading::of(log.section());
        assert_eq!(reading.taken(1000).await, wanted(0..1000));
        let mut again = Reading::from(log.section(), reading.killed().await);
        assert_eq!(again.taken(2000).await, wanted(1000..3000));
        again.finished().await;
    }
}

#[tokio::test]
async fn a_packed_file_that_is_cut_off_gives_what_it_has_and_says_so() {
    let text = lines(0..3000);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        let log = Log::new("");
        fs::write(&log.path, &packed[..packed.len() - 5]).unwrap();
        let mut reading = Reading::of(log.section());
        tokio::select! {
            () = async { while reading.messages.recv().await.is_some() {} } => {}
            () = until(|| reading.source.disconnects.get() > 0) => {}
        }
        reading.unready("ends too early").await;
        assert_eq!(reading.metrics.finished.get(), 0);
    }
}

#[tokio::test]
async fn what_is_added_to_a_file_that_is_followed_comes_when_its_line_is_whole() {
    let log = Log::new(&lines(0..1));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.next().await, line(0));
    let (first, second) = (line(1), line(2));
    let (begun, rest) = first.split_at(9);
    log.add(begun);
    until(|| reading.metrics.size.get() >= (line(0).len() + 10) as i64).await;
    assert!(reading.messages.try_recv().is_err(), "half a line is no message");
    log.add(&format!("{rest}\n{second}\n"));
    assert_eq!(reading.taken(2).await, [first.clone(), second]);
    // A restart in the middle of a line reads all of it.
    log.add(begun);
    let cursor = reading.killed().await;
    let mut again = Reading::from(log.followed(), cursor);
    log.add(&format!("{rest}\n"));
    assert_eq!(again.next().await, line(1));
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_waited_for() {
    let log = Log::new("");
    fs::remove_file(&log.path).unwrap();
    let mut reading = Reading::of(log.followed());
    reading.unready("is not there yet").await;
    log.add(&lines(0..1));
    assert_eq!(reading.next().await, line(0));
    assert!(reading.readiness.unmet().is_empty());
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end_and_then_the_new_one() {
    let log = Log::new(&lines(0..2));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(2).await, wanted(0..2));
    let rotated = log.rotate("app.log.1");
    log.add(&lines(4..5));
    // Its writer still has it open, and ends in the middle of a line.
    let mut writer = fs::File::options().append(true).open(rotated).unwrap();
    writer.write_all(format!("{}{}", lines(2..3), line(3)).as_bytes()).unwrap();
    assert_eq!(reading.taken(3).await, wanted(2..5));
    assert_eq!((reading.metrics.rotations.get(), reading.source.gaps.get()), (1, 0));
}

#[tokio::test]
async fn files_that_were_rotated_while_nobody_read_are_read_in_their_order() {
    let log = Log::new(&lines(0..3));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(2).await, wanted(0..2));
    let cursor = reading.killed().await;
    let aged = |path: &Path, seconds: u64| {
        let time = std::time::SystemTime::now() - Duration::from_secs(seconds);
        fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    };
    aged(&log.rotate("app.log.2"), 20);
    log.add(&lines(3..4));
    aged(&log.rotate("app.log.1"), 10);
    log.add(&lines(4..5));
    // Of other things in the folder, and of what was rotated before, nothing is read.
    for other in ["app.log.3", "app.log.swp", "other.log.1"] {
        let path = log.folder.path().join(other);
        fs::write(&path, lines(90..91)).unwrap();
        aged(&path, if other == "app.log.3" { 30 } else { 5 });
    }
    let mut again = Reading::from(log.followed(), cursor);
    assert_eq!(again.taken(3).await, wanted(2..5));
    assert_eq!((again.metrics.rotations.get(), again.source.gaps.get()), (2, 0));
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_beginning_and_counted() {
    let log = Log::new(&lines(0..2));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(2).await, wanted(0..2));
    log.add("{\"begun");
    fs::write(&log.path, lines(2..3)).unwrap();
    assert_eq!(reading.next().await, line(2));
    // As long as before, and with another content.
    fs::write(&log.path, lines(3..4)).unwrap();
    assert_eq!(reading.next().await, line(3));
    assert_eq!(reading.metrics.truncations.get(), 2);
    assert_eq!(reading.source.gaps.get(), 2, "nobody knows what was written and not read");
    let cursor = reading.killed().await;
    fs::write(&log.path, lines(5..6)).unwrap();
    let mut again = Reading::from(log.followed(), cursor);
    assert_eq!(again.next().await, line(5));
    assert_eq!(again.metrics.truncations.get(), 1, "also while nobody read");
    assert_eq!(again.source.gaps.get(), 1);
}

#[tokio::test]
async fn what_was_not_read_of_a_truncated_file_is_read_of_its_copy() {
    let log = Log::new(&lines(0..100));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(90).await, wanted(0..90));
    let cursor = reading.killed().await;
    fs::copy(&log.path, log.folder.path().join("app.log.1")).unwrap();
    fs::write(&log.path, lines(100..101)).unwrap();
    let mut again = Reading::from(log.followed(), cursor);
    assert_eq!(again.taken(11).await, wanted(90..101));
    assert_eq!(again.source.gaps.get(), 0);
}

#[tokio::test]
async fn a_new_file_with_the_inode_of_a_deleted_one_is_not_taken_for_it() {
    let log = Log::new(&lines(0..9));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(9).await, wanted(0..9));
    let Some(cursor) = reading.killed().await else { panic!("a file has places") };
    // The inode is the same, because the file is; the content is not.
    fs::write(&log.path, lines(20..40)).unwrap();
    let mut again = Reading::from(log.followed(), Some(cursor));
    assert_eq!(again.taken(20).await, wanted(20..40));
}

#[tokio::test]
async fn when_the_file_of_before_is_gone_there_is_a_gap() {
    let log = Log::new(&lines(0..2));
    let mut reading = Reading::of(log.followed());
    assert_eq!(reading.taken(2).await, wanted(0..2));
    let cursor = reading.killed().await;
    let other = log.rotate("other");
    log.add(&lines(5..6));
    fs::remove_file(other).unwrap();
    let mut again = Reading::from(log.followed(), cursor);
    assert_eq!(again.next().await, line(5));
    assert_eq!(again.source.gaps.get(), 1);
}

#[tokio::test]
async fn of_a_line_that_is_too_large_the_beginning_is_a_dead_letter_also_across_a_restart() {
    let text = format!("{}\n{}\n{}", line(0), "x".repeat(2 << 20), lines(1..2));
    let log = Log::new(&text);
    let section = Section { max_message_bytes: 5000, ..log.section() };
    let mut reading = Reading::of(section.clone());
    assert_eq!(reading.next().await, line(0));
    let cut = reading.message().await;
    assert_eq!((cut.identity, cut.payload.len()), (Err(Reason::TooLarge), 1024));
    let mut again = Reading::from(section, reading.killed().await);
    assert_eq!(again.next().await, line(1), "the rest of the line is no message");
}

#[tokio::test]
async fn a_pipe_is_read_until_its_writer_ends_and_followed_until_the_next_one() {
    let log = Log::new("");
    let pipe = log.folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let section = Section { path: pipe.clone(), follow: true, ..Section::default() };
    let mut reading = Reading::of(section.clone());
    for number in 0..2 {
        let path = pipe.clone();
        let writing = std::thread::spawn(move || {
            let mut writer = fs::File::options().write(true).open(path).unwrap();
            writer.write_all(line(number).as_bytes()).unwrap();
        });
        assert_eq!(reading.next().await, line(number));
        writing.join().unwrap();
    }
    assert!(reading.cursor.is_none(), "a pipe has no places");
    reading.killed().await;
}

#[tokio::test]
async fn json_texts_without_lines_are_messages() {
    let log = Log::new("{\"rsvp_id\":1}{\"rsvp_id\":2}\n[3");
    let mut reading = Reading::of(Section { framing: Framing::Concatenated, ..log.section() });
    assert_eq!(reading.taken(3).await, ["{\"rsvp_id\":1}", "{\"rsvp_id\":2}", "[3"]);
}

#[test]
fn what_cannot_be_read_is_refused_at_the_start_with_what_to_do() {
    let log = Log::new("");
    let missing = log.folder.path().join("missing");
    let why = |path: &Path, follow| check(path, follow).unwrap_err();
    assert!(why(&missing, false).contains("follow = true"));
    assert!(why(log.folder.path(), true).contains("folder"));
    assert_eq!(check(&missing, true), Ok(()));
    assert_eq!(check(Path::new("-"), false), Ok(()));
    fs::set_permissions(&log.path, fs::Permissions::from_mode(0o000)).unwrap();
    // A superuser may read it all the same.
    if fs::File::open(&log.path).is_err() {
        assert!(why(&log.path, true).contains("the right to read"));
    }
}

#[tokio::test]
async fn a_text_of_wide_characters_is_refused_with_what_to_do() {
    let log = Log::new("");
    fs::write(&log.path, b"\xff\xfe{\0}\0").unwrap();
    let reading = Reading::of(log.section());
    reading.unready("iconv").await;
}
