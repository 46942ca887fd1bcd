use std::sync::Arc;

use super::*;
use crate::core::plan::Settings;
use crate::core::query::Query;
use crate::core::tally::{Record, Tally};

const ME: Owner = Owner::new(1);
const FORMER: Owner = Owner::new(2);

fn plan() -> Arc<Plan> {
    Arc::new(Plan::new(&Query::defaults(), Settings::default()).unwrap())
}

/// What an owner publishes that has counted one event at `offset`.
fn published(plan: &Arc<Plan>, partition: i32, offset: i64) -> Vec<partial::Partial> {
    let mut tally = Tally::new(partition, plan);
    let payload = br#"{"rsvp_id":1,"response":"yes","mtime":0,"group":{"group_country":"de"}}"#;
    tally.apply(Record { offset, timestamp_ms: 0, key: None, payload });
    tally.emit_all().collect()
}

fn noted(records: &[(Owner, partial::Partial)]) -> BTreeMap<i32, Found> {
    let queries = ["topics".to_owned(), "countries".to_owned()];
    let owners = BTreeMap::from([(3, ME), (4, ME)]);
    let mut all = BTreeMap::new();
    for (owner, partial) in records {
        let key = partial.key.written_by(*owner);
        note(&mut all, &queries, &owners, key.as_bytes(), partial.value.as_deref());
    }
    note(&mut all, &queries, &owners, b"no/key", None);
    by_partition(all)
}

#[test]
fn only_what_others_wrote_about_own_partitions_and_known_queries_is_found() {
    let plan = plan();
    let of = |owner: Owner, partition, offset| {
        published(&plan, partition, offset).into_iter().map(move |partial| (owner, partial))
    };
    let records: Vec<_> = of(ME, 3, 9)
        .chain(of(FORMER, 3, 5))
        .chain(of(FORMER, 3, 7))
        .chain(of(FORMER, 5, 9))
        .collect();
    let found = noted(&records);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [3], "no other partition");
    assert_eq!(found[&3].next_offset, 8);
    let texts: Vec<&str> = found[&3].left.iter().map(|(text, _)| text.as_str()).collect();
    let expected = [
        "countries/3/0000000000000002/0",
        "countries/3/0000000000000002/head",
        "topics/3/0000000000000002/head",
    ];
    assert_eq!(texts, expected, "the query topics_30m is not known");
}

#[test]
fn what_is_deleted_or_cannot_be_read_is_not_found() {
    let plan = plan();
    let mut records: Vec<_> =
        published(&plan, 4, 5).into_iter().map(|partial| (FORMER, partial)).collect();
    let gone: Vec<_> = records
        .iter()
        .map(|(owner, partial)| (*owner, partial::Partial { value: None, ..partial.clone() }))
        .collect();
    let mut damaged = records.clone();
    damaged.iter_mut().for_each(|(_, partial)| partial.value = Some(vec![99, 1, 2]));
    records.extend(gone);
    assert_eq!(noted(&records), BTreeMap::new());
    assert_eq!(noted(&damaged), BTreeMap::new());
}
