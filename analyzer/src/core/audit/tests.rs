use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::event::Id;
use common::result::audit::Audit as Published;
use proptest::prelude::*;

use super::*;
use crate::core::ledger::Entry;
use crate::core::plan::{Plan, Settings};
use crate::core::query::Query;
use crate::core::tally::stored::Stored;
use crate::core::tally::{Record, Tally};

const START_MS: i64 = 1_425_772_800_000;

fn plan() -> Arc<Plan> {
    let mut settings = Settings::default();
    settings.schema.id = Id::Fields(vec!["/id".parse().unwrap()]);
    Arc::new(Plan::new(&Query::defaults(), settings).unwrap())
}

/// What stands at an offset of a partition, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    Event(u8),
    Nonsense,
    /// A transaction marker.
    Marker,
    /// It was deleted before it was read; only at the beginning of what is read at once.
    Deleted,
}

/// An offset, and by how many milliseconds later than the one before it was written.
type Step = (Offset, i64);

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![
        8 => (0..30_u8).prop_map(Offset::Event),
        2 => Just(Offset::Nonsense),
        1 => Just(Offset::Marker),
        1 => Just(Offset::Deleted),
    ];
    (offset, prop_oneof![4 => 0..20_000_i64, 1 => 0..4_000_000_i64])
}

