use std::collections::BTreeSet;

use serde_json::json;

use super::counting::{MAX_GAPS, MAX_TIMESTAMP_MS};
use super::*;
use crate::core::dedupe::SLICE_IDS;
use crate::core::merge::Merge;
use crate::core::plan::Settings;
use crate::core::query::{Query, Window};

/// One running and one sliding query (30 s by 10 s) over the field `topics`.
fn plan(change: impl FnOnce(&mut Settings)) -> Arc<Plan> {
    let item: common::event::Pointer = "/topics/*".parse().unwrap();
    let mut queries = Query::defaults();
    queries.truncate(2);
    queries.iter_mut().for_each(|query| query.item = item.clone());
    queries[1].window = Window::Sliding { size_ms: 30_000, slide_ms: 10_000 };
    let mut settings = Settings::default();
    change(&mut settings);
    Arc::new(Plan::new(&queries, settings).unwrap())
}

struct Feed {
    tally: Tally,
    offset: i64,
}

impl Feed {
    fn new() -> Self {
        Self { tally: Tally::new(3, &plan(|_| {})), offset: 0 }
    }

    /// An event with an id of its own header, received at `timestamp_ms`.
    fn event(&mut self, id: &str, timestamp_ms: i64, payload: &str) -> Outcome {
        let record = Record {
            offset: self.offset,
            timestamp_ms,
            id: Some(id.as_bytes()),
            payload: payload.as_bytes(),
        };
        self.offset += 1;
        self.tally.apply(record)
    }

    fn at(&mut self, id: &str, received_ms: i64, time_ms: i64) -> Outcome {
        self.event(id, received_ms, &json!({ "mtime": time_ms, "topics": ["x"] }).to_string())
    }

    /// Replays what was read at `offset` before.
    fn replay(&mut self, offset: i64, id: &str, received_ms: i64, time_ms: i64) {
        let payload = json!({ "mtime": time_ms, "topics": ["x"] }).to_string();
        let (id, payload) = (Some(id.as_bytes()), payload.as_bytes());
        self.tally.replay(Record { offset, timestamp_ms: received_ms, id, payload });
    }

    fn keys(&mut self) -> Vec<String> {
        self.tally
            .emit()
            .map(|partial| {
                format!("{}{}", partial.key, if partial.value.is_none() { " gone" } else { "" })
            })
            .collect()
    }
}

#[test]
fn a_redelivered_event_counts_once() {
    let mut feed = Feed::new();
    assert_eq!(feed.at("1:yes", 100, 100), Outcome::Counted);
    assert_eq!(feed.at("1:yes", 200, 0), Outcome::Duplicate);
    assert_eq!(feed.at("1:no", 200, 100), Outcome::Counted);
    let progress = feed.tally.progress();
    assert_eq!((progress.events, progress.duplicates, progress.next_offset), (2, 1, 3));
}

