//! Damage at any place of any file: the log opens by itself, and what is lost is told.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::super::*;
use super::{crash, entry, keys};

const OPTIONS: Options = Options {
    write_buffer_bytes: 64 << 10,
    write_ahead_bytes: 256 << 10,
    block_cache_bytes: 1 << 20,
    max_failed: 100,
    keys: None,
};

/// Logs are damaged that are plain, and that are encrypted.
fn both() -> [Options; 2] {
    [OPTIONS, Options { keys: keys(1, &[]), ..OPTIONS }]
}

/// Numbers by sequence of what waits in groups and outside of them.
type Waiting = (BTreeMap<Sequence, u64>, BTreeMap<Sequence, u64>);

/// An entry by whose number it is seen whether it is whole.
fn long(number: u64) -> Entry {
    let mut entry = entry(number);
    entry.payload = format!("{} {number}", "x".repeat(number as usize % 900)).into();
    entry
}

/// A log with table files, a write-ahead log, and entries in each family.
fn write(path: &Path, options: &Options) -> Waiting {
    let (log, mut appender, found) = MessageLog::open(path, options.clone()).unwrap();
    let (mut groups, mut others) = (BTreeMap::new(), BTreeMap::new());
    let mut settled = found.settled;
    for group in 0..200 {
        let entries: Vec<_> = (0..3).map(|at| (appender.allot(), long(3 * group + at))).collect();
        appender.append(&entries, &[("feed", &group.to_be_bytes())]).unwrap();
        for (at, (sequence, entry)) in entries.into_iter().enumerate() {
            let number = 3 * group + at as u64;
            if group < 40 {
                settled.insert(sequence, sequence.next());
            } else if number.is_multiple_of(50) {
                let family =
                    if number.is_multiple_of(100) { Family::Failed } else { Family::Deferred };
                settled.insert(sequence, sequence.next());
                others.insert(sequence, number);
                let moved = [(family, sequence, entry)];
                let change = Settlement {
                    settled: &settled,
                    moved: &moved,
                    removed: &[],
                    cursors: &[],
                    positions: &[],
                };
                log.settle(&change).unwrap();
            } else {
                groups.insert(sequence, number);
            }
        }
    }
    appender.sync().unwrap();
    (groups, others)
}

/// Damages a file, and returns what was done, and whether the file has entries or says which files do.
fn damage(path: &Path, random: &mut StdRng) -> (String, bool) {
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0));
    files.sort();
    let path = &files[random.random_range(0..files.len())];
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let at = random.random_range(0..length);
    let done = match random.random_range(0..3) {
        0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1 << random.random_range(0..8);
            file.write_all_at(&byte, at).unwrap();
            "a bit flipped"
        }
        1 => {
            file.set_len(at).unwrap();
            "cut off"
        }
        _ => {
            let zeros = vec![0; (length - at).min(4096) as usize];
            file.write_all_at(&zeros, at).unwrap();
            "zeros"
        }
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    let has_entries =
        name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST");
    (format!("{name} of {length} bytes: {done} at {at}"), has_entries)
}

