//! What a disk may do to the log.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::*;
use super::{Open, crash, write_ahead_log};

#[test]
fn a_torn_tail_is_cut_and_the_whole_groups_before_it_stay() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let mut kept = Vec::new();
    let mut sizes = Vec::new();
    for number in 0..20 {
        kept.extend(open.add([number]));
        sizes.push(fs::metadata(write_ahead_log(directory.path())).unwrap().len());
    }
    for (whole, size) in sizes.iter().enumerate().skip(1) {
        // In the middle of the record after entry `whole - 1`.
        let cut = sizes[whole - 1] + (size - sizes[whole - 1]) / 2;
        let copy = crash(directory.path());
        let file = fs::OpenOptions::new().write(true).open(write_ahead_log(copy.path())).unwrap();
        file.set_len(cut).unwrap();
        let open = Open::at(copy.path());
        assert_eq!(open.found.pending(), whole as u64);
        assert_eq!(open.pending(), kept[..whole]);
    }
}

#[test]
fn a_damaged_or_missing_group_is_told_and_the_others_are_read() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let groups = [open.add([0, 1]), open.add([2, 3]), open.add([4]), open.add([5]), open.add([6])];
    let span = |group: &[(Sequence, Entry)]| key::Span {
        first: group[0].0,
        last: group[group.len() - 1].0,
    };
    open.log
        .write(true, |store, batch| {
            let mut record = group::encode(span(&groups[1]), &groups[1]);
            *record.last_mut().unwrap() ^= 1;
            store.put_group(batch, span(&groups[1]), &record);
            store.delete_groups(batch, groups[3][0].0, groups[4][0].0);
        })
        .unwrap();
    let page = open.log.page(groups[0][1].0, groups[4][0].0.next(), usize::MAX).unwrap();
    assert_eq!(page.entries, [&groups[0][1..], &groups[2], &groups[4]].concat());
    let lost = [&groups[1], &groups[3]].map(|group| (span(group).first, span(group).last.next()));
    assert_eq!(page.damaged, lost);
    assert_eq!(page.end, groups[4][0].0.next());
    let page = open.log.page(groups[3][0].0, groups[4][0].0, 1).unwrap();
    assert_eq!(
        (page.damaged, page.end),
        (vec![lost[1]], groups[4][0].0),
        "nothing else is asked for"
    );
}

#[test]
fn a_damaged_block_costs_what_is_in_it_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let mut all = Vec::new();
    for number in 0..50 {
        all.extend(open.add([2 * number, 2 * number + 1]));
    }
    drop(open);
    // What is found in the write-ahead log goes to a table file.
    drop(Open::at(directory.path()));
    let is_table = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "sst");
    let table = |path: &Path| {
        let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
        files.filter(is_table).max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap()
    };
    let bytes = fs::read(table(directory.path())).unwrap();
    let find = |text: &str| bytes.windows(text.len()).position(|at| at == text.as_bytes()).unwrap();
    for number in [0, 1, 20, 50, 51, 80, 98, 99] {
        let copy = crash(directory.path());
        let mut damaged = bytes.clone();
        damaged[find(&format!("payload {number}"))] ^= 1;
        fs::write(table(copy.path()), damaged).unwrap();
        let mut open = Open::at(copy.path());
        let (mut from, mut found, mut lost) = (all[0].0, Vec::new(), Ranges::below(all[0].0));
        let end = all[99].0.next();
        while from < end {
            let page = open.log.page(from, end, 1000).unwrap();
            assert!(page.end > from);
            from = page.end;
            found.extend(page.entries);
            for (start, end) in page.damaged {
                lost.insert(start, end);
            }
        }
        assert!(lost.contains(all[number].0), "{number}");
        let rest: Vec<_> =
            all.iter().filter(|(sequence, _)| !lost.contains(*sequence)).cloned().collect();
        assert_eq!(found, rest, "{number}");
        let kept = table(&copy.path().join(quarantine::FOLDER));
        assert!(
            fs::read(kept).unwrap() == fs::read(table(copy.path())).unwrap(),
            "for the curious"
        );
        assert!(found.len() > 1, "a block is much less than the file");
        assert!(open.found.pending() >= found.len() as u64, "{number}");
        // What comes later is written and read as ever.
        open.settled.insert(all[0].0, end);
        open.record(&[], &[]);
        let later = open.add([1000]);
        assert_eq!(open.log.page(later[0].0, open.end, 1).unwrap().entries, later);
    }
}

