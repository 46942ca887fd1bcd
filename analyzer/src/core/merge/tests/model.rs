//! Events at random, and what a computation over all of them at once says.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::result::{self, TopN};
use proptest::prelude::*;
use serde_json::json;

use crate::core::plan::{Plan, Settings};
use crate::core::query::{Query, Sliding, Window};
use crate::core::tally::{Outcome, Record, Tally};
use crate::core::watermark::{Observed, Place, Watermark};

pub(super) const PARTITIONS: usize = 4;
pub(super) const SIZE_MS: i64 = 30_000;
pub(super) const SLIDE_MS: i64 = 5_000;
pub(super) const MAX_FUTURE_MS: i64 = 60_000;
/// Less than what many events are late by, so that all kinds of jumps come.
pub(super) const MAX_JUMP_MS: i64 = 20_000;

pub(super) fn plan(capacity: usize) -> Arc<Plan> {
    let mut queries = Query::defaults();
    let milliseconds = |time_ms: i64| Duration::from_millis(time_ms as u64);
    let window = Sliding::new(milliseconds(SIZE_MS), milliseconds(SLIDE_MS));
    queries[1].window = Window::Sliding(window);
    queries.iter_mut().for_each(|query| query.n = capacity.min(50));
    let mut settings = Settings { capacity, ..Settings::default() };
    settings.schema.max_jump = milliseconds(MAX_JUMP_MS);
    settings.schema.max_future = milliseconds(MAX_FUTURE_MS);
    settings.schema.idle = Duration::from_secs(86_400);
    Arc::new(Plan::new(&queries, settings).unwrap())
}

/// An event as a feed delivers it.
#[derive(Debug, Clone)]
pub(super) struct Rsvp {
    pub(super) id: u32,
    pub(super) yes: bool,
    /// When it happened, before (or, below 0, after) it was received.
    pub(super) age_ms: Option<i64>,
    pub(super) topics: Vec<u8>,
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

    pub(super) fn time_ms(&self) -> Option<i64> {
        self.age_ms.map(|age_ms| self.received_ms - age_ms)
    }

    pub(super) fn is_future(&self) -> bool {
        self.time_ms() > Some(self.received_ms + MAX_FUTURE_MS)
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        let topics: Vec<_> = self.topics().map(|topic| json!({ "topic_name": topic })).collect();
        let group = json!({ "group_topics": topics, "group_country": "de" });
        let response = if self.yes { "yes" } else { "no" };
        let mut rsvp = json!({ "rsvp_id": self.id, "response": response, "group": group });
        if let Some(time_ms) = self.time_ms() {
            rsvp["mtime"] = json!(time_ms);
        }
        rsvp.to_string().into_bytes()
    }
}

pub(super) fn rsvps() -> impl Strategy<Value = Vec<Rsvp>> {
    let age = prop_oneof![8 => 0..4_000_i64, 3 => 0..SIZE_MS, 1 => 0..200_000_i64, 1 => -MAX_FUTURE_MS - 3..0];
    let topics = prop::collection::vec(prop_oneof![0..4_u8, 0..40_u8], 0..5);
    let rsvp = (0..60_u32, any::<bool>(), prop::option::weighted(0.9, age), topics, 0..800_i64);
    prop::collection::vec(rsvp, 0..150).prop_map(|rsvps| {
        let mut received_ms = 1_425_772_800_000;
        let receive = |(id, yes, age_ms, topics, pause_ms)| {
            received_ms += pause_ms;
            Rsvp { id, yes, age_ms, topics, received_ms }
        };
        rsvps.into_iter().map(receive).collect()
    })
}

