use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::event::Reason;
use crate::event::identity::Identity;

mod damage;
mod damage_anywhere;
mod encryption;
mod model;
mod view;

fn entry(number: u64) -> Entry {
    Entry {
        source: "feed".into(),
        received_ms: 1_000 + number as i64,
        identity: Some(Identity {
            key: Some(number.to_string()),
            id: Some(format!("{number}:yes")),
            time_ms: Some(5),
        }),
        reason: None,
        payload: Bytes::from(format!("payload {number}")),
    }
}

/// Keys whose bytes are all the same, each.
fn keys(first: u8, others: &[u8]) -> Option<Arc<Keyring>> {
    let others: Vec<_> = others.iter().map(|&byte| [byte; 32]).collect();
    Some(Arc::new(Keyring::new(&[first; 32], &others.iter().collect::<Vec<_>>())))
}

/// An open log, and what is settled in it.
struct Open {
    log: MessageLog,
    appender: Appender,
    found: Recovered,
    settled: Ranges,
    /// The sequence after everything that was appended.
    end: Sequence,
    _copy: Option<TempDir>,
}

impl Open {
    fn at(path: &Path) -> Self {
        Self::with(path, None)
    }

    fn with(path: &Path, keys: Option<Arc<Keyring>>) -> Self {
        // As much is reserved on the disk.
        let options = Options { write_ahead_bytes: 8 << 20, keys, ..Options::default() };
        let (log, appender, found) = MessageLog::open(path, options).unwrap();
        Self { log, appender, settled: found.settled.clone(), end: found.end, found, _copy: None }
    }

    /// What is there after a kill.
    fn killed(path: &Path) -> Self {
        let copy = crash(path);
        let open = Self::at(copy.path());
        Self { _copy: Some(copy), ..open }
    }

    /// Appends entries as one group.
    fn add(&mut self, numbers: impl IntoIterator<Item = u64>) -> Vec<(Sequence, Entry)> {
        let mut last = 0;
        let entries: Vec<_> = numbers
            .into_iter()
            .map(|number| {
                last = number;
                (self.appender.allot(), entry(number))
            })
            .collect();
        self.appender.append(&entries, &[("feed", &last.to_be_bytes())]).unwrap();
        self.end = entries.last().map_or(self.end, |(last, _)| last.next());
        entries
    }

    fn settle(&mut self, sequence: Sequence) {
        self.settled.insert(sequence, sequence.next());
    }

    /// Writes what is settled.
    fn record(&self, moved: &[(Family, Sequence, Entry)], removed: &[(Family, Sequence)]) {
        let change =
            Settlement { settled: &self.settled, moved, removed, cursors: &[], positions: &[] };
        self.log.settle(&change).unwrap();
    }

    /// All that is pending in groups, read in small pages.
    fn pending(&self) -> Vec<(Sequence, Entry)> {
        let (mut from, mut entries) = (self.settled.low(), Vec::new());
        while from < self.end {
            let page = self.log.page(from, self.end, 60).unwrap();
            for (start, end) in page.damaged {
                assert_eq!(
                    self.settled.clone().insert(start, end),
                    0,
                    "nothing that is pending is damaged"
                );
            }
            let is_pending = |(sequence, _): &(Sequence, Entry)| !self.settled.contains(*sequence);
            entries.extend(page.entries.into_iter().filter(is_pending));
            assert!(page.end > from);
            from = page.end;
        }
        entries
    }
}

/// What a kill leaves: a copy of the files while the log is still open. RocksDB removes old files in the
/// background, so the copy is repeated until nothing changes meanwhile.
fn crash(path: &Path) -> TempDir {
    loop {
        let copy = TempDir::new().unwrap();
        let before = listing(path);
        let copied = before
            .iter()
            .all(|(name, _)| fs::copy(path.join(name), copy.path().join(name)).is_ok());
        if copied && before == listing(path) {
            return copy;
        }
    }
}

fn listing(path: &Path) -> BTreeSet<(std::ffi::OsString, Option<u64>)> {
    let files = fs::read_dir(path).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name(), file.metadata().ok().map(|known| known.len()))).collect()
}