#[test]
fn what_is_promised_to_be_on_disk_is_synced() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let syncs = |open: &Open| open.log.read(|store| Ok(store.syncs())).unwrap();
    let entries = open.add([0, 1]);
    let before = syncs(&open);
    open.settle(entries[0].0);
    open.record(&[], &[]);
    assert_eq!(syncs(&open), before, "losing this does no harm");
    open.appender.sync().unwrap();
    let after_sync = syncs(&open);
    assert!(after_sync > before);
    let (sequence, entry) = entries[1].clone();
    open.settle(sequence);
    open.record(&[(Family::Deferred, sequence, entry)], &[]);
    assert!(syncs(&open) > after_sync, "the entry is in no group any more");
}

#[test]
fn what_was_on_disk_and_is_cut_off_with_a_damaged_record_is_told_also_after_further_crashes() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let kept = open.add([0, 1]);
    let whole = fs::metadata(write_ahead_log(directory.path())).unwrap().len() as usize;
    let lost = [open.add([2, 3]), open.add([4])].concat();
    open.appender.sync().unwrap();
    // Nothing was promised about this one.
    open.add([5]);
    let mut copy = crash(directory.path());
    let file = write_ahead_log(copy.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[whole + 20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut all = kept.clone();
    for number in 6..9 {
        let mut open = Open::at(copy.path());
        assert_eq!(open.found.pending(), (all.len() + lost.len()) as u64);
        all.extend(open.add([number]));
        let page = open.log.page(kept[0].0, open.end, usize::MAX).unwrap();
        assert_eq!(page.entries, all);
        let is_pending =
            |&(start, end): &(Sequence, Sequence)| open.settled.clone().insert(start, end) > 0;
        let missing: Vec<_> = page.damaged.into_iter().filter(is_pending).collect();
        assert_eq!(missing, [(lost[0].0, lost[2].0.next())]);
        copy = crash(copy.path());
    }
    // Once it is told that they are lost, they are not told again.
    let mut open = Open::at(copy.path());
    open.settled.insert(kept[0].0, open.end);
    open.record(&[], &[]);
    assert_eq!(Open::killed(copy.path()).found.pending(), 0);
}

#[test]
fn a_damaged_write_ahead_log_is_opened_also_if_something_newer_is_in_a_table_file() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let entries = open.add([0, 1]);
    let before = write_ahead_log(directory.path());
    open.log.read(|store| store.put_for_good("newer", b"than the groups")).unwrap();
    open.add([2]);
    let copy = crash(directory.path());
    // RocksDB may have deleted it, because it does not need it any more.
    let before = copy.path().join(before.file_name().unwrap());
    if let Ok(mut bytes) = fs::read(&before) {
        let half = bytes.len() / 2;
        bytes[half] ^= 1;
        fs::write(&before, bytes).unwrap();
    }
    let mut open = Open::at(copy.path());
    assert_eq!(open.found.pending(), 3);
    open.settle(entries[0].0);
    open.record(&[], &[]);
}

#[test]
fn a_high_water_mark_that_is_damaged_or_behind_does_no_harm() {
    let directory = TempDir::new().unwrap();
    let mut open = Open::at(directory.path());
    let first = open.add([0]);
    open.appender.sync().unwrap();
    let mark = directory.path().join("high-water");
    let behind = fs::read(&mark).unwrap();
    let entries = [first, open.add([1, 2])].concat();
    open.appender.sync().unwrap();
    let current = fs::read(&mark).unwrap();
    assert_ne!(behind, current);
    let damaged = [&current[..7], &[!current[7]], &current[8..]].concat();
    for found in [&behind[..], &damaged, &current[..5], &[]] {
        let copy = crash(directory.path());
        fs::write(copy.path().join("high-water"), found).unwrap();
        let mut open = Open::at(copy.path());
        open.end = open.found.end;
        assert_eq!((open.found.pending(), open.pending()), (3, entries.clone()));
        // The next fsync writes it anew.
        open.add([3]);
        open.appender.sync().unwrap();
        assert_eq!(fs::read(copy.path().join("high-water")).unwrap().len(), 12);
    }
}