/// Reads the offsets of `log` from `from` to `to`, as a process does that was assigned the partition.
fn read(tally: &mut Tally, log: &[Step], from: usize, to: usize) {
    let mut time_ms = START_MS;
    for (at, &(offset, later_ms)) in log.iter().enumerate().take(to) {
        time_ms += later_ms;
        let payload = match offset {
            _ if at < from => continue,
            Offset::Event(id) => format!(r#"{{"id":{id},"mtime":{time_ms}}}"#),
            Offset::Nonsense => "nonsense".to_owned(),
            Offset::Marker => continue,
            Offset::Deleted => {
                tally.record_gap(0, at as i64);
                continue;
            }
        };
        tally.apply(Record {
            offset: at as i64,
            timestamp_ms: time_ms,
            key: None,
            payload: payload.as_bytes(),
        });
    }
}

/// The outcomes of a log, by what is written in it.
fn truth(log: &[Step]) -> Outcomes {
    let (mut truth, mut seen) = (Outcomes::default(), BTreeSet::new());
    // What follows the last record was not gone through, unless it is known to be lost.
    let is_read = |&(offset, _): &Step| offset != Offset::Marker;
    let end = log.iter().rposition(is_read).map_or(0, |last| last + 1);
    // A marker before what was deleted cannot be told from it.
    let mut markers = 0;
    for &(offset, _) in &log[..end] {
        match offset {
            Offset::Event(id) if seen.insert(id) => truth.counted += 1,
            Offset::Event(_) => truth.duplicate += 1,
            Offset::Nonsense => truth.undecodable += 1,
            Offset::Marker => markers += 1,
            Offset::Deleted => truth.gap += 1,
        }
        if offset != Offset::Marker {
            let passed_over = std::mem::take(&mut markers);
            let is_lost = offset == Offset::Deleted;
            *(if is_lost { &mut truth.gap } else { &mut truth.control }) += passed_over;
        }
    }
    truth
}

fn take(audit: &mut Audit, tally: &mut Tally) -> bool {
    let Some(partial) = tally.emit_ledger() else { return false };
    audit.apply(&partial.key, partial.value.as_deref()).unwrap() == Applied::Changed
}

fn of(tally: &mut Tally) -> Published {
    let mut audit = Audit::default();
    tally.touch();
    take(&mut audit, tally);
    audit.result()
}

proptest! {
    #[test]
    fn every_offset_is_in_the_books_once_whoever_counts_and_however_often_it_starts_anew(
        logs in prop::collection::vec(prop::collection::vec(step(), 1..120), 1..4),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
    ) {
        let plan = plan();
        let (mut audit, mut expected) = (Audit::default(), Outcomes::default());
        let mut at_once: BTreeMap<i32, Published> = BTreeMap::new();
        for (partition, log) in (0..).zip(&logs) {
            // One that is never interrupted; it is a zombie beside the others, who publish first.
            let mut zombie = Tally::new(partition, &plan);
            read(&mut zombie, log, 0, log.len());
            // Owners that are killed: each goes on from the state that the one before stored, and reads again what that one
            // had read since.
            let mut owner = Tally::new(partition, &plan);
            for (store, kill) in &cuts {
                let from = usize::try_from(owner.next_offset()).unwrap();
                let store = from + store.index(log.len() - from + 1);
                read(&mut owner, log, from, store);
                let stored = Stored::of(&owner);
                read(&mut owner, log, store, store + kill.index(log.len() - store + 1));
                take(&mut audit, &mut owner);
                owner = stored.restore(&plan).unwrap();
            }
            let from = usize::try_from(owner.next_offset()).unwrap();
            read(&mut owner, log, from, log.len());
            owner.touch();
            take(&mut audit, &mut owner);
            prop_assert!(!take(&mut audit, &mut zombie), "it says nothing new");
            let result = of(&mut owner);
            prop_assert_eq!(&result, &of(&mut zombie));
            prop_assert!(result.balanced, "{:?}", result);
            prop_assert_eq!(result.total, truth(log));
            expected += truth(log);
            at_once.insert(partition, result);
        }
        let result = audit.result();
        prop_assert!(result.balanced);
        prop_assert_eq!(result.total, expected);
        prop_assert_eq!(result.total.sum(), result.version);
        let mut by_minute = result.before;
        result.minutes.iter().for_each(|minute| by_minute += minute.outcomes);
        prop_assert_eq!(by_minute, result.total, "no minute is missing");
        prop_assert!(result.minutes.len() <= MINUTES);
        for (partition, alone) in at_once {
            prop_assert_eq!(result.partitions[&partition], alone.partitions[&partition]);
        }
    }
}

/// Five events of five minutes, and one again.
fn six() -> Tally {
    let mut tally = Tally::new(3, &plan());
    let log = [1, 2, 3, 4, 5, 1].map(|id| (Offset::Event(id), 60_000));
    read(&mut tally, &log, 0, log.len());
    tally
}

#[test]
fn an_audit_tells_minutes_and_partitions_apart() {
    let result = of(&mut six());
    let counted: Vec<(i64, u64, u64)> = result
        .minutes
        .iter()
        .map(|minute| {
            let Outcomes { counted, duplicate, .. } = minute.outcomes;
            ((minute.start_ms - START_MS) / 60_000, counted, duplicate)
        })
        .collect();
    assert_eq!(counted, [(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0), (5, 1, 0), (6, 0, 1)]);
    assert_eq!((result.version, &result.offsets), (6, &BTreeMap::from([(3, 5)])));
    let books = result.partitions[&3];
    assert_eq!((books.offsets, books.results.events, books.results.duplicates), (6, 5, 1));
}

#[test]
fn the_audit_says_in_which_partition_the_books_and_the_results_differ() {
    let mut audit = Audit::default();
    let mut tally = six();
    take(&mut audit, &mut tally);
    let progress = Progress { events: 4, duplicates: 2, ..tally.progress().clone() };
    let mut ledger = Ledger::default();
    ledger.enter(Entry::Counted, 6, None);
    let wrong = partial(1, &progress, &ledger);
    audit.apply(&wrong.key, wrong.value.as_deref()).unwrap();
    let result = audit.result();
    assert!(!result.balanced);
    assert!(result.partitions[&3].balanced && !result.partitions[&1].balanced);
}

#[test]
fn what_is_older_or_says_nothing_changes_nothing_and_what_cannot_be_read_is_an_error() {
    let mut audit = Audit::default();
    let mut tally = six();
    let partial = tally.emit_ledger().unwrap();
    assert_eq!(tally.emit_ledger(), None, "nothing new");
    let value = partial.value.as_deref();
    assert_eq!(audit.apply(&partial.key, value), Ok(Applied::Changed));
    assert_eq!(audit.apply(&partial.key, value), Ok(Applied::Ignored));
    assert_eq!(audit.apply(&partial.key, None), Ok(Applied::Ignored));
    assert!(audit.apply(&partial.key, Some(b"nonsense")).is_err());
    assert_eq!(audit.result().version, 6);
}

#[test]
fn a_partition_in_which_nothing_happens_keeps_no_more_than_a_day_beside_the_others() {
    let (mut audit, mut newest) = (Audit::default(), Tally::new(0, &plan()));
    take(&mut audit, &mut six());
    let log = [1, 2].map(|id| (Offset::Event(id), MINUTES as i64 * 60_000));
    read(&mut newest, &log, 0, log.len());
    take(&mut audit, &mut newest);
    let result = audit.result();
    let first_ms = result.minutes.last().unwrap().start_ms - (MINUTES as i64 - 1) * 60_000;
    assert!(result.minutes.iter().all(|minute| minute.start_ms >= first_ms), "{result:?}");
    assert_eq!(result.total.sum(), 8);
    assert!(result.before.sum() > 0);
}

#[test]
fn state_that_was_stored_without_a_ledger_goes_on_with_books_that_balance() {
    let mut tally = six();
    let mut older = Stored::of(&tally);
    // Under a name that no reader knows it is as if the field were not there.
    let name = b"\xa6ledger";
    let at = older.snapshot.windows(name.len()).position(|bytes| bytes == name).unwrap();
    older.snapshot[at..at + name.len()].copy_from_slice(b"\xa6unread");
    let mut restored = older.restore(&plan()).unwrap();
    let result = of(&mut restored);
    assert!(result.balanced && result.minutes.is_empty(), "{result:?}");
    assert_eq!(result.before, of(&mut tally).total);
}

#[test]
fn a_full_ledger_is_small() {
    let mut tally = Tally::new(0, &plan());
    let log: Vec<Step> = (0..2 * MINUTES).map(|n| (Offset::Event(n as u8), 60_000)).collect();
    read(&mut tally, &log, 0, log.len());
    let partial = tally.emit_ledger().unwrap();
    let bytes = partial.value.unwrap().len();
    assert!(bytes < 40_000, "{bytes} bytes");
    let json = serde_json::to_vec(&of(&mut tally)).unwrap().len();
    assert!(json < 150_000, "{json} bytes");
}
