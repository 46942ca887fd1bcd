//! Logs with keys.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::*;
use super::{Open, crash, keys, write_log_of_the_version_before};
use crate::event::identity::Identity;

/// What is in everything that must not be seen.
const NEEDLE: &[u8] = b"needle";

/// An entry that has it in everything that comes from an event.
fn entry(number: u64) -> Entry {
    Entry {
        source: "feed".into(),
        received_ms: 1_000,
        identity: Some(Identity {
            key: Some(format!("needle-key-{number}")),
            id: Some(format!("needle-id-{number}")),
            time_ms: Some(5),
        }),
        reason: None,
        payload: format!("{{\"needle-payload\":{number}}}{}", "x".repeat(200)).into(),
    }
}

/// All files below this directory.
fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files with something that must not be seen.
fn plain_files(path: &Path) -> Vec<PathBuf> {
    let mut found = files(path);
    // A file may be removed meanwhile.
    found.retain(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(NEEDLE.len()).any(|part| part == NEEDLE)
    });
    found
}

fn assert_nothing_is_plain(path: &Path) {
    let found = plain_files(path);
    assert!(found.is_empty(), "{found:?}");
}

fn add(open: &mut Open, numbers: std::ops::Range<u64>) -> Vec<(Sequence, Entry)> {
    let entries: Vec<_> = numbers.map(|number| (open.appender.allot(), entry(number))).collect();
    open.appender.append(&entries, &[("feed", b"needle-cursor")]).unwrap();
    open.end = entries.last().unwrap().0.next();
    entries
}

/// Writes a value as it is, as whoever has access to the volume can.
fn put_raw(path: &Path, family: &str, key: &[u8], value: &[u8]) {
    let names = ["default", "transient", "deferred", "failed"];
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), path, names).unwrap();
    db.put_cf(&db.cf_handle(family).unwrap(), key, value).unwrap();
}

type Pending = Vec<(Sequence, Entry)>;
type Moved = [(Family, Sequence, Entry); 2];

/// A log with a cursor, groups in table files and in the write-ahead log, and an entry in each family. Returns what is pending, and
/// the entries outside of the groups.
fn fill(open: &mut Open) -> (Pending, Moved) {
    open.log.begin_source("feed", "wss://needle-feed").unwrap();
    let mut pending = Vec::new();
    for group in 0..100 {
        pending.extend(add(open, 3 * group..3 * group + 3));
    }
    open.log.read(|store| store.rewrite_files()).unwrap();
    pending.extend(add(open, 300..310));
    let moved = [(Family::Deferred, 5), (Family::Failed, 4)].map(|(family, at)| {
        let (sequence, entry) = pending.remove(at);
        open.settle(sequence);
        (family, sequence, entry)
    });
    open.record(&moved, &[]);
    open.appender.sync().unwrap();
    (pending, moved)
}

fn assert_has(open: &Open, pending: &[(Sequence, Entry)], moved: &[(Family, Sequence, Entry)]) {
    assert_eq!(open.pending(), pending);
    for (family, sequence, entry) in moved {
        assert_eq!(open.log.get(*family, *sequence).unwrap().as_ref(), Some(entry));
    }
    assert_eq!(open.log.cursor("feed").unwrap().as_deref(), Some(&b"needle-cursor"[..]));
    let same = open.log.begin_source("feed", "wss://needle-feed").unwrap();
    assert_eq!(same.as_deref(), Some(&b"needle-cursor"[..]), "it is the same feed");
}

#[test]
fn nothing_of_an_event_or_of_a_feed_is_plain_on_the_volume() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut open = Open::with(path, keys(1, &[]));
    let (mut pending, moved) = fill(&mut open);
    assert_nothing_is_plain(path);
    assert_has(&open, &pending, &moved);
    pending.extend(add(&mut open, 400..402));
    open.appender.reopen().unwrap();
    assert_nothing_is_plain(path);
    assert_has(&open, &pending, &moved);

    // Files that RocksDB cannot use are moved to the folder `lost` as they are.
    drop(open);
    drop(Open::with(path, keys(1, &[])));
    let tables =
        files(path).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "sst"));
    let largest = tables.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let bytes = fs::read(&largest).unwrap();
    fs::write(&largest, &bytes[..bytes.len() - 100]).unwrap();
    let open = Open::with(path, keys(1, &[]));
    assert!(open.found.is_repaired && fs::read_dir(path.join("lost")).unwrap().count() > 0);
    assert_nothing_is_plain(path);
}

