use std::collections::BTreeSet;
use std::time::Duration;

use common::event::Id;
use common::event::Reason;
use proptest::prelude::*;
use serde_json::json;

use super::counting::MAX_GAPS;
use super::stored::Stored;
use super::*;
use crate::core::dedupe::SLICE_IDS;
use crate::core::merge::Merge;
use crate::core::plan::{Planned, Settings};
use crate::core::query::{Query, Sliding, Window};
use crate::core::watermark::EARLY;
use common::result::TopN;

mod control;

/// When the feed of these tests begins, on a boundary of slides.
const START_MS: i64 = 1_425_772_800_000;
const DAY_MS: i64 = 86_400_000;

/// One running and one sliding query (30 s by 10 s) over the field `topics` of events with an `id`. A time
/// more than a minute ahead is a jump.
fn plan(change: impl FnOnce(&mut Settings)) -> Arc<Plan> {
    let item: common::event::Pointer = "/topics/*".parse().unwrap();
    let mut queries = Query::defaults();
    queries.truncate(2);
    queries.iter_mut().for_each(|query| query.item = item.clone());
    let seconds = Duration::from_secs;
    queries[1].window = Window::Sliding(Sliding::new(seconds(30), seconds(10)));
    let mut settings = Settings::default();
    settings.schema.id = Id::Fields(vec!["/id".parse().unwrap()]);
    (settings.schema.max_jump, settings.schema.max_future) = (seconds(60), seconds(60));
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

    /// A record with the key `key`, received `received_ms` after the start.
    fn record(&mut self, key: &str, received_ms: i64, payload: &str) -> Outcome {
        let (key, payload) = (Some(key.as_bytes()), payload.as_bytes());
        let timestamp_ms = START_MS.saturating_add(received_ms);
        let record = Record { offset: self.offset, timestamp_ms, key, payload };
        self.offset += 1;
        self.tally.apply(record)
    }

    /// An event of the time `time_ms` after the start.
    fn at(&mut self, id: &str, received_ms: i64, time_ms: i64) -> Outcome {
        self.record(id, received_ms, &event(id, time_ms))
    }

    /// Replays what was read at `offset` before.
    fn replay(&mut self, offset: i64, id: &str, received_ms: i64, time_ms: i64) {
        let payload = event(id, time_ms);
        let (key, payload) = (Some(id.as_bytes()), payload.as_bytes());
        self.tally.replay(Record { offset, timestamp_ms: START_MS + received_ms, key, payload });
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

fn event(id: &str, time_ms: i64) -> String {
    json!({ "id": id, "mtime": START_MS.saturating_add(time_ms), "topics": ["x"] }).to_string()
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
fn an_event_is_known_by_its_payload_and_a_key_that_is_not_its_own_is_counted() {
    let mut feed = Feed::new();
    assert_eq!(feed.record("1", 0, r#"{"id":1}"#), Outcome::Counted);
    assert_eq!(feed.record("1", 0, r#"{"id":"1"}"#), Outcome::Duplicate, "the same text");
    assert_eq!(feed.tally.progress().key_mismatches, 0);
    assert_eq!(feed.record("2", 0, r#"{"id":1}"#), Outcome::Duplicate);
    assert_eq!(feed.record("7", 0, r#"{"id":8}"#), Outcome::Counted);
    assert_eq!(feed.tally.progress().key_mismatches, 2);
    let bare = Record { offset: 4, timestamp_ms: 0, key: None, payload: br#"{"id":9}"# };
    assert_eq!(feed.tally.apply(bare), Outcome::Counted);
    assert_eq!(feed.tally.progress().key_mismatches, 3);
}

#[test]
fn a_record_that_is_no_event_is_counted_with_the_reason_that_the_collector_would_give() {
    let mut feed = Feed::new();
    for (payload, reason) in [
        (r#"{"topics":["x"]}"#, Reason::MissingId),
        (r#"{"id":1.5}"#, Reason::BadId),
        (r#"{"id":1,"id":1}"#, Reason::DuplicateKey),
        ("nonsense", Reason::NotJson),
        ("[1]", Reason::NotObject),
        ("", Reason::Empty),
    ] {
        assert_eq!(feed.record("1", 0, payload), Outcome::Undecodable(reason), "{payload}");
    }
    assert_eq!((feed.tally.progress().undecodable, feed.tally.progress().events), (6, 0));
    assert_eq!(feed.at("1", 0, 0), Outcome::Counted, "its id is not taken");
}

#[test]
fn without_an_id_every_record_counts_and_by_payload_every_different_one() {
    for (id, second) in [(Id::None, Outcome::Counted), (Id::Payload, Outcome::Duplicate)] {
        let mut feed = Feed::new();
        feed.tally = Tally::new(3, &plan(|settings| settings.schema.id = id.clone()));
        assert_eq!(feed.at("1", 0, 0), Outcome::Counted);
        assert_eq!(feed.at("1", 0, 0), second, "{id:?}");
        assert_eq!(feed.at("1", 0, 1), Outcome::Counted);
    }
}

#[test]
fn a_record_that_is_reflected_already_changes_nothing() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    feed.at("2", 0, 0);
    drop(feed.keys());
    let before = feed.tally.snapshot().encode();
    let again = Record { offset: 1, timestamp_ms: 9, key: Some(b"9"), payload: br#"{"id":9}"# };
    assert_eq!(feed.tally.apply(again), Outcome::Replayed);
    assert_eq!(feed.tally.snapshot().encode(), before);
    assert_eq!(feed.keys(), Vec::<String>::new());
}

#[test]
fn changed_panes_come_before_the_head_and_tombstones_after_it() {
    let mut feed = Feed::new();
    for (id, time_ms) in [("1", 30_000), ("2", 15_000), ("3", 29_000), ("4", 31_000)] {
        feed.at(id, 30_000, time_ms);
    }
    let pane = |time_ms: i64| format!("topics_30m/3/{}", START_MS + time_ms);
    let head = "topics_30m/3/head".to_owned();
    let running = ["topics/3/0".to_owned(), "topics/3/head".to_owned()];
    let expected = [pane(10_000), pane(20_000), pane(30_000), head.clone()];
    assert_eq!(feed.keys(), [&running[..], &expected].concat());
    assert_eq!(feed.keys(), Vec::<String>::new(), "nothing new");
    feed.at("5", 45_000, 45_000);
    let expected = [pane(40_000), head.clone(), format!("{} gone", pane(10_000))];
    assert_eq!(feed.keys(), [&running[..], &expected].concat());
    feed.at("5", 45_000, 45_000);
    assert_eq!(feed.keys(), ["topics/3/head".to_owned(), head], "a duplicate changes no pane");
}

#[test]
fn what_is_not_taken_from_an_emission_comes_with_the_next() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    let taken: Vec<String> =
        feed.tally.emit().take(3).map(|partial| partial.key.to_string()).collect();
    assert_eq!(taken, ["topics/3/0", "topics/3/head", "topics_30m/3/1425772800000"]);
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
fn an_event_too_far_beyond_its_record_gets_no_window_and_one_that_jumps_waits() {
    let mut feed = Feed::new();
    for n in 0..4 {
        feed.at(&n.to_string(), 0, n);
    }
    feed.at("a", 100_000, 160_001);
    let progress = feed.tally.progress();
    assert_eq!(
        (progress.future, progress.waiting),
        (1, 0),
        "beyond its record by a minute and more"
    );
    feed.at("b", 100_000, 100_000);
    let progress = feed.tally.progress();
    assert_eq!(
        (progress.future, progress.waiting),
        (1, 1),
        "beyond the watermark by more than a minute"
    );
    assert_eq!((progress.watermark_ms, progress.events), (Some(START_MS + 3), 6));
    for n in 0..3 {
        feed.at(&format!("c{n}"), 100_000, 100_001);
    }
    let progress = feed.tally.progress();
    assert_eq!((progress.future, progress.waiting), (1, 0));
    assert_eq!(progress.watermark_ms, Some(START_MS + 100_001));
    assert_eq!(results(&mut feed.tally)[1].total, 4, "those of the last 30 seconds");
}

#[test]
fn a_redelivered_event_confirms_no_time() {
    let mut feed = Feed::new();
    for n in 0..4 {
        feed.at(&n.to_string(), 0, n);
    }
    for _ in 0..10 {
        feed.at("far", 3_600_000, 3_600_000);
    }
    let progress = feed.tally.progress();
    assert_eq!((progress.waiting, progress.watermark_ms), (1, Some(START_MS + 3)));
}

#[test]
fn an_event_without_a_readable_time_moves_nothing_and_is_in_no_window_but_the_running_ones() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    for (id, time) in [("2", "null"), ("3", "\"2015-03-08\""), ("4", "1e300"), ("5", "{}")] {
        let payload = format!(r#"{{"id":"{id}","mtime":{time},"topics":["x"]}}"#);
        feed.record(id, 50_000, &payload);
    }
    feed.record("6", 50_000, r#"{"id":"6","topics":["x"]}"#);
    let progress = feed.tally.progress();
    assert_eq!((progress.untimed, progress.watermark_ms), (5, Some(START_MS)));
    let results = results(&mut feed.tally);
    assert_eq!((results[0].total, results[1].total, results[1].untimed), (6, 1, 5));
    let mut notices = Notices::default();
    feed.tally.tell(&mut notices);
    let told = notices.take(&plan(|_| {}));
    assert!(told[0].to_string().starts_with("5 events have no time"), "{told:?}");
}

#[test]
fn a_record_timestamp_that_is_none_or_absurd_decides_nothing() {
    let mut feed = Feed::new();
    for (id, timestamp_ms) in
        [("a", -1), ("b", 0), ("c", i64::MAX), ("d", START_MS * 1_000), ("e", 1_425_772_800)]
    {
        let received_ms = timestamp_ms - START_MS;
        assert_eq!(feed.at(id, received_ms, 0), Outcome::Counted);
    }
    let progress = feed.tally.progress();
    assert_eq!(
        (progress.future, progress.ingested_ms, progress.watermark_ms),
        (0, None, Some(START_MS))
    );
    for n in 0..4 {
        feed.at(&n.to_string(), n, n);
    }
    // Believable, and yet ten years ahead.
    feed.at("5", 3_650 * DAY_MS, 5);
    let progress = feed.tally.progress();
    assert_eq!((progress.recorded_ms, progress.future), (Some(START_MS + 3), 0));
}

/// What each query says, of this partition alone.
fn results(tally: &mut Tally) -> Vec<TopN> {
    let plan = Arc::clone(tally.counting.plan());
    let partials: Vec<Partial> = tally.emit_all().collect();
    let result = |planned: &Planned| {
        let mut merge = Merge::new(planned);
        for partial in partials.iter().filter(|partial| partial.key.query == planned.query.name) {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
        merge.result()
    };
    plan.queries().iter().map(result).collect()
}

/// Mentions of a window that ends after `watermark_ms`, by the event times alone.
fn truth(times: impl Iterator<Item = i64>, watermark_ms: i64) -> u64 {
    let end_ms = (watermark_ms.div_euclid(10_000) + 1) * 10_000;
    times.filter(|time_ms| (end_ms - 30_000..end_ms).contains(time_ms)).count() as u64
}

proptest! {
    #[test]
    fn windows_are_an_oracles_whatever_single_events_have_wrong_times(
        steps in prop::collection::vec((0..5_000_i64, prop_oneof![4 => 0..2_000_i64, 1 => 0..50_000_i64]), 10..80),
        wrong in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(vec![DAY_MS, 365 * DAY_MS, -DAY_MS, -365 * DAY_MS]), 1..10_usize),
            0..3,
        ),
        is_live in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        // A recording is received long after it happened.
        let delay_ms = if is_live { 0 } else { 4_000 * DAY_MS };
        let mut now_ms = 0;
        let mut feed: Vec<(String, i64, i64, bool)> = Vec::new();
        for (n, (step_ms, age_ms)) in steps.iter().enumerate() {
            now_ms += step_ms;
            feed.push((format!("right {n}"), now_ms + delay_ms, now_ms - age_ms, true));
        }
        for (n, (place, error_ms, copies)) in wrong.iter().enumerate() {
            // Not among the first: a stream of which nothing is known follows its lowest event.
            let place = 8 + place.index(feed.len() - 7);
            let (_, received_ms, time_ms, _) = feed[..place].iter().rfind(|event| event.3).unwrap();
            let (received_ms, time_ms) = (*received_ms, time_ms + error_ms);
            let copy = (format!("wrong {n}"), received_ms, time_ms, false);
            feed.splice(place..place, std::iter::repeat_n(copy, *copies));
        }
        let mut tally = Tally::new(3, &plan(|settings| settings.schema.max_jump = Duration::from_secs(120)));
        let (mut newest_ms, mut late) = (i64::MIN, BTreeSet::new());
        for (offset, (id, received_ms, time_ms, is_right)) in feed.iter().enumerate() {
            let payload = event(id, *time_ms);
            let timestamp_ms = START_MS + received_ms;
            let record = Record { offset: offset as i64, timestamp_ms, key: Some(id.as_bytes()), payload: payload.as_bytes() };
            tally.apply(record);
            if *is_right {
                newest_ms = newest_ms.max(*time_ms);
            }
            let start_ms = (newest_ms.div_euclid(10_000) - 2) * 10_000;
            if offset >= EARLY && *time_ms < start_ms {
                late.insert(id);
            }
            if offset == cut.index(feed.len()) {
                // Another owner goes on from what was stored.
                let plan = Arc::clone(tally.counting.plan());
                tally = Stored::of(&tally).restore(&plan).unwrap();
            }
        }
        prop_assert_eq!(tally.progress().watermark_ms, Some(START_MS + newest_ms));
        let results = results(&mut tally);
        let right = feed.iter().filter(|(.., is_right)| *is_right).map(|(_, _, time_ms, _)| *time_ms);
        prop_assert_eq!(results[1].total, truth(right, newest_ms));
        prop_assert_eq!(results[1].late, late.len() as u64);
        let ahead: BTreeSet<&String> = feed.iter().filter(|event| event.2 > now_ms).map(|event| &event.0).collect();
        prop_assert_eq!(results[1].future, ahead.len() as u64);
        let ids: BTreeSet<&String> = feed.iter().map(|event| &event.0).collect();
        prop_assert_eq!(results[0].total, ids.len() as u64, "a running window counts them all");
    }
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
fn absurd_times_are_survived() {
    let mut feed = Feed::new();
    for (id, time_ms) in
        [("1", i64::MIN), ("2", i64::MAX), ("3", -(1 << 53)), ("4", 1 << 53), ("5", -START_MS)]
    {
        assert_eq!(feed.at(id, i64::MAX - START_MS, time_ms), Outcome::Counted);
        assert_eq!(feed.at(&format!("{id} again"), 0, time_ms), Outcome::Counted);
    }
    assert_eq!(feed.tally.progress().events, 10);
    drop(results(&mut feed.tally));
}

#[test]
fn a_snapshot_that_knows_none_of_the_queries_begins_nothing() {
    let mut feed = Feed::new();
    feed.at("1", 0, 0);
    let stored = Stored::of(&feed.tally);
    let goes_on_at = |plan: &Arc<Plan>| stored.restore(plan).unwrap().next_offset();
    assert_eq!(goes_on_at(&plan(|_| {})), 1);
    assert_eq!(
        goes_on_at(&plan(|settings| settings.capacity = 100)),
        0,
        "from the log's beginning"
    );
    let shipped = Arc::new(Plan::new(&Query::defaults(), Settings::default()).unwrap());
    assert_eq!(goes_on_at(&shipped), 0);
}

#[test]
fn a_new_query_tells_what_the_log_has_lost_and_the_others_do_not() {
    let mut feed = Feed::new();
    assert!((0..10).all(|n| feed.at(&n.to_string(), n, n) == Outcome::Counted));
    let mut queries: Vec<Query> =
        plan(|_| {}).queries().iter().map(|planned| planned.query.clone()).collect();
    queries.push(Query { name: "new".to_owned(), ..queries[0].clone() });
    let more = Arc::new(Plan::new(&queries, plan(|_| {}).settings().clone()).unwrap());
    feed.tally = Stored::of(&feed.tally).restore(&more).unwrap();
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
    feed.tally = Stored::of(&feed.tally).restore(&more).unwrap();
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
    let stored: Vec<Block> = feed.tally.blocks().cloned().collect();
    assert!(snapshot.blocks().eq(stored.iter().map(Block::name)));
    let restore = |blocks: &[Block]| {
        let blocks = blocks.iter().cloned().collect();
        Stored { snapshot: bytes.clone(), blocks }.restore(&plan(|_| {}))
    };
    let missing = restore(&stored[1..]).map(|_| ());
    assert_eq!(missing, Err(Error::MissingBlock(stored[0].name())));
    feed.tally = restore(&stored).unwrap();
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
    for n in 0..4 {
        feed.at(&n.to_string(), 0, n);
    }
    feed.at("5", 50_000, 50_000);
    let mut restored = Stored::of(&feed.tally).restore(&plan(|_| {})).unwrap();
    let gone: BTreeSet<String> = restored
        .emit_all()
        .filter(|partial| partial.value.is_none())
        .map(|partial| partial.key.to_string())
        .collect();
    assert_eq!(gone, BTreeSet::from([format!("topics_30m/3/{START_MS}")]));
}
