use std::sync::Arc;

use super::*;
use crate::core::plan::{Plan, Settings};
use crate::core::query::Query;
use crate::core::tally::{Record, Tally};
use crate::state::Key;

const PARTITION: i32 = 3;

fn plan() -> Arc<Plan> {
    Arc::new(Plan::new(&Query::defaults(), Settings::default()).unwrap())
}

/// A tally that has counted `events` events, with as many different ids.
fn tally(plan: &Arc<Plan>, events: i64) -> Tally {
    let mut tally = Tally::new(PARTITION, plan);
    let payload = br#"{"rsvp_id":1,"response":"yes","mtime":1425790000000,"group":{"group_topics":[{"topic_name":"Social"}]}}"#;
    for offset in 0..events {
        let id = offset.to_string();
        tally.apply(Record {
            offset,
            timestamp_ms: 1_425_790_000_000,
            id: Some(id.as_bytes()),
            payload,
        });
    }
    tally
}

/// What `owner` writes to store `tally` in `slot`, in this order.
fn records(tally: &Tally, owner: Owner, slot: Slot, chunk_bytes: usize) -> Vec<(Key, Vec<u8>)> {
    let snapshot = tally.snapshot();
    let names: Vec<_> = snapshot.slices().collect();
    let bytes = snapshot.encode();
    let mut records: Vec<_> =
        tally.slices().map(|slice| (Key::Slice(slice.name()), slice.encode())).collect();
    let mut chunks = 0;
    for piece in bytes.chunks(chunk_bytes) {
        records.push((Key::Chunk(owner, slot, chunks), piece.to_vec()));
        chunks += 1;
    }
    let manifest = Manifest::new(snapshot.next_offset(), chunks, &bytes, &names);
    records.push((Key::Manifest(owner, slot), manifest.encode()));
    records
}

fn replay<'r>(log: &mut Log, records: impl IntoIterator<Item = &'r (Key, Vec<u8>)>) {
    for (key, value) in records {
        log.replay(key.of(PARTITION).as_bytes(), Some(value));
    }
}

fn offsets(log: &Log) -> Vec<i64> {
    log.candidates().map(|candidate| candidate.snapshot.next_offset()).collect()
}

#[test]
fn the_snapshot_with_the_highest_offset_comes_first_whoever_wrote_last() {
    let plan = plan();
    let mut log = Log::new(PARTITION);
    replay(&mut log, &records(&tally(&plan, 20), Owner::draw(), Slot::A, 100));
    replay(&mut log, &records(&tally(&plan, 10), Owner::draw(), Slot::B, 100));
    assert_eq!(offsets(&log), [20, 10]);
    let best = log.candidates().next().unwrap();
    let restored = Tally::restore(&plan, best.snapshot, best.slices).unwrap();
    assert_eq!((restored.next_offset(), restored.progress().events), (20, 20));
}

#[test]
fn whatever_a_crash_leaves_of_a_slot_the_other_slot_stands() {
    let plan = plan();
    let owner = Owner::draw();
    let standing = records(&tally(&plan, 10), owner, Slot::A, 60);
    let before = records(&tally(&plan, 5), owner, Slot::B, 60);
    let rewritten = records(&tally(&plan, 20), owner, Slot::B, 60);
    assert!(rewritten.len() > 4, "the snapshot is cut into several chunks");
    for written in 0..=rewritten.len() {
        let mut log = Log::new(PARTITION);
        replay(&mut log, before.iter().chain(&standing).chain(&rewritten[..written]));
        let expected = match written {
            0 => vec![10, 5],
            n if n == rewritten.len() => vec![20, 10],
            _ => vec![10],
        };
        assert_eq!(offsets(&log), expected, "after {written} records");
    }
}

#[test]
fn a_snapshot_without_one_of_its_slices_is_skipped() {
    let plan = plan();
    // More ids than a slice holds, so that one is sealed.
    let full = tally(&plan, 70_000);
    assert!(full.slices().count() > 0);
    let mut log = Log::new(PARTITION);
    replay(&mut log, &records(&full, Owner::draw(), Slot::A, 900_000));
    replay(&mut log, &records(&tally(&plan, 10), Owner::draw(), Slot::A, 900_000));
    assert_eq!(offsets(&log), [70_000, 10]);
    let best = log.candidates().next().unwrap();
    assert_eq!(
        Tally::restore(&plan, best.snapshot, best.slices).unwrap().progress().events,
        70_000
    );

    let name = full.slices().next().unwrap().name();
    log.replay(Key::Slice(name).of(PARTITION).as_bytes(), None);
    assert_eq!(offsets(&log), [10]);
}

#[test]
fn a_tombstone_takes_a_snapshot_away_and_strange_records_do_no_harm() {
    let plan = plan();
    let owner = Owner::draw();
    let mut log = Log::new(PARTITION);
    assert!(log.is_empty());
    replay(&mut log, &records(&tally(&plan, 10), owner, Slot::A, 100));
    log.replay(b"README", Some(b"hello"));
    log.replay(Key::Manifest(owner, Slot::B).of(PARTITION).as_bytes(), Some(b"{\"v\":99}"));
    assert_eq!(offsets(&log), [10]);
    log.replay(Key::Manifest(owner, Slot::A).of(PARTITION).as_bytes(), None);
    assert_eq!(offsets(&log), Vec::<i64>::new());
}

#[test]
fn the_keys_of_a_snapshot_are_listed_with_its_manifest_first() {
    let plan = plan();
    let mut log = Log::new(PARTITION);
    let written = records(&tally(&plan, 10), Owner::draw(), Slot::A, 100);
    replay(&mut log, &written);
    let keys = log.snapshot_keys();
    assert!(matches!(keys[0], Key::Manifest(..)));
    let mut listed = keys;
    let mut expected: Vec<_> = written.into_iter().map(|(key, _)| key).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}
