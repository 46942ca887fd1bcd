//! The whole core: records, tallies, partials, merge, against a computation over all events at once.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;
use crate::partial::Partial;
use crate::plan::{Plan, Settings};
use crate::query::Query;
use crate::snapshot::Snapshot;
use crate::tally::{Outcome, Record, Tally};

const PARTITIONS: usize = 4;
const SIZE_MS: i64 = 30_000;
const SLIDE_MS: i64 = 5_000;
const MAX_FUTURE_MS: i64 = 60_000;

fn plan(capacity: usize) -> Arc<Plan> {
    let mut queries = Query::defaults();
    queries[1].window = Window::Sliding { size_ms: SIZE_MS as u64, slide_ms: SLIDE_MS as u64 };
    queries.iter_mut().for_each(|query| query.n = capacity.min(50));
    Arc::new(Plan::new(&queries, Settings { capacity, ..Settings::default() }).unwrap())
}

/// An event as a feed delivers it.
#[derive(Debug, Clone)]
struct Rsvp {
    id: u32,
    yes: bool,
    /// When it happened, before (or, below 0, after) it was received.
    age_ms: Option<i64>,
    topics: Vec<u8>,
    has_header: bool,
    received_ms: i64,
}

impl Rsvp {
    fn event_id(&self) -> String {
        format!("{}:{}", self.id, if self.yes { "yes" } else { "no" })
    }

    fn partition(&self) -> usize {
        self.id as usize % PARTITIONS
    }

    fn topics(&self) -> impl Iterator<Item = String> + '_ {
        self.topics.iter().map(|topic| format!("topic {topic}"))
    }

    fn time_ms(&self) -> i64 {
        self.received_ms - self.age_ms.unwrap_or(0)
    }

    fn is_future(&self) -> bool {
        self.time_ms() > self.received_ms + MAX_FUTURE_MS
    }

    fn payload(&self) -> Vec<u8> {
        let topics: Vec<_> = self.topics().map(|topic| json!({ "topic_name": topic })).collect();
        let group = json!({ "group_topics": topics, "group_country": "de" });
        let response = if self.yes { "yes" } else { "no" };
        let mut rsvp = json!({ "rsvp_id": self.id, "response": response, "group": group });
        if self.age_ms.is_some() {
            rsvp["mtime"] = json!(self.time_ms());
        }
        rsvp.to_string().into_bytes()
    }
}

fn rsvps() -> impl Strategy<Value = Vec<Rsvp>> {
    let age = prop_oneof![8 => 0..4_000_i64, 3 => 0..SIZE_MS, 1 => 0..200_000_i64, 1 => -MAX_FUTURE_MS - 3..0];
    let topics = prop::collection::vec(prop_oneof![0..4_u8, 0..40_u8], 0..5);
    let rsvp = (
        0..60_u32,
        any::<bool>(),
        prop::option::weighted(0.9, age),
        topics,
        any::<bool>(),
        0..800_i64,
    );
    prop::collection::vec(rsvp, 0..150).prop_map(|rsvps| {
        let mut received_ms = 1_425_772_800_000;
        let receive = |(id, yes, age_ms, topics, has_header, pause_ms)| {
            received_ms += pause_ms;
            Rsvp { id, yes, age_ms, topics, has_header, received_ms }
        };
        rsvps.into_iter().map(receive).collect()
    })
}

fn apply(tally: &mut Tally, offset: usize, rsvp: &Rsvp) -> Outcome {
    let (id, payload) = (rsvp.event_id(), rsvp.payload());
    let id = rsvp.has_header.then_some(id.as_bytes());
    tally.apply(Record {
        offset: offset as i64,
        timestamp_ms: rsvp.received_ms,
        id,
        payload: &payload,
    })
}

/// Applies what the tally does not reflect yet.
fn catch_up(tally: &mut Tally, log: &[Rsvp]) {
    let from = tally.next_offset() as usize;
    for (offset, rsvp) in log.iter().enumerate().skip(from) {
        apply(tally, offset, rsvp);
    }
}

/// The partitions' logs.
fn logs(rsvps: &[Rsvp]) -> Vec<Vec<Rsvp>> {
    let mut logs = vec![Vec::new(); PARTITIONS];
    rsvps.iter().for_each(|rsvp| logs[rsvp.partition()].push(rsvp.clone()));
    logs
}

/// What each query must say, from all distinct events at once.
struct Batch {
    events: Vec<Rsvp>,
    window: (i64, i64),
    late: u64,
}