#[test]
fn the_same_log_without_keys_is_plain() {
    // Otherwise the other tests search for nothing.
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    fill(&mut open);
    let kinds: Vec<_> = plain_files(directory.path())
        .into_iter()
        .map(|file| file.extension().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(["sst", "log"].iter().all(|kind| kinds.iter().any(|found| found == kind)), "{kinds:?}");
}

#[test]
fn a_plain_log_is_taken_over_and_nothing_plain_is_left_of_it() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let (pending, moved) = fill(&mut open);
    // Files of the write-ahead log are used again with what they hold.
    for _ in 0..3 {
        open.log.read(|store| store.put_for_good("again", b"")).unwrap();
    }
    let copy = crash(directory.path());
    drop(open);
    for (place, name) in [("damaged", "1-2-000004.sst"), ("lost", "000005.sst")] {
        let folder = copy.path().join(place);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(name), "a needle").unwrap();
    }
    assert!(plain_files(copy.path()).len() >= 4);

    let open = Open::with(copy.path(), keys(1, &[]));
    assert_nothing_is_plain(copy.path());
    assert_has(&open, &pending, &moved);
    let lost = fs::read(copy.path().join("lost/000005.sst.sealed")).unwrap();
    let mut opened = Vec::new();
    unseal(&lost[..], &keys(1, &[]).unwrap(), &mut opened).unwrap();
    assert_eq!(opened, b"a needle");
    assert_eq!(quarantine::kept(copy.path()), 1);
    drop(open);
    let epoch = Open::with(copy.path(), keys(1, &[])).log.0.epoch;
    assert_eq!(epoch, 3, "each start is one opening");
}

#[test]
fn a_takeover_that_was_interrupted_is_done_again_even_with_another_key() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let (pending, moved) = fill(&mut open);
    drop(open);
    // Some values are sealed already.
    let options = Options { keys: keys(1, &[]), ..Options::default() };
    let store = Store::open_without_reuse(directory.path(), &options).unwrap();
    let mut uses = KeyUses::of(options.keys.as_ref().unwrap().first());
    uses.has_plain = true;
    let mut batch = Batch::default();
    store.put_key_uses(&mut batch, &uses);
    store.write(batch, true).unwrap();
    reseal::reseal(&store, Family::Failed.name()).unwrap();
    reseal::reseal_sources(&store).unwrap();
    drop(store);
    assert!(!plain_files(directory.path()).is_empty());

    let error = MessageLog::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, Error::Encrypted { .. }), "{error}");
    let open = Open::with(directory.path(), keys(2, &[1]));
    assert_nothing_is_plain(directory.path());
    assert_has(&open, &pending, &moved);
    drop(open);
    let open = Open::with(directory.path(), keys(2, &[]));
    assert_has(&open, &pending, &moved);
}

#[test]
fn a_log_of_the_version_before_is_encrypted_when_it_is_taken_over() {
    let directory = TempDir::new().unwrap();
    let sequence = |count: u64| Sequence::first_of(3).unwrap().after(count);
    let written: Vec<_> = (0..2_000)
        .map(|number| (sequence(number).to_opaque() as u64, entry(number).encode()))
        .collect();
    write_log_of_the_version_before(directory.path(), &written, &[], 0);
    assert!(!plain_files(directory.path()).is_empty());
    let open = Open::with(directory.path(), keys(1, &[]));
    assert_eq!(open.found.deferred.len(), 2_000);
    assert_eq!(open.log.get(Family::Deferred, sequence(7)).unwrap(), Some(entry(7)));
    assert_nothing_is_plain(directory.path());
}