#[test]
fn what_was_appended_is_pending_after_a_crash_until_it_is_settled() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    assert_eq!((open.found.pending(), open.found.damaged), (0, 0));
    let entries = [open.add([0, 1, 2]), open.add([3])].concat();
    // It is not synced: a kill takes nothing that was written.
    let copy = crash(directory.path());
    let mut open = Open::at(copy.path());
    assert_eq!(open.found.pending(), 4);
    assert_eq!(open.pending(), entries);

    open.settle(entries[1].0);
    open.record(&[], &[]);
    let copy = crash(copy.path());
    let mut open = Open::at(copy.path());
    assert_eq!(open.pending(), [&entries[..1], &entries[2..]].concat(), "in the middle of a group");
    open.settle(entries[0].0);
    open.settle(entries[2].0);
    open.record(&[], &[]);
    let open = Open::killed(copy.path());
    assert_eq!(open.pending(), entries[3..]);
}

#[test]
fn no_sequence_is_given_out_twice_even_if_nothing_was_written_with_it() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let instance = open.log.instance().to_owned();
    let given = [open.appender.allot(), open.appender.allot()];
    open.appender.reopen().unwrap();
    let again = open.appender.allot();
    let copy = crash(directory.path());
    let mut open = Open::at(copy.path());
    let last = open.appender.allot();
    assert!(given[0] < given[1] && given[1] < again && again < last);
    assert_eq!(open.log.instance(), instance);
}

#[test]
fn what_was_not_synced_when_the_log_broke_is_written_again() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let mut entries = open.add([0, 1]);
    assert_eq!(open.appender.sync().unwrap(), entries[1].0.next());
    let file = write_ahead_log(directory.path());
    let synced = fs::metadata(&file).unwrap().len();
    entries.extend(open.add([2]));
    *open.log.0.store.write().unwrap() = None;
    assert!(open.log.is_latched());
    assert!(matches!(open.log.page(Sequence::ZERO, open.end, 1), Err(Error::Latched)));
    let next = [(open.appender.allot(), entry(3))];
    assert!(matches!(open.appender.append(&next, &[]), Err(Error::Latched)));
    entries.extend(next);
    // What a disk loses whose fsync failed.
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(synced).unwrap();
    assert_eq!(open.appender.reopen().unwrap(), entries[3].0.next());
    open.end = entries[3].0.next();
    assert_eq!(open.pending(), entries);
}

#[test]
fn a_log_that_another_process_had_meanwhile_is_not_reopened() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let entries = open.add([0, 1]);
    *open.log.0.store.write().unwrap() = None;
    let mut other = Open::at(directory.path());
    assert!(matches!(open.appender.reopen(), Err(Error::Locked { .. })));
    other.settle(entries[0].0);
    other.settle(entries[1].0);
    other.record(&[], &[]);
    drop(other);
    assert!(matches!(open.appender.reopen(), Err(Error::Superseded)));
    assert!(open.log.is_latched());
    assert_eq!(Open::at(directory.path()).found.pending(), 0, "what it sent is not there again");
}

#[test]
fn what_was_settled_before_the_log_broke_is_not_held_after_it() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let entry = Entry { payload: vec![7; 3 << 20].into(), ..entry(0) };
    let last = open.appender.allot();
    open.appender.append(&[(last, entry)], &[]).unwrap();
    open.appender.sync().unwrap();
    open.settled.insert(open.settled.low(), last.next());
    open.record(&[], &[]);
    *open.log.0.store.write().unwrap() = None;
    open.appender.reopen().unwrap();
    assert_eq!(open.appender.held_bytes(), 0, "nothing more will be settled that could tell");
}

#[test]
fn two_logs_cannot_share_a_directory() {
    let directory = TempDir::new().unwrap();
    let _open = Open::at(directory.path());
    let second = MessageLog::open(directory.path(), Options::default());
    assert!(
        matches!(&second, Err(Error::Locked { path }) if path == directory.path()),
        "{:?}",
        second.err()
    );
}