impl Batch {
    fn new(rsvps: &[Rsvp]) -> Self {
        let mut seen = HashSet::new();
        let events: Vec<Rsvp> =
            rsvps.iter().filter(|rsvp| seen.insert(rsvp.event_id())).cloned().collect();
        let newest = events.iter().filter(|rsvp| !rsvp.is_future()).map(Rsvp::time_ms).max();
        let end = newest.map_or(0, |newest| newest - newest.rem_euclid(SLIDE_MS) + SLIDE_MS);
        let mut newest = [i64::MIN; PARTITIONS];
        let mut late = 0;
        for rsvp in events.iter().filter(|rsvp| !rsvp.is_future()) {
            let newest = &mut newest[rsvp.partition()];
            *newest = rsvp.time_ms().max(*newest);
            let end = *newest - newest.rem_euclid(SLIDE_MS) + SLIDE_MS;
            late += u64::from(rsvp.time_ms() < end - SIZE_MS && !rsvp.topics.is_empty());
        }
        Self { events, window: (end - SIZE_MS, end), late }
    }

    fn counts(&self, query: &str) -> BTreeMap<String, u64> {
        let (start, end) = self.window;
        let mut counts = BTreeMap::new();
        for rsvp in &self.events {
            let items: Vec<String> = match query {
                "countries" => vec!["de".to_owned()],
                "topics_30m" if rsvp.is_future() || !(start..end).contains(&rsvp.time_ms()) => {
                    Vec::new()
                }
                _ => rsvp.topics().collect(),
            };
            items.into_iter().for_each(|item| *counts.entry(item).or_default() += 1);
        }
        counts
    }

    fn check(&self, rsvps: &[Rsvp], result: &TopN, capacity: usize) -> Result<(), TestCaseError> {
        let counts = self.counts(&result.query);
        let total: u64 = counts.values().sum();
        prop_assert_eq!(result.total, total);
        prop_assert_eq!(result.events, self.events.len() as u64);
        prop_assert_eq!(result.duplicates, (rsvps.len() - self.events.len()) as u64);
        prop_assert_eq!(
            result.future,
            self.events.iter().filter(|rsvp| rsvp.is_future()).count() as u64
        );
        prop_assert_eq!(result.version, rsvps.len() as u64);
        if result.query == "topics_30m" {
            prop_assert_eq!(result.late, self.late);
            let (start_ms, end_ms) = self.window;
            prop_assert_eq!(
                result.window,
                top_n::Window::Sliding { size_ms: SIZE_MS, slide_ms: SLIDE_MS, start_ms, end_ms }
            );
        }
        for ranked in &result.top {
            let truth = counts.get(&ranked.item).copied().unwrap_or(0);
            prop_assert!(
                ranked.count - ranked.error <= truth && truth <= ranked.count,
                "{ranked:?}, in truth {truth}"
            );
            prop_assert!(ranked.error <= total / capacity as u64);
        }
        if counts.len() <= capacity {
            let mut expected: Vec<(String, u64)> = counts.into_iter().collect();
            expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            prop_assert_eq!((result.distinct, result.distinct_error), (expected.len() as u64, 0.0));
            expected.truncate(50.min(capacity));
            let top: Vec<(String, u64)> =
                result.top.iter().map(|ranked| (ranked.item.clone(), ranked.count)).collect();
            prop_assert_eq!(top, expected);
        }
        Ok(())
    }
}

/// Counts without an accident and emits once, at the end.
fn straight(plan: &Arc<Plan>, rsvps: &[Rsvp]) -> Vec<Partial> {
    let count = |(partition, log): (usize, &Vec<Rsvp>)| {
        let mut tally = Tally::new(partition as i32, plan);
        log.iter().enumerate().for_each(|(offset, rsvp)| {
            assert_ne!(apply(&mut tally, offset, rsvp), Outcome::Replayed)
        });
        tally.emit_all().collect::<Vec<_>>()
    };
    logs(rsvps).iter().enumerate().flat_map(count).collect()
}

