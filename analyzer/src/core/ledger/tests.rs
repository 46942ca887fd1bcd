use proptest::prelude::*;

use super::*;

const DAY: i64 = MINUTES as i64;

fn at(minute: i64) -> Option<i64> {
    Some(minute * MINUTE_MS + 17)
}

/// A ledger with one counted event in each of these minutes, in which time follows the records.
fn ledger(minutes: impl IntoIterator<Item = i64>) -> Ledger {
    let mut ledger = Ledger::default();
    for minute in minutes {
        ledger.advance(minute * MINUTE_MS);
        ledger.enter(Entry::Counted, 1, at(minute));
    }
    ledger
}

fn counted(ledger: &Ledger) -> Vec<(i64, u64)> {
    ledger.minutes().map(|(start_ms, outcomes)| (start_ms / MINUTE_MS, outcomes.counted)).collect()
}

#[test]
fn each_entry_is_in_the_minute_of_its_record() {
    let mut ledger = ledger([10, 10, 12]);
    ledger.enter(Entry::Duplicate, 1, at(10));
    ledger.enter(Entry::Undecodable, 1, at(11));
    let minutes: Vec<(i64, Outcomes)> = ledger.minutes().collect();
    let expected = [
        (10, Outcomes { counted: 2, duplicate: 1, ..Outcomes::default() }),
        (11, Outcomes { undecodable: 1, ..Outcomes::default() }),
        (12, Outcomes { counted: 1, ..Outcomes::default() }),
    ];
    assert_eq!(minutes, expected.map(|(minute, outcomes)| (minute * MINUTE_MS, outcomes)));
    assert_eq!(ledger.before(), Outcomes::default());
}

#[test]
fn a_day_is_told_apart_and_what_is_older_is_summed_up() {
    let mut ledger = ledger(0..DAY + 10);
    assert_eq!(counted(&ledger).len(), MINUTES);
    assert_eq!(counted(&ledger)[0], (10, 1));
    assert_eq!((ledger.before().counted, ledger.total().counted), (10, MINUTES as u64 + 10));
    ledger.enter(Entry::Counted, 1, at(9));
    assert_eq!(ledger.before().counted, 11, "a record of a minute that is not told apart");
    ledger.enter(Entry::Counted, 1, at(10));
    assert_eq!(counted(&ledger)[0], (10, 2));
}

#[test]
fn a_record_that_is_ahead_of_the_partitions_time_belongs_to_the_newest_minute() {
    let mut ledger = ledger([10]);
    ledger.enter(Entry::Counted, 1, at(1_000_000));
    assert_eq!(counted(&ledger), [(10, 2)]);
}

#[test]
fn an_offset_without_a_time_belongs_to_the_newest_minute_or_to_none() {
    let mut ledger = Ledger::default();
    ledger.enter(Entry::Gap, 7, None);
    ledger.enter(Entry::Counted, 1, at(3));
    assert_eq!(ledger.before(), Outcomes { gap: 7, counted: 1, ..Outcomes::default() });
    ledger.advance(5 * MINUTE_MS);
    ledger.enter(Entry::Gap, 2, None);
    assert_eq!(ledger.minutes().next().unwrap().1, Outcomes { gap: 2, ..Outcomes::default() });
}

#[test]
fn when_the_first_records_move_time_back_nothing_is_left_ahead_of_it() {
    let ledger = ledger([1_000_000, 10, 11]);
    assert_eq!((counted(&ledger), ledger.before().counted), (vec![(10, 1), (11, 1)], 1));
}

#[test]
fn the_books_of_state_without_any_are_made_of_its_counters() {
    let progress = Progress {
        next_offset: 100,
        events: 50,
        duplicates: 20,
        undecodable: 5,
        gaps: vec![(0, 10), (40, 45)],
        ..Progress::default()
    };
    let expected = Outcomes { counted: 50, duplicate: 20, undecodable: 5, control: 10, gap: 15 };
    assert_eq!(Ledger::of(&progress).before(), expected);
    // A list of gaps that was full covers records that were read.
    let full = Progress { gaps: vec![(0, 90)], ..progress };
    let expected = Outcomes { control: 0, gap: 25, ..expected };
    assert_eq!(Ledger::of(&full).before(), expected);
}

proptest! {
    /// The rows are those of a plain map, and do not depend on which row was written last: a ledger that is stored and
    /// read back at any place goes on in the same way.
    #[test]
    fn a_ledger_that_was_stored_goes_on_as_the_one_that_was_not(
        steps in prop::collection::vec((0..4_000_i64, prop::option::of(-3_000..3_000_i64), 1..3_u64), 1..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut ledger, mut stored, mut offsets) = (Ledger::default(), Ledger::default(), 0);
        let cut = cut.index(steps.len());
        for (place, &(newest, own, count)) in steps.iter().enumerate() {
            for ledger in [&mut ledger, &mut stored] {
                ledger.advance(newest * MINUTE_MS);
                ledger.enter(Entry::Counted, count, own.and_then(|own| at(newest + own)));
            }
            offsets += count;
            if place == cut {
                stored = rmp_serde::from_slice(&rmp_serde::to_vec(&stored).unwrap()).unwrap();
            }
            let minutes = counted(&ledger);
            prop_assert!(minutes.iter().all(|(minute, _)| (newest - DAY + 1..=newest).contains(minute)));
            prop_assert!(minutes.is_sorted());
            prop_assert_eq!(ledger.total().counted, offsets);
            prop_assert_eq!((minutes, ledger.before()), (counted(&stored), stored.before()));
        }
    }
}