pub(super) fn apply(tally: &mut Tally, offset: usize, rsvp: &Rsvp) -> Outcome {
    let (key, payload) = (rsvp.id.to_string(), rsvp.payload());
    tally.apply(Record {
        offset: offset as i64,
        timestamp_ms: rsvp.received_ms,
        key: Some(key.as_bytes()),
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
        let key = rsvp.id.to_string();
        tally.replay(Record {
            offset: offset as i64,
            timestamp_ms: rsvp.received_ms,
            key: Some(key.as_bytes()),
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
    /// Times and topics of what the sliding window may show.
    placed: Vec<(i64, Vec<String>)>,
    late: u64,
    untimed: u64,
    future: u64,
}

/// One partition's share.
struct Share {
    watermark: Watermark,
    /// Places in the events.
    placed: Vec<usize>,
    late: Vec<usize>,
    future: u64,
}

fn window(watermark_ms: i64) -> (i64, i64) {
    let end_ms = watermark_ms - watermark_ms.rem_euclid(SLIDE_MS) + SLIDE_MS;
    (end_ms - SIZE_MS, end_ms)
}

impl Share {
    /// Of the events at these places; those without a time are left out.
    fn new(events: &[Rsvp], own: impl Iterator<Item = usize>) -> Self {
        let watermark = Watermark::new(MAX_JUMP_MS);
        let mut share = Self { watermark, placed: Vec::new(), late: Vec::new(), future: 0 };
        let mut candidates: Vec<(usize, i64)> = Vec::new();
        for place in own {
            let Some(time_ms) = events[place].time_ms() else { continue };
            if events[place].is_future() {
                share.future += 1;
                continue;
            }
            let was_early = share.watermark.is_early();
            let mut taken = vec![(place, time_ms)];
            if share.watermark.observe(place as i64, time_ms) == Observed::Rearranged {
                candidates.append(&mut taken);
                candidates.retain(|&(place, time_ms)| {
                    match share.watermark.place(place as i64, time_ms) {
                        Place::Taken => taken.push((place, time_ms)),
                        Place::GivenUp => share.future += 1,
                        Place::Waiting | Place::Provisional => return true,
                    }
                    false
                });
            }
            let floor_ms =
                share.watermark.confirmed_ms().map(|watermark_ms| window(watermark_ms).0);
            for (place, time_ms) in taken {
                let is_late = !was_early && Some(time_ms) < floor_ms;
                if is_late { share.late.push(place) } else { share.placed.push(place) }
            }
        }
        for (place, time_ms) in candidates {
            match share.watermark.place(place as i64, time_ms) {
                Place::Provisional => share.placed.push(place),
                _ => share.future += 1,
            }
        }
        share
    }
}

impl Batch {
    pub(super) fn new(rsvps: &[Rsvp]) -> Self {
        let mut seen = HashSet::new();
        let events: Vec<Rsvp> =
            rsvps.iter().filter(|rsvp| seen.insert(rsvp.event_id())).cloned().collect();
        let share = |partition| {
            let own = (0..events.len()).filter(|&place| events[place].partition() == partition);
            Share::new(&events, own)
        };
        let shares: Vec<Share> = (0..PARTITIONS).map(share).collect();
        let mut watermarks: Vec<i64> =
            shares.iter().filter_map(|share| share.watermark.time_ms()).collect();
        watermarks.sort_unstable();
        let confirmed = shares.iter().filter_map(|share| share.watermark.confirmed_ms()).max();
        let mut watermark_ms = confirmed.or(watermarks.first().copied());
        for next_ms in watermarks {
            let reach = watermark_ms.map(|reached_ms| reached_ms + MAX_JUMP_MS);
            if Some(next_ms) <= reach {
                watermark_ms = watermark_ms.max(Some(next_ms));
            }
        }
        let window = watermark_ms.map_or((-SIZE_MS, 0), self::window);
        let mentions = |place: &usize| events[*place].topics.len() as u64;
        let mut late = shares.iter().flat_map(|share| &share.late).map(mentions).sum::<u64>();
        for share in &shares {
            // A partition that lags by a whole window is in none: what it keeps is late.
            let Some(own) = share.watermark.confirmed_ms().map(self::window) else { continue };
            if own.1 <= window.0 {
                let kept =
                    share.placed.iter().filter(|&&place| events[place].time_ms() >= Some(own.0));
                late += kept.map(mentions).sum::<u64>();
            }
        }
        let placed = shares.iter().flat_map(|share| &share.placed);
        let placed = placed
            .map(|&place| (events[place].time_ms().unwrap(), events[place].topics().collect()))
            .collect();
        let untimed = events.iter().filter(|rsvp| rsvp.age_ms.is_none()).count() as u64;
        let future = shares.iter().map(|share| share.future).sum();
        Self { window, placed, late, untimed, future, events }
    }

    pub(super) fn counts(&self, query: &str) -> BTreeMap<String, u64> {
        let (start, end) = self.window;
        let items: Vec<String> = match query {
            "countries" => vec!["de".to_owned(); self.events.len()],
            "topics_30m" => {
                let shown =
                    self.placed.iter().filter(|(time_ms, _)| (start..end).contains(time_ms));
                shown.flat_map(|(_, topics)| topics.clone()).collect()
            }
            _ => self.events.iter().flat_map(Rsvp::topics).collect(),
        };
        let mut counts = BTreeMap::new();
        items.into_iter().for_each(|item| *counts.entry(item).or_default() += 1);
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
        prop_assert_eq!((result.untimed, result.future), (self.untimed, self.future));
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
