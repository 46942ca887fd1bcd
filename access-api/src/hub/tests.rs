use std::collections::BTreeMap;

use common::protocol::Queries;
use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::test_api::{STREAM, cursor, hub, publish_at, top_n};

fn with_ring(frames: usize, bytes: usize) -> Config {
    Config { ring: RingLimits { frames, bytes }, ..Config::default() }
}

fn publish(hub: &Hub, seq: u64, query: &str) -> Published {
    crate::test_api::publish(hub, seq, &top_n(query, seq + 1))
}

fn seqs(batch: &Batch) -> Vec<u64> {
    batch.frames.iter().map(|(frame, _)| frame.cursor.seq).collect()
}

#[test]
fn a_version_that_goes_backwards_is_not_shown() {
    let (hub, _) = hub(&Config::default());
    let at = |seq, version| crate::test_api::publish(&hub, seq, &top_n("topics", version));
    assert_eq!(at(0, 5), Published::Shown);
    assert_eq!(at(1, 4), Published::Stale);
    assert_eq!(at(2, 5), Published::Unchanged);
    let mut revised = top_n("topics", 5);
    revised.late = 1;
    assert_eq!(crate::test_api::publish(&hub, 3, &revised), Published::Shown);
    assert_eq!(hub.newest("topics").unwrap().frame.cursor.seq, 3);
    // A dropped result is not a gap: a client that had everything up to 0 misses nothing.
    assert_eq!(hub.subscribe(Queries::All, Some(cursor(0))).outcome, Some(Resume::Resumed));
}

#[test]
fn another_stream_may_begin_at_any_version() {
    let (hub, _) = hub(&Config::default());
    publish(&hub, 7, "topics");
    let mut reader = hub.subscribe(Queries::All, None).reader;
    assert_eq!(seqs(&hub.take(&mut reader, usize::MAX)), [7]);
    hub.begin(StreamId(2), 0);
    hub.complete();
    assert!(hub.newest("topics").is_none());
    assert_eq!(publish(&hub, 0, "topics"), Published::Shown);
    let batch = hub.take(&mut reader, usize::MAX);
    let gap = batch.gap.unwrap();
    assert_eq!((gap.from, gap.skipped), (cursor(7), None));
    assert!(
        batch
            .frames
            .iter()
            .all(|(frame, as_snapshot)| *as_snapshot && frame.cursor.stream == StreamId(2))
    );
    assert_eq!(batch.frames.len(), 1);
}

#[test]
fn queries_beyond_the_limit_are_refused_and_those_there_go_on() {
    let mut config = Config::default();
    config.limits.queries = 2;
    let (hub, _) = hub(&config);
    let published: Vec<_> = ["a", "b", "c", "a"]
        .iter()
        .zip(0..)
        .map(|(query, seq)| publish(&hub, seq, query))
        .collect();
    assert_eq!(
        published,
        [Published::Shown, Published::Shown, Published::TooManyQueries, Published::Shown]
    );
}

#[test]
fn a_result_that_is_too_large_is_refused() {
    let mut config = Config::default();
    config.limits.result_bytes = 1000;
    let (hub, _) = hub(&config);
    let mut result = top_n("topics", 1);
    result.top[0].item = "x".repeat(3000);
    assert_eq!(crate::test_api::publish(&hub, 0, &result), Published::TooLarge);
    assert_eq!(hub.all().len(), 0);
}

