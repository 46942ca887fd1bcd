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