fn merged(plan: &Plan, partials: &[Partial]) -> Vec<TopN> {
    let merge = |planned| {
        let mut merge = Merge::new(planned);
        for partial in partials.iter().filter(|partial| partial.key.query == planned.query.name) {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
        let result = merge.result();
        assert_eq!(result.version, merge.version());
        result
    };
    plan.queries().iter().map(merge).collect()
}

/// What happens to an owner of a partition.
#[derive(Debug, Clone, Copy)]
enum Accident {
    Emit,
    EmitHalf,
    Snapshot,
    /// The process dies; another goes on from the newest snapshot.
    Crash,
    /// Another takes the partition over while the first one still runs and writes.
    Zombie,
}

fn accidents() -> impl Strategy<Value = Vec<(Index, Accident)>> {
    use Accident::{Crash, Emit, EmitHalf, Snapshot, Zombie};
    let accident = prop_oneof![4 => Just(Emit), 1 => Just(EmitHalf), 2 => Just(Snapshot), 2 => Just(Crash), 1 => Just(Zombie)];
    prop::collection::vec((any::<Index>(), accident), 0..30)
}

/// Counts a log with accidents; returns everything that was ever written, in order.
fn troubled(
    plan: &Arc<Plan>,
    partition: i32,
    log: &[Rsvp],
    accidents: &[(Index, Accident)],
) -> Vec<Partial> {
    let restore = |stored: &Option<Vec<u8>>| match stored {
        Some(bytes) => Tally::restore(plan, Snapshot::decode(bytes).unwrap(), []).unwrap(),
        None => Tally::new(partition, plan),
    };
    let mut tally = Tally::new(partition, plan);
    let mut zombie: Option<Tally> = None;
    let (mut written, mut stored) = (Vec::new(), None);
    let mut plans: Vec<(usize, Accident)> =
        accidents.iter().map(|(at, what)| (at.index(log.len() + 1), *what)).collect();
    plans.sort_by_key(|(at, _)| *at);
    for (at, accident) in plans {
        for owner in [Some(&mut tally), zombie.as_mut()].into_iter().flatten() {
            catch_up(owner, &log[..at]);
        }
        match accident {
            Accident::Emit => written.extend(tally.emit()),
            Accident::EmitHalf => written.extend(tally.emit().take(3)),
            Accident::Snapshot => stored = Some(tally.snapshot().encode()),
            Accident::Crash => {
                tally = restore(&stored);
                written.extend(tally.emit_all());
            }
            Accident::Zombie => {
                let successor = restore(&stored);
                zombie = Some(std::mem::replace(&mut tally, successor));
                written.extend(tally.emit_all());
            }
        }
        written.extend(zombie.iter_mut().flat_map(|zombie| zombie.emit().collect::<Vec<_>>()));
    }
    catch_up(&mut tally, log);
    written.extend(tally.emit());
    written
}

proptest! {
    #[test]
    fn results_are_those_of_a_batch_over_the_distinct_events(rsvps in rsvps(), capacity in prop_oneof![Just(1_000_usize), 1..20_usize]) {
        let plan = plan(capacity);
        let batch = Batch::new(&rsvps);
        for result in merged(&plan, &straight(&plan, &rsvps)) {
            batch.check(&rsvps, &result, capacity)?;
        }
    }

    #[test]
    fn crashes_replays_zombies_and_half_written_emissions_change_nothing(
        rsvps in rsvps(),
        accidents in prop::collection::vec(accidents(), PARTITIONS),
        capacity in prop_oneof![Just(1_000_usize), 1..20_usize],
    ) {
        let plan = plan(capacity);
        let logs = logs(&rsvps);
        let written: Vec<Partial> = (0..PARTITIONS)
            .flat_map(|at| troubled(&plan, at as i32, &logs[at], &accidents[at]))
            .chain((0..PARTITIONS).flat_map(|at| Tally::new(at as i32, &plan).emit_all().collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(merged(&plan, &written), merged(&plan, &straight(&plan, &rsvps)));
    }

    #[test]
    fn the_order_of_partials_and_their_repetition_change_nothing(
        rsvps in rsvps(),
        accidents in prop::collection::vec(accidents(), PARTITIONS),
        order in any::<u64>(),
        extra in prop::collection::vec(any::<Index>(), 0..40),
        looks in prop::collection::vec(any::<Index>(), 0..5),
        capacity in prop_oneof![Just(1_000_usize), 1..20_usize],
    ) {
        let plan = plan(capacity);
        let logs = logs(&rsvps);
        let written: Vec<Partial> = (0..PARTITIONS).flat_map(|at| troubled(&plan, at as i32, &logs[at], &accidents[at])).collect();
        let mut delivered = written.clone();
        if !written.is_empty() {
            delivered.extend(extra.iter().map(|at| at.get(&written).clone()));
        }
        delivered.sort_by_key(|partial| {
            let text = format!("{order} {} {:?}", partial.key, partial.value.as_deref().map(crate::hash::hash));
            crate::hash::hash(text.as_bytes())
        });
        let last = &plan.queries()[1];
        let mut merge = Merge::new(last);
        let mut looks: Vec<usize> = looks.iter().map(|at| at.index(delivered.len() + 1)).collect();
        looks.sort_unstable();
        let mut version = 0;
        for (at, partial) in delivered.iter().enumerate() {
            if partial.key.query == last.query.name {
                merge.apply(&partial.key, partial.value.as_deref()).unwrap();
            }
            if looks.contains(&at) {
                let result = merge.result();
                prop_assert!(version <= result.version, "a version that goes back");
                version = result.version;
            }
        }
        prop_assert_eq!(merge.result(), merged(&plan, &straight(&plan, &rsvps))[1].clone());
    }

    #[test]
    fn while_it_runs_a_result_is_that_of_the_offsets_which_it_names(rsvps in rsvps(), every in 1..20_usize) {
        let plan = plan(1_000);
        let logs = logs(&rsvps);
        let mut tallies: Vec<Tally> = (0..PARTITIONS as i32).map(|partition| Tally::new(partition, &plan)).collect();
        let mut merge = Merge::new(&plan.queries()[1]);
        for (at, rsvp) in rsvps.iter().enumerate() {
            let tally = &mut tallies[rsvp.partition()];
            apply(tally, tally.next_offset() as usize, rsvp);
            if at % every != 0 {
                continue;
            }
            for partial in tally.emit().collect::<Vec<_>>() {
                if partial.key.query != "topics_30m" {
                    continue;
                }
                merge.apply(&partial.key, partial.value.as_deref()).unwrap();
                // Also between a pane and the head that belongs to it.
                let result = merge.result();
                let reflected: Vec<Rsvp> = result
                    .offsets
                    .iter()
                    .flat_map(|(&partition, &last)| logs[partition as usize][..=last as usize].to_vec())
                    .collect();
                Batch::new(&reflected).check(&reflected, &result, 1_000)?;
            }
        }
    }
}

#[test]
fn before_any_partial_the_result_is_that_of_an_empty_stream() {
    for planned in plan(100).queries() {
        let result = Merge::new(planned).result();
        assert_eq!((result.version, result.total, result.distinct, result.top.len()), (0, 0, 0, 0));
        assert_eq!(result.query, planned.query.name);
    }
}

#[test]
fn a_head_changes_the_result_a_pane_waits_for_its_head_and_the_rest_is_ignored() {
    let plan = plan(100);
    let mut tally = Tally::new(0, &plan);
    let rsvp = Rsvp {
        id: 4,
        yes: true,
        age_ms: Some(0),
        topics: vec![1, 1],
        has_header: true,
        received_ms: 1_000_000,
    };
    let mut merge = Merge::new(&plan.queries()[0]);
    let mut feed = |tally: &mut Tally| -> Vec<Applied> {
        let partials: Vec<Partial> =
            tally.emit_all().filter(|partial| partial.key.query == "topics").collect();
        partials
            .iter()
            .map(|partial| merge.apply(&partial.key, partial.value.as_deref()).unwrap())
            .collect()
    };
    assert_eq!(feed(&mut tally), [Applied::Changed], "the head of an empty partition");
    apply(&mut tally, 0, &rsvp);
    assert_eq!(feed(&mut tally), [Applied::Staged, Applied::Changed]);
    assert_eq!(feed(&mut tally), [Applied::Ignored, Applied::Ignored]);
    let key = Key { query: "topics".to_owned(), partition: 0, part: Part::Pane { start_ms: 0 } };
    assert_eq!(merge.apply(&key, None), Ok(Applied::Ignored), "a tombstone");
    assert_eq!(merge.result().total, 2);
    let other = crate::merge::tests::plan(99);
    let mut foreign = Tally::new(1, &other);
    apply(&mut foreign, 0, &rsvp);
    for partial in foreign.emit_all().filter(|partial| partial.key.query == "topics") {
        assert_eq!(
            merge.apply(&partial.key, partial.value.as_deref()),
            Ok(Applied::Ignored),
            "of another capacity"
        );
    }
}

#[test]
fn a_value_that_cannot_be_read_is_an_error_and_changes_nothing() {
    let plan = plan(100);
    let mut merge = Merge::new(&plan.queries()[0]);
    let before = merge.result();
    for part in [Part::Head, Part::Pane { start_ms: 0 }] {
        let key = Key { query: "topics".to_owned(), partition: 0, part };
        assert_eq!(merge.apply(&key, Some(&[9, 0])), Err(Error::Version(9)));
        assert!(matches!(merge.apply(&key, Some(&[1, 0])), Err(Error::Damaged(_))));
        assert!(matches!(merge.apply(&key, Some(&[])), Err(Error::Damaged(_))));
    }
    assert_eq!(merge.result(), before);
}

#[test]
fn gaps_are_told_with_their_partition() {
    let plan = plan(100);
    let mut merge = Merge::new(&plan.queries()[0]);
    for (partition, last) in [(2, 6), (0, 2)] {
        let mut tally = Tally::new(partition, &plan);
        tally.record_gap(0, last);
        for partial in tally.emit().filter(|partial| partial.key.query == "topics") {
            merge.apply(&partial.key, partial.value.as_deref()).unwrap();
        }
    }
    let gaps = [Gap { partition: 0, from: 0, to: 3 }, Gap { partition: 2, from: 0, to: 7 }];
    assert_eq!(merge.result().gaps, gaps);
    assert_eq!(merge.result().version, 10);
}
