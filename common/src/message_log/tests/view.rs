//! Looking at a log, also while it is used.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::super::*;
use super::{Open, crash, entry, write_ahead_log, write_log_of_the_version_before};

/// Every file with its content, and when it was changed.
fn contents(path: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.is_file())
        .map(|file| {
            let changed = fs::metadata(&file).unwrap().modified().unwrap();
            (file.clone(), changed, fs::read(&file).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn found(path: &Path) -> Vec<Found> {
    View::open(path, None).unwrap().found().map(Result::unwrap).collect()
}

fn groups(entries: &[(Sequence, Entry)]) -> Vec<Found> {
    let entries = entries.iter().cloned();
    entries.map(|(sequence, entry)| Found::Entry(Place::Group, sequence, entry)).collect()
}

#[test]
fn looking_at_a_log_that_is_in_use_shows_what_waits_in_its_order_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    drop(Open::at(directory.path()));
    let mut open = Open::at(directory.path());
    let entries = [open.add([0, 1, 2, 3]), open.add([4])].concat();
    open.settle(entries[1].0);
    open.settle(entries[2].0);
    open.settle(entries[3].0);
    let moved = |at: usize, family| (family, entries[at].0, entries[at].1.clone());
    open.record(&[moved(1, Family::Failed), moved(2, Family::Deferred)], &[]);
    let before = contents(directory.path());

    let view = View::open(directory.path(), None).unwrap();
    let is = |at: usize, place| Found::Entry(place, entries[at].0, entries[at].1.clone());
    let expected =
        [is(0, Place::Group), is(1, Place::Failed), is(2, Place::Deferred), is(4, Place::Group)];
    assert_eq!(view.found().map(Result::unwrap).collect::<Vec<_>>(), expected);
    assert_eq!(view.instance(), Some(open.log.instance()));
    assert_eq!(view.epoch(), 2);
    assert_eq!(view.cursors()["feed"], Bytes::copy_from_slice(&4_u64.to_be_bytes()));
    assert!(view.read_metadata().unwrap() >= 5);
    // The log's own RocksDB may delete meanwhile what it does not need any more, and write what it does into its LOG.
    let mut changed = contents(directory.path());
    changed.retain(|file| !before.contains(file) && !file.0.ends_with("LOG"));
    let names: Vec<_> = changed.iter().map(|(name, ..)| name).collect();
    assert!(changed.is_empty(), "{names:?}");

    // What is looked at is what was there, and the log goes on.
    let more = open.add([5]);
    assert_eq!(view.found().count(), 4);
    assert_eq!(found(directory.path()).last(), groups(&more).last());
    let directory = crash(directory.path());
    assert_eq!(Open::at(directory.path()).found.end.epoch(), 3, "looking is no opening");
}

#[test]
fn what_was_cut_off_is_told_and_nothing_is_kept_or_repaired() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let kept = open.add([0, 1]);
    let whole = fs::metadata(write_ahead_log(directory.path())).unwrap().len() as usize;
    let lost = open.add([2, 3, 4]);
    open.appender.sync().unwrap();
    let copy = crash(directory.path());
    let file = write_ahead_log(copy.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[whole + 20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = contents(copy.path());
    for _ in 0..2 {
        let mut expected = groups(&kept);
        expected.push(Found::Damaged(Place::Group, lost[0].0, lost[2].0.next()));
        assert_eq!(found(copy.path()), expected);
    }
    assert_eq!(contents(copy.path()), before);
}

#[test]
fn of_a_damaged_table_file_what_can_be_read_is_found_and_the_rest_is_told() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let mut all = Vec::new();
    for number in 0..100 {
        all.extend(open.add([2 * number, 2 * number + 1]));
    }
    let failed: Vec<_> = (0..50).map(|at| (Family::Failed, all[at].0, all[at].1.clone())).collect();
    open.settled.insert(all[0].0, all[50].0);
    open.record(&failed, &[]);
    drop(open);
    // What is found in the write-ahead log goes to table files.
    drop(Open::at(directory.path()));
    for number in [60, 150, 199] {
        let copy = crash(directory.path());
        let text = format!("payload {number}");
        let mut is_damaged = false;
        for (file, _, mut bytes) in contents(copy.path()) {
            let is_table = file.extension().is_some_and(|kind| kind == "sst");
            let at = bytes.windows(text.len()).position(|at| at == text.as_bytes());
            if let Some(at) = at.filter(|_| is_table) {
                bytes[at] ^= 1;
                fs::write(&file, bytes).unwrap();
                is_damaged = true;
            }
        }
        assert!(is_damaged, "{number} is in a table file");
        let before = contents(copy.path());
        let mut lost = Ranges::below(all[0].0);
        let mut there = 0;
        for one in found(copy.path()) {
            match one {
                Found::Entry(..) => there += 1,
                Found::Damaged(Place::Group, from, to) => {
                    lost.insert(from, to);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lost.contains(all[number].0), "{number}");
        let rest = all.iter().filter(|(sequence, _)| !lost.contains(*sequence)).count();
        assert_eq!(there, rest);
        assert!(there > 50, "what was refused is in another file");
        assert!(!copy.path().join(quarantine::FOLDER).exists());
        assert_eq!(contents(copy.path()), before);
    }
}

#[test]
fn where_no_log_is_none_is_made() {
    let directory = TempDir::new().unwrap();
    let absent = directory.path().join("absent");
    for path in [directory.path(), &absent] {
        let error = View::open(path, None).unwrap_err();
        assert!(matches!(&error, Error::Absent { path: told } if told == path), "{error}");
    }
    assert!(contents(directory.path()).is_empty() && !absent.exists());
}

#[test]
fn a_log_of_the_version_before_is_left_to_the_collector() {
    let directory = TempDir::new().unwrap();
    let record = (Sequence::first_of(3).unwrap().to_opaque() as u64, entry(1).encode());
    write_log_of_the_version_before(directory.path(), &[record], &[], 0);
    let before = contents(directory.path());
    let error = View::open(directory.path(), None).unwrap_err();
    assert!(matches!(error, Error::OtherFormat { .. }), "{error}");
    assert_eq!(contents(directory.path()), before);
}

#[test]
fn a_log_that_is_written_meanwhile_never_looks_damaged() {
    let directory = TempDir::new().unwrap();
    // Small, so that files come and go all the time.
    let options =
        Options { write_buffer_bytes: 4 << 20, write_ahead_bytes: 8 << 20, ..Options::default() };
    let (log, mut appender, recovered) = MessageLog::open(directory.path(), options).unwrap();
    let stop = AtomicBool::new(false);
    let looked = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut settled = recovered.settled.clone();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let group: Vec<_> = (0..20)
                    .map(|_| {
                        number += 1;
                        let payload = vec![7; 300].into();
                        (appender.allot(), Entry { payload, ..entry(number) })
                    })
                    .collect();
                appender.append(&group, &[("feed", &number.to_be_bytes())]).unwrap();
                if number % 200 == 0 {
                    appender.sync().unwrap();
                    // Five hundred stay.
                    let low = group[0].0;
                    let held = low.since(settled.low()).saturating_sub(500);
                    let settled_low = settled.low();
                    settled.insert(settled_low, settled_low.after(held));
                    let (settled, moved, removed) = (&settled, &[], &[]);
                    let change =
                        Settlement { settled, moved, removed, cursors: &[], positions: &[] };
                    log.settle(&change).unwrap();
                }
            }
            number
        });
        let mut looked = 0;
        for _ in 0..15 {
            match View::open(directory.path(), None) {
                Ok(view) => {
                    let found: Vec<_> = view.found().map(Result::unwrap).collect();
                    let is_entry = |one: &Found| matches!(one, Found::Entry(Place::Group, ..));
                    assert!(
                        found.iter().all(is_entry),
                        "{:?}",
                        found.iter().find(|one| !is_entry(one))
                    );
                    let follows = |pair: &[Found]| pair[1].sequence() == pair[0].sequence().next();
                    assert!(found.windows(2).all(follows), "no hole");
                    looked += 1;
                }
                Err(error) => assert!(matches!(error, Error::Changing { .. }), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writing.join().unwrap() > 500);
        looked
    });
    assert!(looked > 0);
}
