use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::event::identity::Identity;

fn entry(number: u64, time_ms: Option<i64>) -> Entry {
    Entry {
        source: "feed".into(),
        received_ms: 1_000 + number as i64,
        identity: Some(Identity {
            key: Some(number.to_string()),
            id: Some(format!("{number}:yes")),
            time_ms,
        }),
        reason: None,
        payload: Bytes::from(format!("payload {number}")),
    }
}

fn open(path: &Path) -> (MessageLog, Recovered) {
    MessageLog::open(path, Options::default()).unwrap()
}

/// Appends `entries`, with the time of the last one that has a time as the source's cursor.
fn add(log: &mut MessageLog, entries: impl IntoIterator<Item = Entry>) -> Vec<(Sequence, Entry)> {
    let entries: Vec<_> = entries.into_iter().map(|entry| (log.allot(), entry)).collect();
    let cursor = entries.iter().rev().find_map(|(_, entry)| time_of(entry));
    log.append(&entries, cursor.map(|cursor| ("feed", cursor))).unwrap();
    entries
}

fn time_of(entry: &Entry) -> Option<i64> {
    entry.identity.as_ref().and_then(|identity| identity.time_ms)
}

fn all(log: &MessageLog, family: Family) -> Vec<(Sequence, Entry)> {
    log.read(family, None, usize::MAX).unwrap()
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
fn what_was_appended_is_pending_after_a_crash_until_it_is_delivered() {
    let directory = TempDir::new().unwrap();
    let (mut log, found) = open(directory.path());
    assert_eq!(found, Recovered { pending: 0, failed: 0, damaged: 0, oldest_received_ms: None });
    let mut dead = entry(2, None);
    dead.identity = None;
    dead.reason = Some(Reason::NotJson);
    dead.payload = Bytes::from_static(b"\xff\0");
    let entries = add(&mut log, [entry(0, Some(5)), entry(1, None), dead]);

    let copy = crash(directory.path());
    let (mut log, found) = open(copy.path());
    assert_eq!(
        found,
        Recovered { pending: 3, failed: 0, damaged: 0, oldest_received_ms: Some(1_000) }
    );
    assert_eq!(all(&log, Family::Transient), entries);

    assert_eq!(log.acknowledge(entries[1].0).unwrap(), Some(Family::Transient));
    assert_eq!(log.acknowledge(entries[1].0).unwrap(), None, "an acknowledgement may come twice");
    assert_eq!(
        log.watermark(),
        entries[0].0,
        "an acknowledgement out of order holds the watermark"
    );
    assert_eq!(log.acknowledge(entries[0].0).unwrap(), Some(Family::Transient));
    assert_eq!(log.watermark(), entries[2].0);
    assert_eq!(all(&log, Family::Transient), entries[2..]);
    log.close().unwrap();
    let (log, _) = open(copy.path());
    assert_eq!(all(&log, Family::Transient), entries[2..]);
}

#[test]
fn no_sequence_is_given_out_twice_even_if_nothing_was_written_with_it() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let instance = log.instance().to_owned();
    let given = [log.allot(), log.allot()];
    log.reopen().unwrap();
    let again = log.allot();
    let copy = crash(directory.path());
    let (mut log, _) = open(copy.path());
    let last = log.allot();
    assert!(given[0] < given[1] && given[1] < again && again < last);
    assert_eq!(log.instance(), instance);
    assert_eq!(last.to_string().parse(), Ok(last));
    assert_eq!(Sequence::from_opaque(last.to_opaque()), last);
}

#[test]
fn reopening_keeps_what_is_pending_and_what_is_settled() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let entries = add(&mut log, (0..3).map(|number| entry(number, None)));
    log.acknowledge(entries[0].0).unwrap();
    log.reopen().unwrap();
    assert_eq!(all(&log, Family::Transient), entries[1..]);
    // After a failed write, sequences that were given out before the reopening are written after it.
    log.append(&entries[1..], None).unwrap();
    assert_eq!(all(&log, Family::Transient), entries[1..]);
}

