use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn the_first_line_is_found_within_a_block_of_the_place_named(
        mtimes in prop::collection::vec(prop::option::weighted(0.9, 0i64..500), 0..2_000),
        since in 0i64..520,
    ) {
        let mut index = Mtimes::with_blocks(8);
        for &mtime in &mtimes {
            index.push(mtime);
        }
        let first = mtimes.iter().position(|mtime| mtime.is_some_and(|mtime| mtime >= since));
        let named = index.look_from(since);
        prop_assert_eq!(named.is_some(), first.is_some());
        if let (Some(named), Some(first)) = (named, first) {
            prop_assert!(named <= first as u64 && (first as u64) < named + index.stride);
        }
        prop_assert!(index.maxima.len() < 8);
    }
}
