use super::*;

#[test]
fn a_record_that_differs_in_anything_is_another_one() {
    let long = "x".repeat(2 * LOOKED_AT);
    let record = Witness::of(7, 1_000, long.as_bytes());
    assert_eq!(record, Witness::of(7, 1_000, long.as_bytes()));
    let others = [
        Witness::of(8, 1_000, long.as_bytes()),
        Witness::of(7, 1_001, long.as_bytes()),
        Witness::of(7, 1_000, &long.as_bytes()[1..]),
        Witness::of(7, 1_000, long.replacen('x', "y", 1).as_bytes()),
        Witness::of(7, 1_000, b""),
    ];
    assert!(others.iter().all(|other| *other != record));
}
