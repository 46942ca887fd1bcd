use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::core::dedupe::SLICE_IDS;
use crate::core::plan::{Plan, Settings};
use crate::core::query::Query;
use crate::core::tally::stored::Stored as TallyStored;
use crate::core::tally::{Record, Restoring, Tally};

const PARTITION: i32 = 3;

fn someone() -> Owner {
    Owner::new(rand::random())
}

fn plan() -> Arc<Plan> {
    Arc::new(Plan::new(&Query::defaults(), Settings::default()).unwrap())
}

/// A tally that has counted `events` events, with as many different ids.
fn tally(plan: &Arc<Plan>, events: i64) -> Tally {
    let mut tally = Tally::new(PARTITION, plan);
    count(&mut tally, events);
    tally
}

/// Counts events with the ids and offsets up to `events`, also for queries that are behind.
fn count(tally: &mut Tally, events: i64) {
    let record = |offset: i64, payload: &str, count: &mut dyn FnMut(Record<'_>)| {
        count(Record {
            offset,
            timestamp_ms: 1_425_790_000_000,
            key: None,
            payload: payload.as_bytes(),
        });
    };
    let payload = |offset: i64| {
        format!(
            r#"{{"rsvp_id":{offset},"response":"yes","mtime":1425790000000,"group":{{"group_country":"de","group_topics":[{{"topic_name":"Social"}}]}}}}"#
        )
    };
    for offset in tally.next_offset()..events {
        record(offset, &payload(offset), &mut |record| {
            tally.apply(record);
        });
    }
    for offset in tally.replay_from().unwrap_or(events)..events {
        record(offset, &payload(offset), &mut |record| tally.replay(record));
    }
}

/// What `owner` writes to store `tally` in `slot`, in this order.
fn records(tally: &Tally, owner: Owner, slot: Slot, chunk_bytes: usize) -> Vec<(Key, Vec<u8>)> {
    let snapshot = tally.snapshot();
    let bytes = snapshot.encode();
    let mut records = Vec::new();
    for block in tally.blocks() {
        for (number, piece) in (0..).zip(block.bytes().chunks(chunk_bytes)) {
            records.push((Key::Block(block.name(), number), piece.to_vec()));
        }
    }
    let mut chunks = 0;
    for piece in bytes.chunks(chunk_bytes) {
        records.push((Key::Chunk(owner, slot, chunks), piece.to_vec()));
        chunks += 1;
    }
    let manifest = Manifest::new(&snapshot, &bytes, chunks);
    records.push((Key::Manifest(owner, slot), manifest.encode()));
    records
}

fn replay<'r>(log: &mut Log, records: impl IntoIterator<Item = &'r (Key, Vec<u8>)>) {
    for (key, value) in records {
        log.replay(key.of(PARTITION).as_bytes(), Some(value));
    }
}

/// A tally that goes on from the newest snapshot.
fn newest(log: &Log, plan: &Arc<Plan>) -> Tally {
    let (snapshot, blocks) = log.snapshots().next().unwrap().load().unwrap();
    let mut restoring = Restoring::new(PARTITION, plan);
    restoring.offer(snapshot, &blocks).unwrap();
    restoring.finish()
}

fn offsets(log: &Log) -> Vec<i64> {
    log.snapshots()
        .filter(|stored| stored.load().is_ok())
        .map(|stored| stored.next_offset())
        .collect()
}

#[test]
fn the_snapshot_with_the_highest_offset_comes_first_whoever_wrote_last() {
    let plan = plan();
    let mut log = Log::new(PARTITION);
    replay(&mut log, &records(&tally(&plan, 20), someone(), Slot::A, 100));
    replay(&mut log, &records(&tally(&plan, 10), someone(), Slot::B, 100));
    assert_eq!(offsets(&log), [20, 10]);
    let restored = newest(&log, &plan);
    assert_eq!((restored.next_offset(), restored.progress().events), (20, 20));
}