#[test]
fn the_lag_is_from_the_receipt_of_the_newest_event_to_the_encoding() {
    let (hub, _) = hub(&Config::default());
    for (seq, ingested_ms, now_ms, lag) in [(0, 0, 500, 0), (1, 100, 500, 400), (2, 600, 500, 0)] {
        let mut result = top_n("topics", seq + 1);
        result.ingested_ms = ingested_ms;
        publish_at(&hub, seq, &result, now_ms);
        let text = hub.newest("topics").unwrap().frame.result();
        assert!(text.contains(&format!(r#""lag_ms":{lag},"#)), "{text}");
    }
}

#[test]
fn the_latency_is_that_of_the_first_result_with_a_newer_event_after_the_reading_of_old_ones() {
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let config = Config::default();
    let hub = Hub::new(config.ring, config.limits, metrics.clone());
    hub.begin(STREAM, 0);
    let publish = |seq, ingested_ms, now_ms| {
        let mut result = top_n("topics", seq + 1);
        result.ingested_ms = ingested_ms;
        assert_eq!(publish_at(&hub, seq, &result, now_ms), Published::Shown);
        let latency = &metrics.result_latency;
        (latency.get_sample_count(), (latency.get_sample_sum() * 1_000.0).round() as i64)
    };
    assert_eq!(publish(0, 1_000, 9_000), (0, 0), "it was there before this process");
    hub.complete();
    assert_eq!(publish(1, 9_000, 9_250), (1, 250));
    assert_eq!(publish(2, 9_000, 10_000), (1, 250), "it reflects more of older events");
    assert_eq!(publish(3, 11_000, 10_500), (2, 250), "the clock of the collector is ahead");
    assert_eq!(publish(4, 0, 11_000), (2, 250), "the analyzer does not say it");
}

#[test]
fn a_query_that_was_retired_is_gone_until_it_is_published_again() {
    let (hub, _) = hub(&Config::default());
    publish(&hub, 0, "topics");
    hub.retire(1, "topics");
    assert!(hub.newest("topics").is_none() && hub.all().is_empty());
    assert_eq!(hub.subscribe(["topics"].into_iter().collect(), None).unknown, ["topics"]);
    let mut reader = hub.subscribe(Queries::All, None).reader;
    assert_eq!(seqs(&hub.take(&mut reader, usize::MAX)), Vec::<u64>::new());
    publish(&hub, 2, "topics");
    let batch = hub.take(&mut reader, usize::MAX);
    assert_eq!((seqs(&batch), batch.skipped), (vec![2], 0));
}

#[test]
fn a_cursor_is_judged_by_what_is_left_after_it() {
    let (hub, _) = hub(&with_ring(3, 1 << 20));
    for seq in 0..6 {
        publish(&hub, seq, "topics");
    }
    let judge = |cursor| {
        let subscribed = hub.subscribe(Queries::All, Some(cursor));
        (subscribed.outcome.unwrap(), subscribed.gap)
    };
    assert_eq!(judge(cursor(5)), (Resume::Resumed, None));
    assert_eq!(judge(cursor(2)), (Resume::Resumed, None));
    let (outcome, gap) = judge(cursor(1));
    let gap = gap.unwrap();
    assert_eq!((outcome, gap.floor, gap.skipped), (Resume::TooOld, Some(cursor(2)), Some(3)));
    assert_eq!(judge(cursor(6)).0, Resume::Ahead);
    assert_eq!(judge(cursor(u64::MAX)).0, Resume::Ahead);
    let (outcome, gap) = judge(Cursor { stream: StreamId(9), seq: 4 });
    assert_eq!((outcome, gap.unwrap().skipped), (Resume::OtherStream, None));
}

#[test]
fn snapshots_that_do_not_fit_into_one_batch_come_in_the_order_of_their_cursors() {
    let (hub, _) = hub(&Config::default());
    for (seq, query) in ["c", "a", "b", "c"].iter().enumerate() {
        publish(&hub, seq as u64, query);
    }
    let mut reader = hub.subscribe(Queries::All, None).reader;
    assert_eq!(reader.cursor(), None);
    let mut given = Vec::new();
    for seq in 4.. {
        let batch = hub.take(&mut reader, 1);
        if batch.frames.is_empty() {
            break;
        }
        assert_eq!((batch.frames.len(), batch.skipped), (1, 0));
        given.extend(seqs(&batch));
        if seq == 4 {
            publish(&hub, 4, "a");
        }
    }
    assert_eq!(given, [1, 2, 3, 4]);
    assert_eq!(reader.cursor(), Some(cursor(4)));
}

/// A client of the property test, with its own account of what it was given and told.
struct Watcher {
    reader: Reader,
    wants: Vec<&'static str>,
    published: u64,
    given: u64,
    skipped: u64,
    last: Option<u64>,
    newest: BTreeMap<usize, u64>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Watcher {
    fn new(hub: &Hub, wants: &[&'static str], shown: usize) -> Self {
        let reader = hub.subscribe(wants.iter().copied().collect(), None).reader;
        let wants: Vec<_> = NAMES.into_iter().filter(|name| wants.contains(name)).collect();
        Self {
            reader,
            wants,
            published: shown as u64,
            given: 0,
            skipped: 0,
            last: None,
            newest: BTreeMap::new(),
        }
    }

    fn take(&mut self, hub: &Hub, budget: usize) -> usize {
        let batch = hub.take(&mut self.reader, budget);
        assert!(batch.gap.is_none());
        self.skipped += batch.skipped;
        self.given += batch.frames.len() as u64;
        for (frame, _) in &batch.frames {
            assert!(self.last < Some(frame.cursor.seq), "frames come in order");
            self.last = Some(frame.cursor.seq);
            self.newest.insert(frame.query, frame.cursor.seq);
        }
        batch.frames.len()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Nothing,
    Take(usize, usize),
    Conflate(usize),
    Rejoin(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NAMES.len()).prop_map(Step::Publish),
        1 => Just(Step::Nothing),
        3 => (0usize..4, prop_oneof![Just(1usize), Just(1000), Just(100_000)]).prop_map(|(who, budget)| Step::Take(who, budget)),
        1 => (0usize..4).prop_map(Step::Conflate),
        1 => (0usize..4).prop_map(Step::Rejoin),
    ]
}

proptest! {
    /// Goal: a client that has caught up has the newest results, and was told of every result that it was not given.
    #[test]
    fn after_any_schedule_a_client_has_the_newest_results_and_knows_how_many_were_skipped(
        steps in prop::collection::vec(step(), 0..300),
        frames in 1usize..12,
        bytes in 300usize..8_000,
    ) {
        let (hub, _) = hub(&with_ring(frames, bytes));
        let wants: [&[&'static str]; 4] = [&["a", "b", "c"], &["a"], &["b", "c"], &["c"]];
        let mut watchers: Vec<_> = wants.iter().map(|wants| Watcher::new(&hub, wants, 0)).collect();
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seq = 0;
        for step in steps {
            match step {
                Step::Publish(name) => {
                    let name = NAMES[name];
                    prop_assert_eq!(publish(&hub, seq, name), Published::Shown);
                    newest.insert(name, seq);
                    watchers.iter_mut().filter(|w| w.wants.contains(&name)).for_each(|w| w.published += 1);
                    seq += 1;
                }
                Step::Nothing => {
                    hub.pass(seq);
                    seq += 1;
                }
                Step::Take(who, budget) => {
                    watchers[who].take(&hub, budget);
                }
                Step::Conflate(who) => {
                    let watcher = &mut watchers[who];
                    watcher.skipped += hub.conflate(&mut watcher.reader);
                }
                // The connection breaks, and the client comes back with its cursor.
                Step::Rejoin(who) => {
                    let watcher = &mut watchers[who];
                    let subscribed = hub.subscribe(wants[who].iter().copied().collect(), watcher.reader.cursor());
                    if subscribed.outcome == Some(Resume::Resumed) && watcher.given + watcher.skipped == watcher.published {
                        watcher.reader = subscribed.reader;
                    } else {
                        // The account begins again: only what is shown now is due.
                        let shown = wants[who].iter().filter(|&name| newest.contains_key(name)).count();
                        *watcher = Watcher::new(&hub, wants[who], shown);
                    }
                }
            }
            let state = hub.read();
            prop_assert!(state.ring.from(0).count() <= frames);
            prop_assert!(state.ring.bytes() <= bytes as u64);
        }
        for watcher in &mut watchers {
            while watcher.take(&hub, 1000) > 0 {}
            prop_assert_eq!(watcher.given + watcher.skipped, watcher.published);
            prop_assert_eq!(hub.behind(&mut watcher.reader), Behind::default());
            let state = hub.read();
            for name in &watcher.wants {
                let index = state.indices.get(*name).copied();
                let has = index.and_then(|index| watcher.newest.get(&index)).copied();
                prop_assert_eq!(has, newest.get(name).copied());
            }
        }
    }

    #[test]
    fn a_resumed_client_gets_exactly_what_came_after_its_cursor(
        names in prop::collection::vec(0..NAMES.len(), 1..60),
        frames in 1usize..40,
        seen in 0u64..60,
        budget in 1usize..2_000,
    ) {
        let (hub, _) = hub(&with_ring(frames, 1 << 20));
        for (seq, &name) in names.iter().enumerate() {
            publish(&hub, seq as u64, NAMES[name]);
        }
        let subscribed = hub.subscribe(["a", "b"].into_iter().collect(), Some(cursor(seen)));
        let mut reader = subscribed.reader;
        let (mut given, mut snapshots) = (Vec::new(), 0);
        loop {
            let batch = hub.take(&mut reader, budget);
            prop_assert_eq!(batch.skipped, 0);
            if batch.frames.is_empty() {
                break;
            }
            snapshots += batch.frames.iter().filter(|(_, as_snapshot)| *as_snapshot).count();
            given.extend(seqs(&batch));
        }
        let total = names.len() as u64;
        let wanted = |from: u64| (from..total).filter(|&seq| names[seq as usize] < 2).collect::<Vec<_>>();
        if subscribed.outcome == Some(Resume::Resumed) {
            prop_assert!(seen < total && seen + 1 + frames as u64 >= total);
            prop_assert_eq!((given, snapshots), (wanted(seen + 1), 0));
        } else {
            prop_assert!(subscribed.gap.is_some());
            let last = |name| names.iter().rposition(|&n| n == name).map(|seq| seq as u64);
            let mut newest: Vec<u64> = [last(0), last(1)].into_iter().flatten().collect();
            newest.sort_unstable();
            prop_assert_eq!(snapshots, newest.len());
            prop_assert_eq!(given, newest);
        }
        prop_assert_eq!(STREAM, hub.read().stream);
    }
}