#[test]
fn without_its_keys_a_log_refuses_to_start_and_with_them_it_is_whole() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::with(directory.path(), keys(1, &[]));
    let (pending, moved) = fill(&mut open);
    drop(open);
    let open = |keys| {
        let options = Options { keys, ..Options::default() };
        MessageLog::open(directory.path(), options).map(|_| ()).unwrap_err()
    };
    let view = |keys| View::open(directory.path(), keys).map(|_| ()).unwrap_err();
    for error in [open(None), view(None)] {
        assert!(matches!(error, Error::Encrypted { .. }), "{error}");
        assert!(!error.is_damage() && !error.retryable());
    }
    let own = keys(1, &[]).unwrap().first();
    for error in [open(keys(2, &[])), open(keys(2, &[3])), view(keys(2, &[]))] {
        assert!(matches!(error, Error::KeyMissing { id, .. } if id == own), "{error}");
        assert!(!error.is_damage() && !error.retryable());
        assert!(error.to_string().contains(&own.to_string()), "{error}");
    }
    assert!(!directory.path().join("damaged").exists() && !directory.path().join("lost").exists());
    let view = View::open(directory.path(), keys(1, &[])).unwrap();
    assert!(view.is_encrypted() && view.found().all(|found| matches!(found, Ok(Found::Entry(..)))));
    assert_eq!(view.found().count(), pending.len() + moved.len());
    assert_eq!(view.cursors()["feed"], "needle-cursor");
    let open = Open::with(directory.path(), keys(1, &[]));
    assert_eq!(open.found.damaged, 0);
    assert_has(&open, &pending, &moved);
}

#[test]
fn an_older_key_is_needed_until_all_that_it_encrypted_in_groups_is_settled() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut open = Open::with(path, keys(1, &[]));
    let (pending, moved) = fill(&mut open);
    drop(open);
    let mut open = Open::with(path, keys(2, &[1]));
    assert_has(&open, &pending, &moved);
    let later = add(&mut open, 500..502);
    drop(open);
    let without = |first| {
        let options = Options { keys: keys(first, &[]), ..Options::default() };
        MessageLog::open(path, options).map(|_| ()).unwrap_err()
    };
    for (first, missing) in [(2, 1), (1, 2)] {
        let (error, missing) = (without(first), keys(missing, &[]).unwrap().first());
        assert!(matches!(error, Error::KeyMissing { id, .. } if id == missing), "{error}");
    }
    let mut open = Open::with(path, keys(2, &[1]));
    assert_has(&open, &[&pending[..], &later].concat(), &moved);
    open.settled.insert(open.settled.low(), later[0].0);
    open.record(&[], &[]);
    let uses = open.log.read(Store::key_uses).unwrap().unwrap();
    assert_eq!(uses.keys().collect::<Vec<_>>(), [keys(2, &[]).unwrap().first()]);
    drop(open);
    // What was refused and where the feed resumes was encrypted anew.
    let open = Open::with(path, keys(2, &[]));
    assert_has(&open, &later, &moved);
}

#[test]
fn values_that_were_swapped_are_told_as_damage_and_plain_ones_as_what_they_are() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::with(directory.path(), keys(1, &[]));
    let groups = [0, 3, 6].map(|number| add(&mut open, number..number + 3));
    let span = |group: &[(Sequence, Entry)]| key::Span { first: group[0].0, last: group[2].0 };
    let stored = open
        .log
        .read(|store| store.stored(store::TRANSIENT).collect::<Result<Vec<_>, _>>())
        .unwrap();
    drop(open);
    let path = directory.path();
    put_raw(path, "transient", &span(&groups[0]).key(), &stored[1].1);
    let plain = group::encode(span(&groups[1]), &groups[1]);
    put_raw(path, "transient", &span(&groups[1]).key(), &plain);
    let open = Open::with(path, keys(1, &[]));
    let page = |from: usize, to: usize| {
        open.log.page(groups[from][0].0, groups[to][2].0.next(), usize::MAX)
    };
    let swapped = page(0, 0).unwrap();
    assert_eq!(
        (swapped.entries, swapped.damaged),
        (vec![], vec![(groups[0][0].0, groups[1][0].0)])
    );
    let error = page(1, 2).unwrap_err();
    assert!(matches!(error, Error::Plain { .. }), "{error}");
    assert!(!error.is_damage() && !error.retryable());
    assert_eq!(page(2, 2).unwrap().entries, groups[2]);
}