#[test]
fn two_logs_cannot_share_a_directory() {
    let directory = TempDir::new().unwrap();
    let (_log, _) = open(directory.path());
    let second = MessageLog::open(directory.path(), Options::default());
    assert!(
        matches!(&second, Err(Error::Locked { path }) if path == directory.path()),
        "{second:?}"
    );
}

#[test]
fn the_cursor_is_written_with_the_entries_that_it_covers() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    assert_eq!(log.cursor("feed"), None);
    assert_eq!(log.begin_source("feed", "").unwrap(), None);
    assert_eq!(log.cursor("feed"), Some(0));
    add(&mut log, [entry(0, Some(70)), entry(1, Some(90)), entry(2, Some(80)), entry(3, None)]);
    add(&mut log, [entry(4, Some(90))]);
    assert_eq!(log.begin_source("feed", "").unwrap(), Some(90));
    assert_eq!(log.cursor("feed"), Some(90));
    let copy = crash(directory.path());
    let (log, _) = open(copy.path());
    assert_eq!(log.cursor("feed"), Some(90));
    assert_eq!(log.cursor("other"), None);
}

#[test]
fn a_cursor_of_another_feed_is_forgotten() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    assert_eq!(log.begin_source("feed", "newer").unwrap(), None);
    add(&mut log, [entry(0, Some(90))]);
    assert_eq!(log.begin_source("feed", "newer").unwrap(), Some(90), "it goes on");
    assert_eq!(log.begin_source("feed", "older").unwrap(), None, "it begins");
    add(&mut log, [entry(1, Some(20))]);
    let copy = crash(directory.path());
    let (mut log, _) = open(copy.path());
    assert_eq!(log.begin_source("feed", "older").unwrap(), Some(20), "what was written of it");
}

#[test]
fn a_refused_entry_is_failed_until_its_dead_letter_is_delivered() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let entries = add(&mut log, [entry(0, None), entry(1, None)]);
    let sequence = entries[0].0;
    let (refused, evicted) = log.fail(sequence, Reason::RefusedByKafka).unwrap().unwrap();
    assert_eq!((refused.reason, evicted), (Some(Reason::RefusedByKafka), None));
    assert!(
        log.fail(sequence, Reason::RefusedByKafka).unwrap().is_none(),
        "it is not pending any more"
    );
    assert_eq!(log.watermark(), entries[1].0, "it does not hold the watermark");

    let copy = crash(directory.path());
    let (mut log, found) = open(copy.path());
    assert_eq!((found.pending, found.failed), (1, 1));
    assert_eq!(all(&log, Family::Failed), [(sequence, refused)]);
    assert_eq!(log.acknowledge(sequence).unwrap(), Some(Family::Failed));
    let copy = crash(copy.path());
    let (log, found) = open(copy.path());
    assert_eq!((found.pending, found.failed), (1, 0));
    assert_eq!(log.failures(), 0);
}

#[test]
fn above_the_limit_the_oldest_refused_entry_is_removed() {
    let directory = TempDir::new().unwrap();
    let options = Options { max_failed: 2, ..Options::default() };
    let (mut log, _) = MessageLog::open(directory.path(), options).unwrap();
    let entries = add(&mut log, (0..3).map(|number| entry(number, None)));
    let evicted: Vec<_> = entries
        .iter()
        .map(|(sequence, _)| log.fail(*sequence, Reason::RefusedByKafka).unwrap().unwrap().1)
        .collect();
    assert_eq!(evicted, [None, None, Some(entries[0].0)]);
    assert_eq!(log.failures(), 2);
    assert_eq!(all(&log, Family::Failed).len(), 2);
}

#[test]
fn removal_waits_for_time_or_number() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let start = Instant::now();
    let later = |milliseconds| start + Duration::from_millis(milliseconds);
    assert!(!log.truncate(later(0)).unwrap(), "nothing is settled");
    let entries = add(&mut log, [entry(0, None), entry(1, None)]);
    log.acknowledge(entries[0].0).unwrap();
    assert!(log.truncate(later(5_000)).unwrap(), "the first after an opening");
    log.acknowledge(entries[1].0).unwrap();
    assert!(!log.truncate(later(5_999)).unwrap(), "too soon");
    assert!(log.truncate(later(6_000)).unwrap());
    assert!(!log.truncate(later(9_000)).unwrap(), "nothing is settled since");

    let entries = add(&mut log, (0..TRUNCATE_ENTRIES).map(|number| entry(number, None)));
    for (sequence, _) in &entries {
        log.acknowledge(*sequence).unwrap();
    }
    assert!(log.truncate(later(6_001)).unwrap(), "soon, but many");
    let copy = crash(directory.path());
    assert_eq!(open(copy.path()).1.pending, 0);
}

