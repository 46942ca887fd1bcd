//! Events at random, and what a computation over all of them at once says.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use common::result::{self, TopN};
use proptest::prelude::*;
use serde_json::json;

use crate::core::plan::{Plan, Settings};
use crate::core::query::{Query, Window};
use crate::core::tally::{Outcome, Record, Tally};

pub(super) const PARTITIONS: usize = 4;
pub(super) const SIZE_MS: i64 = 30_000;
pub(super) const SLIDE_MS: i64 = 5_000;
pub(super) const MAX_FUTURE_MS: i64 = 60_000;

pub(super) fn plan(capacity: usize) -> Arc<Plan> {
    let mut queries = Query::defaults();
    queries[1].window = Window::Sliding { size_ms: SIZE_MS as u64, slide_ms: SLIDE_MS as u64 };
    queries.iter_mut().for_each(|query| query.n = capacity.min(50));
    Arc::new(Plan::new(&queries, Settings { capacity, ..Settings::default() }).unwrap())
}

/// An event as a feed delivers it.
#[derive(Debug, Clone)]
pub(super) struct Rsvp {
    pub(super) id: u32,
    pub(super) yes: bool,
    /// When it happened, before (or, below 0, after) it was received.
    pub(super) age_ms: Option<i64>,
    pub(super) topics: Vec<u8>,
    pub(super) has_header: bool,
    pub(super) received_ms: i64,
}

impl Rsvp {
    pub(super) fn event_id(&self) -> String {
        format!("{}:{}", self.id, if self.yes { "yes" } else { "no" })
    }

    pub(super) fn partition(&self) -> usize {
        self.id as usize % PARTITIONS
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = String> + '_ {
        self.topics.iter().map(|topic| format!("topic {topic}"))
    }

    pub(super) fn time_ms(&self) -> i64 {
        self.received_ms - self.age_ms.unwrap_or(0)
    }

    pub(super) fn is_future(&self) -> bool {
        self.time_ms() > self.received_ms + MAX_FUTURE_MS
    }

    pub(super) fn payload(&self) -> Vec<u8> {
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

pub(super) fn rsvps() -> impl Strategy<Value = Vec<Rsvp>> {
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

pub(super) fn apply(tally: &mut Tally, offset: usize, rsvp: &Rsvp) -> Outcome {
    let (id, payload) = (rsvp.event_id(), rsvp.payload());
    let id = rsvp.has_header.then_some(id.as_bytes());
    tally.apply(Record {
        offset: offset as i64,
        timestamp_ms: rsvp.received_ms,
        id,
        payload: &payload,
    })
}

/// Applies what the tally does not reflect yet, also what only some of its queries do not.
pub(super) fn catch_up(tally: &mut Tally, log: &[Rsvp]) {
    let from = tally.next_offset() as usize;
    for (offset, rsvp) in log.iter().enumerate().skip(from) {
        apply(tally, offset, rsvp);
    }
    replay(tally, log);
}

/// Replays for the queries that are behind.
pub(super) fn replay(tally: &mut Tally, log: &[Rsvp]) {
    let from = tally.replay_from().map_or(log.len(), |from| from as usize);
    for (offset, rsvp) in log.iter().enumerate().skip(from) {
        let payload = rsvp.payload();
        let id = rsvp.event_id();
        tally.replay(Record {
            offset: offset as i64,
            timestamp_ms: rsvp.received_ms,
            id: rsvp.has_header.then_some(id.as_bytes()),
            payload: &payload,
        });
    }
}

/// The partitions' logs.
pub(super) fn logs(rsvps: &[Rsvp]) -> Vec<Vec<Rsvp>> {
    let mut logs = vec![Vec::new(); PARTITIONS];
    rsvps.iter().for_each(|rsvp| logs[rsvp.partition()].push(rsvp.clone()));
    logs
}

/// What each query must say, from all distinct events at once.
pub(super) struct Batch {
    pub(super) events: Vec<Rsvp>,
    pub(super) window: (i64, i64),
    pub(super) late: u64,
}

impl Batch {
    pub(super) fn new(rsvps: &[Rsvp]) -> Self {
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

    pub(super) fn counts(&self, query: &str) -> BTreeMap<String, u64> {
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

    pub(super) fn check(
        &self,
        rsvps: &[Rsvp],
        result: &TopN,
        capacity: usize,
    ) -> Result<(), TestCaseError> {
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
                result::Window::Sliding { size_ms: SIZE_MS, slide_ms: SLIDE_MS, start_ms, end_ms }
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
