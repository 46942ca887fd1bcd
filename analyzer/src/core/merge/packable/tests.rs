use super::*;
use crate::core::hash::hash;
use crate::core::summary::Summary;

/// Counts of three items with two counters, so that there is an error and a sketch of the distinct ones.
fn counts() -> Frozen {
    let mut summary = Summary::new(2);
    for item in ["a", "a", "b", "a", "c"] {
        summary.add(hash(item.as_bytes()), item);
    }
    summary.freeze()
}

#[test]
fn counts_are_packed_when_they_are_not_used_between_two_calls_and_open_to_the_same() {
    let mut packable = Packable::new(Arc::new(counts()));
    packable.pack_if_unused();
    assert!(packable.packed.is_none(), "new ones count as used");
    for _ in 0..2 {
        packable.pack_if_unused();
        assert!(packable.open.is_none());
        assert_eq!(**packable.open(), counts());
        packable.pack_if_unused();
        assert!(packable.open.is_some(), "used since");
    }
}