#[test]
fn pages_of_entries_follow_each_other() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let entries = add(&mut log, (0..10).map(|number| entry(number, None)));
    for (sequence, _) in entries.iter().step_by(3) {
        log.acknowledge(*sequence).unwrap();
    }
    let expected: Vec<_> =
        entries.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, e)| e.clone()).collect();
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = log.read(Family::Transient, after, 4).unwrap();
        assert!(page.len() <= 4);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        paged.extend(page);
    }
    assert_eq!(paged, expected);
}

/// The newest write-ahead log file.
fn write_ahead_log(path: &Path) -> PathBuf {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "log")).max().unwrap()
}

#[test]
fn a_torn_tail_is_cut_and_the_whole_entries_before_it_stay() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let mut kept = Vec::new();
    let mut sizes = Vec::new();
    for number in 0..20 {
        kept.extend(add(&mut log, [entry(number, None)]));
        sizes.push(fs::metadata(write_ahead_log(directory.path())).unwrap().len());
    }
    for (whole, size) in sizes.iter().enumerate().skip(1) {
        // In the middle of the record after entry `whole - 1`.
        let cut = sizes[whole - 1] + (size - sizes[whole - 1]) / 2;
        let copy = crash(directory.path());
        let file = fs::OpenOptions::new().write(true).open(write_ahead_log(copy.path())).unwrap();
        file.set_len(cut).unwrap();
        let (log, found) = open(copy.path());
        assert_eq!(found.damaged, 0);
        assert_eq!(all(&log, Family::Transient), kept[..whole]);
    }
}

#[test]
fn a_damaged_entry_is_counted_and_the_others_are_recovered() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = open(directory.path());
    let entries = add(&mut log, (0..3).map(|number| entry(number, None)));
    let mut batch = Batch::default();
    log.store().unwrap().put(&mut batch, Family::Transient, entries[1].0, b"\x01\xff");
    log.commit(batch, true).unwrap();
    drop(log);
    let (log, found) = open(directory.path());
    assert_eq!((found.pending, found.damaged), (2, 1));
    assert_eq!(all(&log, Family::Transient), [entries[0].clone(), entries[2].clone()]);
}

#[test]
fn a_record_of_another_format_or_length_is_not_an_entry() {
    let encoded = entry(7, Some(1)).encode();
    assert_eq!(Entry::decode(Bytes::from(encoded.clone())), Some(entry(7, Some(1))));
    assert_eq!(Entry::decode(Bytes::new()), None);
    let mut other = encoded.clone();
    other[0] = 3;
    assert_eq!(Entry::decode(Bytes::from(other)), None);
    let header = encoded.len() - entry(7, Some(1)).payload.len();
    for length in 0..header {
        assert_eq!(Entry::decode(Bytes::copy_from_slice(&encoded[..length])), None, "{length}");
    }
}

#[test]
fn a_record_of_the_format_before_is_read_too() {
    let entry = entry(7, Some(1));
    let header = ("feed", entry.received_ms, Some(("7", "7:yes", Some(1_i64))), None::<&str>);
    let mut encoded = vec![1];
    encoded.extend(postcard::to_allocvec(&header).unwrap());
    encoded.extend_from_slice(&entry.payload);
    assert_eq!(Entry::decode(Bytes::from(encoded)), Some(entry));
}

#[derive(Debug, Clone)]
enum Action {
    Append(u8),
    /// Acknowledges the n-th pending entry.
    Deliver(prop::sample::Index),
    Fail(prop::sample::Index),
    /// Acknowledges the n-th dead letter.
    Bury(prop::sample::Index),
    Truncate(u64),
    Reopen,
    Crash,
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1..6u8).prop_map(Action::Append),
        8 => index().prop_map(Action::Deliver),
        2 => index().prop_map(Action::Fail),
        1 => index().prop_map(Action::Bury),
        3 => (0..2_000u64).prop_map(Action::Truncate),
        1 => Just(Action::Reopen),
        2 => Just(Action::Crash),
        1 => Just(Action::Close),
    ]
}