#[test]
fn whatever_a_crash_leaves_of_a_slot_the_other_slot_stands() {
    let plan = plan();
    let owner = someone();
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
fn a_snapshot_without_a_piece_of_one_of_its_blocks_is_skipped() {
    let plan = plan();
    // More ids than a slice holds, so that one is sealed.
    let full = tally(&plan, 70_000);
    assert!(full.blocks().count() > 0);
    let mut log = Log::new(PARTITION);
    replay(&mut log, &records(&full, someone(), Slot::A, 300_000));
    replay(&mut log, &records(&tally(&plan, 10), someone(), Slot::A, 900_000));
    assert_eq!(offsets(&log), [70_000, 10]);
    assert_eq!(newest(&log, &plan).progress().events, 70_000);

    let name = full.blocks().next().unwrap().name();
    log.replay(Key::Block(name, 1).of(PARTITION).as_bytes(), None);
    assert_eq!(offsets(&log), [10]);
}

#[test]
fn a_tombstone_takes_a_snapshot_away_and_strange_records_do_no_harm() {
    let plan = plan();
    let owner = someone();
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
fn what_an_owner_left_is_listed_with_its_manifest_first() {
    let plan = plan();
    let mut log = Log::new(PARTITION);
    let written = records(&tally(&plan, 10), someone(), Slot::A, 100);
    replay(&mut log, &written);
    let remainders = log.remainders();
    assert_eq!(remainders.len(), 1);
    let keys = &remainders[0].keys;
    assert!(matches!(keys[0], Key::Manifest(..)));
    let expected: BTreeSet<_> = written.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.iter().copied().collect::<BTreeSet<_>>(), expected);
    let queries: Vec<_> = plan.queries().iter().map(|planned| planned.id()).collect();
    assert_eq!(remainders[0].queries, queries);
}

#[test]
fn a_snapshot_that_is_not_whole_is_of_no_use_and_one_of_another_build_is_left_alone() {
    let plan = plan();
    let mut log = Log::new(PARTITION);
    let torn = records(&tally(&plan, 10), someone(), Slot::A, 100);
    replay(&mut log, &torn[1..]);
    let unfinished = records(&tally(&plan, 10), someone(), Slot::A, 100);
    replay(&mut log, &unfinished[..2]);
    let remainders = log.remainders();
    assert_eq!(remainders.len(), 2);
    assert!(remainders.iter().all(|remainder| remainder.queries.is_empty()));
    assert!(!log.has_foreign());

    let manifest = Key::Manifest(someone(), Slot::A);
    log.replay(manifest.of(PARTITION).as_bytes(), Some(br#"{"v":99,"spans":[]}"#));
    assert!(log.has_foreign());
    assert!(log.remainders().iter().all(|remainder| !remainder.keys.contains(&manifest)));
}

#[test]
fn each_query_goes_on_from_its_own_newest_snapshot() {
    let all = Query::defaults();
    let both = Arc::new(Plan::new(&all, Settings::default()).unwrap());
    let fewer = Arc::new(Plan::new(&all[..1], Settings::default()).unwrap());
    let mut log = Log::new(PARTITION);
    // A process that knows fewer queries has gone further than the one that knows all of them.
    replay(&mut log, &records(&tally(&both, 10), someone(), Slot::A, 900_000));
    replay(&mut log, &records(&tally(&fewer, 30), someone(), Slot::A, 900_000));
    let restore = |plan: &Arc<Plan>| {
        let mut restoring = Restoring::new(PARTITION, plan);
        for stored in log.snapshots().filter(|stored| stored.load().is_ok()) {
            if restoring.wants(&stored.queries()) {
                let (snapshot, blocks) = stored.load().unwrap();
                restoring.offer(snapshot, &blocks).unwrap();
            }
        }
        restoring.finish()
    };
    let mut restored = restore(&both);
    assert_eq!((restored.next_offset(), restored.replay_from()), (30, Some(10)));
    count(&mut restored, 40);
    assert_eq!(restored.replay_from(), None);
    let straight = tally(&both, 40);
    assert_eq!(restored.snapshot().encode(), straight.snapshot().encode());
    assert_eq!(restore(&fewer).replay_from(), None);
}

#[test]
fn a_larger_memory_of_ids_goes_on_from_what_is_stored_and_a_smaller_one_forgets_the_rest() {
    let with = |dedupe_capacity| {
        let settings = Settings { dedupe_capacity, ..Settings::default() };
        Arc::new(Plan::new(&Query::defaults(), settings).unwrap())
    };
    let (two, four) = (with(2 * SLICE_IDS), with(4 * SLICE_IDS));
    let counted = tally(&two, 3 * SLICE_IDS as i64 - 1);
    let stored = TallyStored::of(&counted);
    for (plan, forgotten) in [(&four, 0), (&with(SLICE_IDS), SLICE_IDS as u64)] {
        let restored = stored.restore(plan).unwrap();
        assert_eq!(restored.progress().events, counted.progress().events);
        assert_eq!(restored.forgotten(), forgotten);
    }
}