#[test]
fn a_record_without_a_header_is_the_event_that_its_payload_says() {
    let mut feed = Feed::new();
    assert_eq!(feed.at("1525:yes", 100, 100), Outcome::Counted);
    let mut bare = |payload: &str| {
        feed.offset += 1;
        feed.tally.apply(Record {
            offset: feed.offset - 1,
            timestamp_ms: 0,
            id: None,
            payload: payload.as_bytes(),
        })
    };
    assert_eq!(bare(r#"{"rsvp_id":1525,"response":"yes"}"#), Outcome::Duplicate);
    assert_eq!(bare(r#"{"rsvp_id":1525,"response":"no"}"#), Outcome::Counted);
    assert_eq!(bare(r#"{"response":"no"}"#), Outcome::Undecodable(Reason::MissingId));
    assert_eq!(bare("nonsense"), Outcome::Undecodable(Reason::NotJson));
    assert_eq!(feed.tally.progress().undecodable, 2);
}

#[test]
fn an_undecodable_record_does_not_hide_a_whole_one_with_its_id() {
    let mut feed = Feed::new();
    assert_eq!(feed.event("1", 0, r#"{"topics":["x""#), Outcome::Undecodable(Reason::NotJson));
    assert_eq!(feed.event("1", 0, r#"{"topics":["x"]}"#), Outcome::Counted);
}

#[test]
fn a_record_that_is_reflected_already_changes_nothing() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    feed.at("2", 0, 0);
    drop(feed.keys());
    let before = feed.tally.snapshot().encode();
    let again = Record { offset: 1, timestamp_ms: 9, id: Some(b"9"), payload: b"{}" };
    assert_eq!(feed.tally.apply(again), Outcome::Replayed);
    assert_eq!(feed.tally.snapshot().encode(), before);
    assert_eq!(feed.keys(), Vec::<String>::new());
}

#[test]
fn changed_panes_come_before_the_head_and_tombstones_after_it() {
    let mut feed = Feed::new();
    feed.at("1", 1_000_000, 1_000_000);
    feed.at("2", 1_000_000, 985_000);
    assert_eq!(
        feed.keys(),
        [
            "topics/3/0",
            "topics/3/head",
            "topics_30m/3/980000",
            "topics_30m/3/1000000",
            "topics_30m/3/head"
        ]
    );
    assert_eq!(feed.keys(), Vec::<String>::new(), "nothing new");
    feed.at("3", 1_020_000, 1_015_000);
    let expected = [
        "topics/3/0",
        "topics/3/head",
        "topics_30m/3/1010000",
        "topics_30m/3/head",
        "topics_30m/3/980000 gone",
    ];
    assert_eq!(feed.keys(), expected);
    feed.at("3", 1_020_000, 1_015_000);
    assert_eq!(feed.keys(), ["topics/3/head", "topics_30m/3/head"], "a duplicate changes no pane");
}

#[test]
fn what_is_not_taken_from_an_emission_comes_with_the_next() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    let taken: Vec<String> =
        feed.tally.emit().take(3).map(|partial| partial.key.to_string()).collect();
    assert_eq!(taken, ["topics/3/0", "topics/3/head", "topics_30m/3/0"]);
    assert_eq!(feed.keys(), ["topics_30m/3/head"]);
}

#[test]
fn an_empty_tally_that_takes_over_says_that_it_is_there() {
    let mut feed = Feed::new();
    assert_eq!(feed.keys(), Vec::<String>::new());
    let keys: Vec<String> = feed.tally.emit_all().map(|partial| partial.key.to_string()).collect();
    assert_eq!(keys, ["topics/3/head", "topics_30m/3/head"]);
}

#[test]
fn an_event_from_the_future_is_counted_but_moves_no_window() {
    let mut feed = Feed::new();
    feed.at("1", 100_000, 160_000);
    assert_eq!(feed.tally.progress().future, 0, "a minute ahead is accepted");
    feed.at("2", 100_000, 160_001);
    feed.at("3", 100_000, 140_000);
    let progress = feed.tally.progress();
    assert_eq!((progress.future, progress.watermark_ms, progress.events), (1, Some(160_000), 3));
    assert_eq!(feed.tally.late(), 0);
}

#[test]
fn an_event_without_a_time_happened_when_it_was_received() {
    let mut feed = Feed::new();
    feed.event("1", 100_000, r#"{"topics":["x"]}"#);
    assert_eq!(feed.tally.progress().watermark_ms, Some(100_000));
}

#[test]
fn lost_offsets_are_told_and_counting_goes_on_after_them() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    feed.tally.record_gap(0, 9);
    feed.tally.record_gap(10, 11);
    feed.tally.record_gap(3, 4);
    assert_eq!(feed.tally.next_offset(), 12);
    assert_eq!(feed.tally.progress().gaps, [(1, 12)]);
    feed.offset = 12;
    assert_eq!(feed.at("2", 0, 0), Outcome::Counted);
    feed.offset = 40;
    assert_eq!(feed.at("3", 0, 0), Outcome::Counted, "an offset that jumps is no loss by itself");
    assert_eq!(feed.tally.progress().gaps, [(1, 12)]);
}

#[test]
fn the_list_of_gaps_is_bounded_and_covers_all_of_them() {
    let mut tally = Tally::new(0, &plan(|_| {}));
    (0..1_000).for_each(|n| tally.record_gap(10 * n + 5, 10 * n + 5));
    let gaps = &tally.progress().gaps;
    assert_eq!(gaps.len(), MAX_GAPS);
    assert_eq!((gaps[0], gaps[MAX_GAPS - 1].1), ((5, 6), 9_996));
}

#[test]
fn absurd_timestamps_are_survived() {
    let mut feed = Feed::new();
    for (id, received_ms) in [("1", i64::MIN), ("2", -1), ("3", i64::MAX)] {
        assert_eq!(feed.event(id, received_ms, r#"{"topics":["x"]}"#), Outcome::Counted);
    }
    for (id, time_ms) in
        [("4", i64::MIN), ("5", i64::MAX), ("6", -MAX_TIMESTAMP_MS), ("7", MAX_TIMESTAMP_MS)]
    {
        assert_eq!(feed.at(id, MAX_TIMESTAMP_MS, time_ms), Outcome::Counted);
    }
    assert_eq!(feed.tally.progress().events, 7);
}

#[test]
fn a_snapshot_that_knows_none_of_the_queries_is_refused() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    let restore = |plan: &Arc<Plan>| Tally::restore(plan, feed.tally.snapshot(), []).map(|_| ());
    assert_eq!(restore(&plan(|_| {})), Ok(()));
    let changed = Error::Changed { query: "topics".to_owned() };
    assert_eq!(restore(&plan(|settings| settings.capacity = 100)), Err(changed.clone()));
    let shipped = Arc::new(Plan::new(&Query::defaults(), Settings::default()).unwrap());
    assert_eq!(restore(&shipped), Err(changed));
}

#[test]
fn a_new_query_tells_what_the_log_has_lost_and_the_others_do_not() {
    let mut feed = Feed::new();
    assert!((0..10).all(|n| feed.at(&n.to_string(), n, n) == Outcome::Counted));
    let mut queries: Vec<Query> =
        plan(|_| {}).queries().iter().map(|planned| planned.query.clone()).collect();
    queries.push(Query { name: "new".to_owned(), ..queries[0].clone() });
    let more = Arc::new(Plan::new(&queries, Settings::default()).unwrap());
    feed.tally = Tally::restore(&more, feed.tally.snapshot(), []).unwrap();
    assert_eq!((feed.tally.next_offset(), feed.tally.replay_from()), (10, Some(0)));
    feed.tally.record_gap(0, 3);
    assert_eq!((feed.tally.next_offset(), feed.tally.replay_from()), (10, Some(4)));
    // The others go on meanwhile.
    assert_eq!(feed.at("10", 10, 10), Outcome::Counted);
    for n in 4..11 {
        feed.replay(n, &n.to_string(), n, n);
    }
    assert_eq!(feed.tally.replay_from(), None);
    assert_eq!(feed.at("11", 11, 11), Outcome::Counted);
    assert_eq!(feed.tally.next_offset(), 12);
    feed.tally = Tally::restore(&more, feed.tally.snapshot(), []).unwrap();
    let (mut gaps, mut totals) = (Vec::new(), Vec::new());
    for planned in more.queries() {
        let mut merge = Merge::new(planned);
        for partial in
            feed.tally.emit_all().filter(|partial| partial.key.query == planned.query.name)
        {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
        gaps.push(merge.result().gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>());
        totals.push(merge.result().total);
    }
    assert_eq!(gaps, [vec![], vec![], vec![(0, 4)]]);
    assert_eq!(totals, [12, 12, 8]);
}

#[test]
fn a_snapshot_with_sealed_slices_goes_on_from_its_bytes() {
    let mut feed = Feed::new();
    let events = 2 * SLICE_IDS as i64 + 1_000;
    for n in 0..events {
        assert_eq!(feed.at(&n.to_string(), n, n), Outcome::Counted);
    }
    let bytes = feed.tally.snapshot().encode();
    let snapshot = Snapshot::decode(&bytes).unwrap();
    assert_eq!((snapshot.partition(), snapshot.next_offset()), (3, events));
    let stored: Vec<(_, Vec<u8>)> =
        feed.tally.slices().map(|slice| (slice.name(), slice.encode())).collect();
    assert_eq!(
        snapshot.slices().collect::<Vec<_>>(),
        stored.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    let read = || stored.iter().map(|(name, bytes)| Slice::decode(*name, bytes).unwrap());
    let missing = Tally::restore(&plan(|_| {}), snapshot.clone(), read().skip(1)).map(|_| ());
    assert_eq!(missing, Err(Error::MissingSlice(stored[0].0)));
    feed.tally = Tally::restore(&plan(|_| {}), snapshot, read()).unwrap();
    assert_eq!(feed.tally.snapshot().encode(), bytes);
    for n in [0, SLICE_IDS as i64, events - 1] {
        assert_eq!(feed.at(&n.to_string(), n, n), Outcome::Duplicate);
    }
}

#[test]
fn a_snapshot_that_is_damaged_or_foreign_is_refused() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    let mut bytes = feed.tally.snapshot().encode();
    assert!(matches!(Snapshot::decode(&bytes[..bytes.len() / 2]), Err(Error::Unreadable(_))));
    assert!(matches!(Snapshot::decode(&[]), Err(Error::Unreadable(_))));
    bytes[0] = 77;
    let refused = Snapshot::decode(&bytes).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("version 77"), "{refused}");
}

#[test]
fn tombstones_that_were_not_written_survive_a_snapshot() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    feed.at("2", 100_000, 100_000);
    let mut restored = Tally::restore(&plan(|_| {}), feed.tally.snapshot(), []).unwrap();
    let gone: BTreeSet<String> = restored
        .emit_all()
        .filter(|partial| partial.value.is_none())
        .map(|partial| partial.key.to_string())
        .collect();
    assert_eq!(gone, BTreeSet::from(["topics_30m/3/0".to_owned()]));
}