/// What the log must hold according to the module's documentation.
#[derive(Default)]
struct Model {
    pending: BTreeMap<Sequence, Entry>,
    failed: BTreeMap<Sequence, Entry>,
    /// Acknowledged but still on disk, and so pending again after a crash.
    settled: BTreeMap<Sequence, Entry>,
    cursor: Option<i64>,
    appended: u64,
}

impl Model {
    fn check(&self, log: &MessageLog) -> Result<(), TestCaseError> {
        let listed = |entries: &BTreeMap<Sequence, Entry>| -> Vec<_> {
            entries.iter().map(|(sequence, entry)| (*sequence, entry.clone())).collect()
        };
        prop_assert_eq!(all(log, Family::Transient), listed(&self.pending));
        prop_assert_eq!(all(log, Family::Failed), listed(&self.failed));
        prop_assert_eq!((log.pending(), log.failures()), (self.pending.len(), self.failed.len()));
        prop_assert_eq!(log.cursor("feed"), self.cursor);
        Ok(())
    }

    /// Forgets the acknowledged entries below the watermark, as a removal does.
    fn removed(&mut self) {
        let first = self.pending.first_key_value().map(|(sequence, _)| *sequence);
        self.settled.retain(|sequence, _| first.is_some_and(|first| *sequence >= first));
    }
}

fn nth(entries: &BTreeMap<Sequence, Entry>, index: prop::sample::Index) -> Option<Sequence> {
    (!entries.is_empty()).then(|| *entries.keys().nth(index.index(entries.len())).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_map_that_crashes_do_not_change(actions in prop::collection::vec(action(), 1..60)) {
        let mut directory = TempDir::new().unwrap();
        let (mut log, _) = open(directory.path());
        let mut model = Model::default();
        let mut last_sequence = None;
        let start = Instant::now();
        let mut now = 0;
        for action in actions {
            match action {
                Action::Append(count) => {
                    let entries: Vec<_> = (0..u64::from(count)).map(|n| entry(model.appended + n, Some((model.appended as i64 * 7 + n as i64 * 5) % 97))).collect();
                    model.appended += u64::from(count);
                    for (sequence, entry) in add(&mut log, entries) {
                        prop_assert!(last_sequence < Some(sequence));
                        last_sequence = Some(sequence);
                        model.cursor = time_of(&entry).or(model.cursor);
                        model.pending.insert(sequence, entry);
                    }
                }
                Action::Deliver(index) => if let Some(sequence) = nth(&model.pending, index) {
                    prop_assert_eq!(log.acknowledge(sequence).unwrap(), Some(Family::Transient));
                    model.settled.extend(model.pending.remove_entry(&sequence));
                },
                Action::Fail(index) => if let Some(sequence) = nth(&model.pending, index) {
                    let (entry, _) = log.fail(sequence, Reason::RefusedByKafka).unwrap().unwrap();
                    prop_assert_eq!(entry.reason, Some(Reason::RefusedByKafka));
                    model.pending.remove(&sequence);
                    model.failed.insert(sequence, entry);
                },
                Action::Bury(index) => if let Some(sequence) = nth(&model.failed, index) {
                    prop_assert_eq!(log.acknowledge(sequence).unwrap(), Some(Family::Failed));
                    model.failed.remove(&sequence);
                },
                Action::Truncate(milliseconds) => {
                    now += milliseconds;
                    if log.truncate(start + Duration::from_millis(now)).unwrap() {
                        model.removed();
                    }
                }
                Action::Reopen => log.reopen().unwrap(),
                Action::Crash => {
                    let copy = crash(directory.path());
                    drop(log);
                    directory = copy;
                    log = open(directory.path()).0;
                    model.pending.append(&mut model.settled);
                }
                Action::Close => {
                    log.close().unwrap();
                    model.removed();
                    log = open(directory.path()).0;
                    model.pending.append(&mut model.settled);
                }
            }
            model.check(&log)?;
        }
    }
}
