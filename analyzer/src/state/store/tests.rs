use super::*;

fn query(name: &str, fingerprint: u64) -> QueryId {
    format!("{name}:{fingerprint:016x}").parse().unwrap()
}

/// What `owner` left, with these queries.
fn left(owner: u64, queries: &[QueryId]) -> Remainder {
    Remainder {
        keys: vec![
            Key::Manifest(Owner::new(owner), Slot::A),
            Key::Chunk(Owner::new(owner), Slot::A, 0),
        ],
        queries: queries.to_vec(),
        blocks: Vec::new(),
    }
}

fn owners(keys: &[Key]) -> BTreeSet<Owner> {
    keys.iter()
        .map(|key| match key {
            Key::Manifest(owner, _) | Key::Chunk(owner, ..) => *owner,
            Key::Block(..) => panic!("a block is no part of a remainder"),
        })
        .collect()
}

#[test]
fn what_holds_only_queries_that_the_new_snapshot_holds_is_deleted() {
    let (topics, countries) = (query("topics", 1), query("countries", 1));
    let held = BTreeSet::from([topics.clone(), countries.clone()]);
    let mut remainders =
        vec![left(1, &[topics.clone(), countries]), left(2, &[topics]), left(3, &[])];
    let keys = take_needless(&mut remainders, held);
    assert_eq!(owners(&keys), BTreeSet::from([1, 2, 3].map(Owner::new)));
    assert_eq!(keys.len(), 6);
    assert!(remainders.is_empty());
}

#[test]
fn what_this_owner_does_not_know_stays_until_a_newer_one_holds_it() {
    let (topics, cities, other_topics) =
        (query("topics", 1), query("cities", 1), query("topics", 2));
    let mut remainders = vec![
        left(1, &[topics.clone(), cities.clone()]),
        left(2, std::slice::from_ref(&cities)),
        left(3, &[other_topics.clone(), topics.clone()]),
    ];
    let keys = take_needless(&mut remainders, BTreeSet::from([topics.clone()]));
    assert_eq!(
        owners(&keys),
        BTreeSet::from([Owner::new(2)]),
        "the first one holds it, and is newer"
    );
    assert_eq!(remainders.len(), 2, "another meaning is another query");
    // Queries that were behind have caught up, and are in the next snapshot.
    let keys = take_needless(&mut remainders, BTreeSet::from([topics, cities]));
    assert_eq!(owners(&keys), BTreeSet::from([Owner::new(1)]));
    assert_eq!(remainders[0].queries[0], other_topics);
}