#[test]
fn a_plain_log_beside_the_mark_of_an_encrypted_one_is_refused_and_not_lost() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut open = Open::at(path);
    let (pending, moved) = fill(&mut open);
    drop(open);
    let mark = path.join("encrypted");
    fs::write(&mark, "").unwrap();
    let options = Options { keys: keys(1, &[]), ..Options::default() };
    let opened = MessageLog::open(path, options).map(|_| ()).unwrap_err();
    let viewed = View::open(path, keys(1, &[])).map(|_| ()).unwrap_err();
    for error in [opened, viewed] {
        assert!(matches!(error, Error::Plain { .. }), "{error}");
        assert!(!error.is_damage() && !error.retryable());
    }
    // It says to do this.
    fs::remove_file(&mark).unwrap();
    let open = Open::with(path, keys(1, &[]));
    assert_has(&open, &pending, &moved);
    assert_nothing_is_plain(path);
}

#[test]
fn an_entry_that_is_plain_in_an_encrypted_log_is_not_counted_as_damaged() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::with(directory.path(), keys(1, &[]));
    let (_, moved) = fill(&mut open);
    drop(open);
    let (_, sequence, entry) = &moved[1];
    put_raw(directory.path(), "failed", &sequence.key(), &entry.encode());
    let options = Options { keys: keys(1, &[]), ..Options::default() };
    let error = MessageLog::open(directory.path(), options).unwrap_err();
    assert!(matches!(error, Error::Plain { .. }), "{error}");
}

#[test]
fn a_plain_entry_of_the_format_before_is_not_taken_into_an_encrypted_log() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut open = Open::with(path, keys(1, &[]));
    let (pending, moved) = fill(&mut open);
    let sequence = open.end;
    drop(open);
    put_raw(path, "transient", &sequence.key(), &entry(7).encode());
    for _ in 0..2 {
        let open = Open::with(path, keys(1, &[]));
        assert_eq!((open.found.damaged, open.found.deferred.len()), (1, 1));
        assert_eq!(open.log.get(Family::Deferred, sequence).unwrap(), None);
        assert_has(&open, &pending, &moved);
    }
    let error = View::open(path, keys(1, &[])).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Plain { .. }), "{error}");
}

#[test]
fn a_log_that_has_lost_the_list_of_its_keys_is_still_an_encrypted_one() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::with(directory.path(), keys(1, &[]));
    let (pending, moved) = fill(&mut open);
    open.log.write(true, |store, batch| store.delete_own(batch, b"keys")).unwrap();
    drop(open);
    let error = MessageLog::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, Error::Encrypted { .. }), "{error}");
    let open = Open::with(directory.path(), keys(1, &[]));
    assert_has(&open, &pending, &moved);
}

#[test]
fn a_plain_log_with_a_damaged_file_is_not_encrypted_and_can_be_used_without_keys() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let (pending, _) = fill(&mut open);
    drop(open);
    let tables = files(directory.path()).into_iter();
    let tables = tables.filter(|file| file.extension().is_some_and(|kind| kind == "sst"));
    let largest = tables.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let at = bytes.windows(NEEDLE.len()).position(|part| part == NEEDLE).unwrap();
    bytes[at] ^= 1;
    fs::write(&largest, &bytes).unwrap();

    let options = Options { keys: keys(1, &[]), ..Options::default() };
    let error = MessageLog::open(directory.path(), options).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::NotEncrypted { .. }), "{error}");
    assert!(!error.retryable() && !error.is_damage());
    let open = Open::at(directory.path());
    let page = open.log.page(open.found.settled.low(), open.end, usize::MAX).unwrap();
    assert!(!page.damaged.is_empty() && page.entries.len() > pending.len() / 2);
}
