use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn summary(stream: &[u32], capacity: usize) -> Summary {
    let mut summary = Summary::new(capacity);
    for n in stream {
        let item = format!("item {n}");
        summary.add(hash(item.as_bytes()), &item);
    }
    summary
}

fn encoded(value: &Summary) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

proptest! {
    #[test]
    fn the_number_of_items_is_exact_until_the_summary_overflows_and_close_after_that(
        left in prop::collection::vec(0..300_u32, 0..400),
        right in prop::collection::vec(0..300_u32, 0..400),
        capacity in 1..400_usize,
    ) {
        let merged = summary(&left, capacity).freeze().merge(&summary(&right, capacity).freeze());
        let truth = left.iter().chain(&right).collect::<HashSet<_>>().len();
        let (distinct, error) = merged.distinct();
        if truth <= capacity {
            prop_assert_eq!((distinct, error), (truth as u64, 0.0));
        } else {
            prop_assert_eq!(error, Distinct::ERROR);
            // Five standard errors, and the collisions that so few items have.
            prop_assert!(distinct.abs_diff(truth as u64) as f64 <= 2.0 + 5.0 * error * truth as f64, "{distinct} of {truth}");
        }
    }

    #[test]
    fn one_that_was_encoded_goes_on_as_if_it_had_not(
        before in prop::collection::vec(0..60_u32, 0..300),
        after in prop::collection::vec(0..60_u32, 0..300),
        capacity in 1..70_usize,
    ) {
        let mut original = summary(&before, capacity);
        let bytes = encoded(&original);
        let mut copy: Summary = rmp_serde::from_slice(&bytes).unwrap();
        let frozen: Frozen = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(frozen, original.freeze());
        prop_assert_eq!(encoded(&copy), bytes, "equal content is equal bytes");
        for n in after {
            let item = format!("item {n}");
            original.add(hash(item.as_bytes()), &item);
            copy.add(hash(item.as_bytes()), &item);
        }
        prop_assert_eq!(encoded(&copy), encoded(&original));
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_and_never_make_it_panic(stream in prop::collection::vec(0..60_u32, 0..100), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = encoded(&summary(&stream, 20));
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(mut damaged) = rmp_serde::from_slice::<Summary>(&bytes) {
            damaged.add(hash(b"x"), "x");
            drop(damaged.freeze().merge(&damaged.freeze()));
        }
        prop_assert!(rmp_serde::from_slice::<Summary>(&bytes[..at]).is_err());
    }
}

#[test]
fn a_summary_of_usual_items_takes_little_more_than_their_text() {
    let stream: Vec<u32> = (0..4_000).collect();
    let text: usize = stream.iter().map(|n| format!("item {n}").len()).sum();
    assert!(encoded(&summary(&stream, 10_000)).len() <= text + 5 * stream.len() + 64);
}