#[test]
fn the_cursor_is_written_with_the_entries_that_it_covers() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    assert_eq!(open.log.cursor("feed").unwrap(), None);
    assert_eq!(open.log.begin_source("feed", "").unwrap(), None);
    assert_eq!(open.log.cursor("feed").unwrap(), Some(Bytes::new()));
    open.add([7]);
    open.add([8, 9]);
    let nine = Some(Bytes::copy_from_slice(&9_u64.to_be_bytes()));
    assert_eq!(open.log.begin_source("feed", "").unwrap(), nine);
    let open = Open::killed(directory.path());
    assert_eq!(open.log.cursor("feed").unwrap(), nine);
    assert_eq!(open.log.cursor("other").unwrap(), None);
}

#[test]
fn positions_are_there_after_a_kill_as_they_were_settled_last() {
    let directory = TempDir::new().unwrap();
    let open = Open::at(directory.path());
    for (offset, other) in [(3, None), (9, Some(1))] {
        let position = |(name, at): (&str, i64)| (name.to_owned(), at);
        let positions: Vec<_> = [Some(("raw/0", offset)), other.map(|at| ("raw/1", at))]
            .into_iter()
            .flatten()
            .map(position)
            .collect();
        let (settled, moved, removed) = (&open.settled, &[], &[]);
        let change = Settlement { settled, moved, removed, cursors: &[], positions: &positions };
        open.log.settle(&change).unwrap();
    }
    let (_, _, found) =
        MessageLog::open(crash(directory.path()).path(), Options::default()).unwrap();
    let expected = [("raw/0".to_owned(), 9), ("raw/1".to_owned(), 1)];
    assert_eq!(found.positions, expected.into());
}

#[test]
fn a_cursor_of_another_feed_is_forgotten() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let bytes = |cursor: u64| Some(Bytes::copy_from_slice(&cursor.to_be_bytes()));
    assert_eq!(open.log.begin_source("feed", "newer").unwrap(), None);
    open.add([90]);
    assert_eq!(open.log.begin_source("feed", "newer").unwrap(), bytes(90), "it goes on");
    assert_eq!(open.log.begin_source("feed", "older").unwrap(), None, "it begins");
    open.add([20]);
    let open = Open::killed(directory.path());
    assert_eq!(
        open.log.begin_source("feed", "older").unwrap(),
        bytes(20),
        "what was written of it"
    );
}

#[test]
fn a_moved_entry_is_in_its_family_alone_until_it_is_removed() {
    for family in Family::ALL {
        let directory = TempDir::new().unwrap();
        let mut open = Open::at(directory.path());
        let entries = open.add([0, 1]);
        let (sequence, mut moved) = entries[0].clone();
        moved.reason = Some(Reason::RefusedByKafka);
        open.settle(sequence);
        open.record(&[(family, sequence, moved.clone())], &[]);
        let open = Open::killed(directory.path());
        assert_eq!(open.pending(), entries[1..]);
        let of = |is: Family| if is == family { vec![sequence] } else { vec![] };
        assert_eq!(open.found.deferred, of(Family::Deferred));
        assert_eq!(open.found.failed, of(Family::Failed));
        assert_eq!(open.log.get(family, sequence).unwrap(), Some(moved));
        open.record(&[], &[(family, sequence)]);
        assert_eq!(open.log.get(family, sequence).unwrap(), None);
    }
}

#[test]
fn what_is_held_counts_until_it_is_settled_also_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    assert_eq!(open.appender.held_bytes(), 0);
    let large = Bytes::from(vec![7; 1 << 20]);
    let mut last = Sequence::ZERO;
    for _ in 0..3 {
        last = open.appender.allot();
        let entry = Entry { payload: large.clone(), ..entry(0) };
        open.appender.append(&[(last, entry)], &[]).unwrap();
    }
    let three = open.appender.held_bytes();
    assert!((3 << 20..(3 << 20) + 1000).contains(&three), "{three}");
    let mut open = Open::killed(directory.path());
    assert!(open.appender.held_bytes() >= 3 << 20, "{}", open.appender.held_bytes());
    open.settled.insert(open.settled.low(), last);
    open.record(&[], &[]);
    assert!(open.appender.held_bytes() >= 1 << 20, "one is there");
    open.settled.insert(last, last.next());
    open.record(&[], &[]);
    assert_eq!(open.appender.held_bytes(), 0);
}

/// The newest write-ahead log file.
fn write_ahead_log(path: &Path) -> PathBuf {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "log")).max().unwrap()
}

