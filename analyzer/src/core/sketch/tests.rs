use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::core::hash::hash;

/// Item number `n`, long enough at times to live outside of its counter.
fn item(n: u32) -> String {
    let text = format!("item-{n}");
    if n.is_multiple_of(5) { text.repeat(6) } else { text }
}

fn add(summary: &mut SpaceSaving, n: u32) {
    let item = item(n);
    summary.add(hash(item.as_bytes()), &item);
}

fn truth(stream: &[u32]) -> BTreeMap<String, u64> {
    let mut truth = BTreeMap::new();
    stream.iter().for_each(|&n| *truth.entry(item(n)).or_default() += 1);
    truth
}

fn summarised(stream: &[u32], capacity: usize) -> SpaceSaving {
    let mut summary = SpaceSaving::new(capacity);
    stream.iter().for_each(|&n| add(&mut summary, n));
    summary
}

/// Everything that a summary promises about a stream.
fn check(counters: &Counters, stream: &[u32]) -> Result<(), TestCaseError> {
    let (total, capacity) = (stream.len() as u64, counters.capacity() as u64);
    let mut missing = truth(stream);
    prop_assert_eq!(counters.total(), total);
    prop_assert!(counters.entries().len() <= counters.capacity());
    prop_assert!(
        counters.ceiling() <= total / capacity,
        "ceiling {} of {total}/{capacity}",
        counters.ceiling()
    );
    let mut mass = counters.ceiling() * capacity;
    for counted in counters.entries() {
        let truth = missing.remove(counted.item.as_str()).unwrap_or(0);
        prop_assert!(
            counted.count - counted.error <= truth && truth <= counted.count,
            "{counted:?} of {truth}"
        );
        prop_assert!(counted.error <= total / capacity, "{counted:?} of {total}/{capacity}");
        mass += counted.count.saturating_sub(counters.ceiling());
    }
    prop_assert!(mass <= total, "sum of (c - M) + kM is {mass} of {total}");
    for (item, truth) in missing {
        prop_assert!(truth <= counters.ceiling(), "{item} is not held, its count is {truth}");
    }
    Ok(())
}

/// A stream with a head and a tail.
fn stream(len: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![0..6_u32, 0..25_u32, 0..150_u32], 0..len)
}

/// Streams, merged in a random tree, with updates between the merges.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(Vec<u32>),
    Merge(Box<Tree>, Box<Tree>, Vec<u32>),
}

fn tree() -> impl Strategy<Value = Tree> {
    stream(120).prop_map(Tree::Leaf).prop_recursive(5, 24, 2, |inner| {
        (inner.clone(), inner, stream(60))
            .prop_map(|(left, right, after)| Tree::Merge(Box::new(left), Box::new(right), after))
    })
}

fn grow(tree: &Tree, capacity: usize) -> (SpaceSaving, Vec<u32>) {
    match tree {
        Tree::Leaf(stream) => (summarised(stream, capacity), stream.clone()),
        Tree::Merge(left, right, after) => {
            let ((left, left_stream), (right, right_stream)) =
                (grow(left, capacity), grow(right, capacity));
            let mut merged = SpaceSaving::from(left.counters().merge(&right.counters()));
            after.iter().for_each(|&n| add(&mut merged, n));
            (merged, [left_stream, right_stream, after.clone()].concat())
        }
    }
}

