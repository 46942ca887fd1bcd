use proptest::prelude::*;

use super::*;
use crate::core::hash::hash;

/// A hash, as ids are, because the table relies on evenly spread values.
fn id(number: u64) -> u64 {
    hash(&number.to_le_bytes())
}

/// Remembers the id unless it is known. Returns whether it was new.
fn see(dedupe: &mut Dedupe, number: u64, timestamp_ms: i64) -> bool {
    dedupe.advance(timestamp_ms);
    let new = !dedupe.contains(id(number));
    if new {
        dedupe.insert(id(number), timestamp_ms);
    }
    new
}

const SLICE: u64 = SLICE_IDS as u64;

#[test]
fn an_id_is_new_once() {
    let mut dedupe = Dedupe::new(100, 1_000);
    let new: Vec<bool> = [1, 2, 1, 2, 3].map(|number| see(&mut dedupe, number, 0)).into();
    assert_eq!(new, [true, true, false, false, true]);
}

#[test]
fn beyond_the_capacity_the_oldest_slice_is_forgotten_and_counted() {
    let mut dedupe = Dedupe::new(2 * SLICE_IDS, u64::MAX);
    assert!((0..3 * SLICE - 1).all(|number| see(&mut dedupe, number, 0)));
    assert_eq!(dedupe.forgotten(), 0);
    assert!(dedupe.contains(id(0)));
    assert!(see(&mut dedupe, 3 * SLICE - 1, 0));
    assert_eq!(dedupe.forgotten(), SLICE);
    assert!((0..SLICE).all(|number| !dedupe.contains(id(number))));
    assert!((SLICE..3 * SLICE).all(|number| dedupe.contains(id(number))));
    assert_eq!(dedupe.blocks().map(|slice| slice.name().index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn ids_are_remembered_for_the_horizon_at_least_by_record_time() {
    let mut dedupe = Dedupe::new(100 * SLICE_IDS, 1_000);
    assert!((0..SLICE).all(|number| see(&mut dedupe, number, number as i64)));
    let newest = SLICE as i64 - 1;
    assert!(!see(&mut dedupe, 0, newest + 1_000), "exactly as old as the horizon");
    assert!(see(&mut dedupe, 0, newest + 1_001));
    assert_eq!(dedupe.forgotten(), SLICE);
    assert!(!see(&mut dedupe, 0, 0), "time that goes back forgets nothing");
}

#[test]
fn a_state_without_one_of_its_slices_is_refused() {
    let mut dedupe = Dedupe::new(4 * SLICE_IDS, u64::MAX);
    assert!((0..2 * SLICE + 5).all(|number| see(&mut dedupe, number, 0)));
    let slices: Vec<Block> = dedupe.blocks().cloned().collect();
    let restore = |slices: &[Block]| {
        let blocks = slices.iter().cloned().collect();
        Dedupe::new(4 * SLICE_IDS, u64::MAX).restore(dedupe.state(), &blocks).map(|_| ())
    };
    assert_eq!(restore(&slices), Ok(()));
    assert_eq!(restore(&slices[..1]), Err(Error::MissingBlock(slices[1].name())));
    assert_eq!(restore(&slices[1..]), Err(Error::MissingBlock(slices[0].name())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn after_a_restore_ids_are_remembered_and_forgotten_as_before(
        before in 1..3 * SLICE,
        after in prop::collection::vec((0..4 * SLICE, 0..5_000_i64), 200),
    ) {
        let new = || Dedupe::new(2 * SLICE_IDS, 2_000);
        let mut original = new();
        prop_assert!((0..before).all(|number| see(&mut original, number, number as i64 / 100)));
        let mut restored = new().restore(original.state(), &original.blocks().cloned().collect()).unwrap();
        for (number, timestamp_ms) in after {
            prop_assert_eq!(see(&mut restored, number, timestamp_ms), see(&mut original, number, timestamp_ms));
        }
        prop_assert_eq!(restored.forgotten(), original.forgotten());
        prop_assert!(restored.blocks().eq(original.blocks()));
    }
}