#[test]
fn a_record_of_another_format_or_length_is_not_an_entry() {
    let encoded = entry(7).encode();
    assert_eq!(Entry::decode(Bytes::from(encoded.clone())), Some(entry(7)));
    assert_eq!(Entry::decode(Bytes::new()), None);
    let mut other = encoded.clone();
    other[0] = 3;
    assert_eq!(Entry::decode(Bytes::from(other)), None);
    let header = encoded.len() - entry(7).payload.len();
    for length in 0..header {
        assert_eq!(Entry::decode(Bytes::copy_from_slice(&encoded[..length])), None, "{length}");
    }
}

#[test]
fn a_record_of_the_format_before_is_read_too() {
    let entry = entry(7);
    let header = ("feed", entry.received_ms, Some(("7", "7:yes", Some(5_i64))), None::<&str>);
    let mut encoded = vec![1];
    encoded.extend(postcard::to_allocvec(&header).unwrap());
    encoded.extend_from_slice(&entry.payload);
    assert_eq!(Entry::decode(Bytes::from(encoded)), Some(entry));
}

/// A log as the version before wrote it: three families, one entry a key, a cursor of 8 bytes.
fn write_log_of_the_version_before(
    path: &Path,
    entries: &[(u64, Vec<u8>)],
    failed: &[(u64, Vec<u8>)],
    watermark: u64,
) {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let db = rocksdb::DB::open_cf(&options, path, ["default", "transient", "failed"]).unwrap();
    let key = |sequence: &u64| [&[1][..], &sequence.to_be_bytes()].concat();
    for (family, entries) in [("transient", entries), ("failed", failed)] {
        for (sequence, record) in entries {
            db.put_cf(db.cf_handle(family).unwrap(), key(sequence), record).unwrap();
        }
    }
    db.put("instance", "0123456789abcdef").unwrap();
    db.put("epoch", 3_u64.to_be_bytes()).unwrap();
    db.put("watermark", watermark.to_be_bytes()).unwrap();
    db.put("cursor:feed", 70_i64.to_be_bytes()).unwrap();
    db.put("feed:feed", "here").unwrap();
}

#[test]
fn a_log_of_the_version_before_is_taken_over() {
    let directory = TempDir::new().unwrap();
    let sequence = |count: u64| Sequence::first_of(3).unwrap().after(count);
    // The numbers 1, 2 and 5 were acknowledged; 1 was not removed from the disk yet.
    let old: Vec<_> = (0..3000_u64).filter(|number| ![0, 2, 5].contains(number)).collect();
    let written: Vec<_> = old
        .iter()
        .map(|number| (sequence(*number).to_opaque() as u64, entry(*number).encode()))
        .collect();
    let mut refused = entry(2);
    refused.reason = Some(Reason::RefusedByKafka);
    let failed = [(sequence(2).to_opaque() as u64, refused.encode())];
    let watermark = sequence(3).to_opaque() as u64;
    write_log_of_the_version_before(directory.path(), &written, &failed, watermark);

    let mut open = Open::at(directory.path());
    assert_eq!(open.log.instance(), "0123456789abcdef");
    let pending: Vec<_> = old.iter().filter(|number| **number > 2).copied().collect();
    assert_eq!(open.found.pending(), pending.len() as u64);
    assert_eq!(
        open.found.deferred,
        pending.iter().map(|number| sequence(*number)).collect::<Vec<_>>()
    );
    assert_eq!(open.found.failed, [sequence(2)]);
    assert_eq!(open.log.get(Family::Failed, sequence(2)).unwrap(), Some(refused));
    for number in pending {
        assert_eq!(open.log.get(Family::Deferred, sequence(number)).unwrap(), Some(entry(number)));
    }
    let cursor = open.log.begin_source("feed", "here").unwrap();
    assert_eq!(cursor.as_deref(), Some(&70_i64.to_be_bytes()[..]));

    let new = open.add([9000]);
    assert!(new[0].0 > sequence(2999), "its sequences are not used again");
    open.record(&[], &[(Family::Deferred, sequence(3))]);
    let open = Open::killed(directory.path());
    assert_eq!((open.found.deferred.len(), open.pending()), (2995, new));
}