proptest! {
    #[test]
    fn the_truth_lies_within_the_bounds_of_a_stream(stream in stream(600), capacity in 1..40_usize) {
        check(&summarised(&stream, capacity).counters(), &stream)?;
    }

    #[test]
    fn the_truth_lies_within_the_bounds_of_any_tree_of_merges_with_updates(tree in tree(), capacity in 1..30_usize) {
        let (summary, stream) = grow(&tree, capacity);
        check(&summary.counters(), &stream)?;
    }

    #[test]
    fn counts_are_exact_while_every_item_has_a_counter(tree in tree()) {
        let (summary, stream) = grow(&tree, 150);
        let counted: BTreeMap<String, u64> =
            summary.counters().entries().iter().map(|counted| (counted.item.as_str().to_owned(), counted.count)).collect();
        prop_assert_eq!(counted, truth(&stream));
        prop_assert!(summary.slots().iter().all(|counted| counted.error == 0));
        prop_assert_eq!(summary.ceiling(), 0);
    }

    #[test]
    fn one_that_went_through_its_slots_goes_on_as_if_it_had_not(before in stream(300), after in stream(300), capacity in 1..20_usize) {
        let mut original = summarised(&before, capacity);
        let slots = original.slots().to_vec();
        let mut copy = SpaceSaving::from_slots(slots, capacity, original.ceiling(), original.total()).unwrap();
        for n in after {
            add(&mut original, n);
            add(&mut copy, n);
            prop_assert_eq!(original.slots(), copy.slots());
        }
        prop_assert_eq!(original.counters(), copy.counters());
    }

    #[test]
    fn merging_is_commutative_and_nothing_is_its_neutral_element(a in stream(300), b in stream(300), capacity in 1..20_usize) {
        let (a, b) = (summarised(&a, capacity).counters(), summarised(&b, capacity).counters());
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&Counters::new(capacity)), a);
    }

    #[test]
    fn the_top_is_ordered_by_count_and_then_by_item(stream in stream(300), n in 0..40_usize) {
        let counters = summarised(&stream, 200).counters();
        let top: Vec<(u64, &str)> = counters.top(n).into_iter().map(|counted| (counted.count, counted.item.as_str())).collect();
        let truth = truth(&stream);
        let mut expected: Vec<(u64, &str)> = truth.iter().map(|(item, &count)| (count, item.as_str())).collect();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        expected.truncate(n);
        prop_assert_eq!(top, expected);
    }

    #[test]
    fn it_and_datasketches_never_contradict_each_other(stream in stream(2_000)) {
        // Their map of 64 holds 48 counters and keeps one offset for all items.
        let mut theirs = datasketches::frequencies::FrequentItemsSketch::<String>::new(64).unwrap();
        stream.iter().for_each(|&n| theirs.update(item(n)));
        let ours = summarised(&stream, 48).counters();
        for counted in ours.entries() {
            let item = counted.item.as_str().to_owned();
            prop_assert!(theirs.lower_bound(&item) <= counted.count, "the two contradict each other on {item}");
            prop_assert!(theirs.upper_bound(&item) >= counted.count - counted.error, "the two contradict each other on {item}");
        }
        prop_assert!(ours.ceiling() <= stream.len() as u64 / 48);
    }

    #[test]
    fn the_union_of_two_sets_is_estimated_as_if_it_were_one(a in prop::collection::vec(any::<u64>(), 0..400), b in prop::collection::vec(any::<u64>(), 0..400)) {
        let sketch = |hashes: &[u64]| {
            let mut distinct = Distinct::new();
            hashes.iter().for_each(|&hash| distinct.insert(hash));
            distinct
        };
        let mut union = sketch(&a);
        union.merge(&sketch(&b));
        prop_assert_eq!(&union, &sketch(&[a, b].concat()));
        prop_assert_eq!(Distinct::from_bytes(union.as_bytes()), Some(union));
    }
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let counted = |n: u32, count, error| {
        let item = item(n);
        Counted { hash: hash(item.as_bytes()), count, error, item: item.as_str().into() }
    };
    let one = counted(1, 2, 0);
    assert!(Counters::from_parts(vec![one.clone(), counted(2, 1, 1)], 2, 1, 3).is_some());
    assert_eq!(
        Counters::from_parts(vec![one.clone(), counted(2, 1, 0)], 1, 0, 3),
        None,
        "more than the capacity"
    );
    assert_eq!(
        Counters::from_parts(vec![one.clone(), counted(1, 1, 0)], 2, 0, 3),
        None,
        "an item twice"
    );
    assert_eq!(
        Counters::from_parts(vec![one, counted(2, 1, 2)], 2, 0, 3),
        None,
        "an error above its count"
    );
}

#[test]
fn the_number_of_distinct_items_is_within_four_standard_errors_at_every_size() {
    let mut distinct = Distinct::new();
    let mut size = 0_u64;
    for goal in [0, 1, 10, 100, 1_000, 5_000, 20_000, 50_000, 100_000, 1_000_000] {
        while size < goal {
            distinct.insert(hash(&size.to_le_bytes()));
            distinct.insert(hash(&(size / 2).to_le_bytes()));
            size += 1;
        }
        let tolerance = 4.0 * Distinct::ERROR * goal as f64;
        let estimate = distinct.estimate();
        assert!(estimate.abs_diff(goal) as f64 <= tolerance.max(0.5), "{estimate} for {goal}");
    }
}

#[test]
fn registers_that_no_hash_can_set_are_refused() {
    let mut bytes = Distinct::new().as_bytes().to_vec();
    assert!(Distinct::from_bytes(&bytes).is_some());
    assert_eq!(Distinct::from_bytes(&bytes[1..]), None);
    bytes[7] = 52;
    assert_eq!(Distinct::from_bytes(&bytes), None);
}

#[test]
fn items_keep_their_text_and_order_whether_short_or_long() {
    let texts: Vec<String> =
        (0..60).flat_map(|len| ["\u{e4}", "a", "\u{1f600}"].map(|text| text.repeat(len))).collect();
    let mut items: Vec<Item> = texts.iter().map(|text| text.as_str().into()).collect();
    assert!(items.iter().zip(&texts).all(|(item, text)| item.as_str() == text));
    let mut sorted = texts.clone();
    sorted.sort();
    items.sort();
    assert!(items.iter().map(Item::as_str).eq(sorted.iter().map(String::as_str)));
    assert_eq!(size_of::<Item>(), 32);
    assert_eq!(
        items.iter().map(Item::as_str).collect::<HashSet<_>>().len(),
        texts.iter().collect::<HashSet<_>>().len()
    );
}
