use proptest::prelude::*;

use super::*;

proptest! {
    /// For lines of random lengths the offset found is that of a real line, at or shortly before the one asked for.
    #[test]
    fn the_nearest_known_line_begins_where_it_is_said_to(
        lengths in prop::collection::vec(1_u64..50, 0..3_000),
        max_places in 2_usize..40,
    ) {
        let mut offsets = Offsets::with_places(max_places);
        let mut begins = vec![0];
        for (at, length) in lengths.iter().enumerate() {
            begins.push(begins[at] + length);
            let position = at as u64 + 1;
            if position.is_multiple_of(STRIDE) {
                offsets.add(position, begins[at + 1]);
                // A second reader of the same lines adds nothing.
                offsets.add(position, 7);
            }
        }
        prop_assert!(offsets.places.len() < max_places.max(3));
        for position in 0..begins.len() as u64 {
            let (line, offset) = offsets.before(position);
            prop_assert!(line <= position && position < line + 2 * offsets.stride);
            prop_assert_eq!(offset, begins[line as usize]);
        }
    }
}
