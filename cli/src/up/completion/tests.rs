use super::*;

fn spans(spans: &[(i32, i64, i64)]) -> BTreeMap<i32, Span> {
    spans.iter().map(|&(partition, start, end)| (partition, Span { start, end })).collect()
}

fn lines(hashes: &[u64]) -> HashMap<u64, u64> {
    let mut lines = HashMap::new();
    for &hash in hashes {
        *lines.entry(hash).or_default() += 1;
    }
    lines
}

#[test]
fn a_line_that_stands_twice_in_the_recording_must_arrive_twice() {
    let mut awaited = Awaited::default();
    awaited.arrived(7);
    assert_eq!(awaited.left(), None, "not known yet what to expect");
    awaited.expect(&lines(&[7, 7, 8]));
    assert_eq!(awaited.left(), Some(2));
    awaited.arrived(8);
    assert_eq!(awaited.left(), Some(1));
    awaited.arrived(7);
    assert_eq!(awaited.left(), Some(0));
}

#[test]
fn redelivered_and_foreign_records_complete_nothing() {
    let mut awaited = Awaited::default();
    for hash in [7, 7, 9] {
        awaited.arrived(hash);
    }
    awaited.expect(&lines(&[7, 8]));
    for hash in [7, 9, 10] {
        awaited.arrived(hash);
    }
    assert_eq!(awaited.left(), Some(1));
    awaited.arrived(8);
    awaited.arrived(8);
    assert_eq!(awaited.left(), Some(0));
}

#[test]
fn an_empty_recording_is_complete() {
    let mut awaited = Awaited::default();
    awaited.expect(&HashMap::new());
    assert_eq!(awaited.left(), Some(0));
}

#[test]
fn a_result_covers_when_it_reflects_the_last_offset_of_every_partition_that_has_any() {
    let ends = spans(&[(0, 0, 3), (1, 0, 0), (2, 5, 5)]);
    assert!(covers(&BTreeMap::from([(0, 2)]), &ends));
    assert!(covers(&BTreeMap::from([(0, 9), (1, 4)]), &ends), "newer than what was asked for");
    assert!(!covers(&BTreeMap::from([(0, 1), (1, 4)]), &ends));
    assert!(!covers(&BTreeMap::new(), &ends));
    assert!(covers(&BTreeMap::new(), &spans(&[(0, 0, 0)])), "an empty stream");
}

#[test]
fn a_partition_is_counted_from_its_first_offset() {
    assert_eq!(Span { start: 5, end: 8 }.records(), 3);
    assert_eq!(Span { start: 5, end: 5 }.records(), 0);
}