/// Opens the log, and compares what is found and what is told to be lost with what was written.
fn check(
    path: &Path,
    options: &Options,
    (groups, others): &Waiting,
    may_lose: bool,
) -> Result<(), String> {
    let (log, mut appender, found) = MessageLog::open(path, options.clone())
        .map_err(|error| format!("does not open: {error}"))?;
    let mut lost = Ranges::below(Sequence::ZERO);
    let mut read = BTreeMap::new();
    let mut from = found.settled.low();
    while from < found.end {
        let page = log.page(from, found.end, 10_000).map_err(|error| format!("a page: {error}"))?;
        for (start, end) in page.damaged {
            lost.insert(start, end);
        }
        read.extend(page.entries);
        from = page.end;
    }
    for (sequence, number) in groups {
        let is_told = lost.contains(*sequence);
        match read.get(sequence) {
            Some(entry) if *entry == long(*number) => {}
            Some(_) => return Err(format!("{number} is another one")),
            None if is_told && may_lose => {}
            None => return Err(format!("{number} is missing, told: {is_told}")),
        }
    }
    let outside = found.deferred.iter().map(|sequence| (Family::Deferred, *sequence));
    let outside = outside.chain(found.failed.iter().map(|sequence| (Family::Failed, *sequence)));
    let mut outside_of_groups = BTreeMap::new();
    for (family, sequence) in outside {
        let entry = log.get(family, sequence).map_err(|error| format!("{sequence}: {error}"))?;
        outside_of_groups.insert(sequence, entry);
    }
    for (sequence, number) in others {
        let is_told = found.is_repaired || found.damaged > 0 || lost.contains(*sequence);
        match outside_of_groups.get(sequence).cloned().flatten().or(read.remove(sequence)) {
            Some(entry) if entry.payload == long(*number).payload => {}
            Some(_) => return Err(format!("{number} is another one")),
            None if is_told && may_lose => {}
            None => return Err(format!("{number} outside of groups is missing, told: {is_told}")),
        }
    }
    // It goes on as ever.
    let later = (appender.allot(), long(1_000));
    appender.append(std::slice::from_ref(&later), &[]).map_err(|error| error.to_string())?;
    appender.sync().map_err(|error| error.to_string())?;
    let page = log.page(later.0, later.0.next(), 1).map_err(|error| error.to_string())?;
    if page.entries == [later] { Ok(()) } else { Err("what comes later is not there".to_owned()) }
}

#[test]
fn whatever_is_damaged_the_log_opens_by_itself_and_tells_what_is_lost() {
    let cases = if std::env::var_os("MILLRACE_LONG").is_some() { 2_000 } else { 50 };
    let mut failed = Vec::new();
    for options in both() {
        let directory = TempDir::new().unwrap();
        let waiting = write(directory.path(), &options);
        let whole = crash(directory.path());
        check(crash(whole.path()).path(), &options, &waiting, false).unwrap();
        for case in 0..cases {
            let mut random = StdRng::seed_from_u64(case);
            let copy = crash(whole.path());
            let (done, may_lose) = damage(copy.path(), &mut random);
            if let Err(why) = check(copy.path(), &options, &waiting, may_lose) {
                failed.push(format!("{case}, {:?}: {done}: {why}", options.keys));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), 2 * cases, failed.join("\n"));
}

#[test]
fn a_repair_that_was_interrupted_is_done_again() {
    let directory = TempDir::new().unwrap();
    let waiting = write(directory.path(), &OPTIONS);
    let copy = crash(directory.path());
    // As RocksDB leaves it in the middle of a repair: a sound database without tables, and the tables beside it.
    let manifest = |path: &Path| {
        let mut files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
        files.find(|file| file.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST"))
    };
    let empty = TempDir::new().unwrap();
    drop(rocksdb::DB::open_default(empty.path()).unwrap());
    fs::remove_file(manifest(copy.path()).unwrap()).unwrap();
    let name = manifest(empty.path()).unwrap();
    fs::copy(&name, copy.path().join(name.file_name().unwrap())).unwrap();
    fs::copy(empty.path().join("CURRENT"), copy.path().join("CURRENT")).unwrap();
    fs::write(copy.path().join("repairing"), "").unwrap();
    check(copy.path(), &OPTIONS, &waiting, false).unwrap();
    assert!(!copy.path().join("repairing").exists());
}

#[test]
fn a_log_without_the_file_that_names_its_manifest_is_not_begun_anew() {
    let directory = TempDir::new().unwrap();
    let waiting = write(directory.path(), &OPTIONS);
    let copy = crash(directory.path());
    fs::remove_file(copy.path().join("CURRENT")).unwrap();
    check(copy.path(), &OPTIONS, &waiting, false).unwrap();
}
