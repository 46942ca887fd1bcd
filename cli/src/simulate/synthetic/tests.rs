use std::collections::{HashMap, HashSet};

use common::event::Schema;
use common::event::identity::identify;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const START_MS: i64 = 1_425_788_568_167;
/// The pace of the recordings, and that of a stress test.
const PACES: [Pace; 3] = [Pace::Rate(1.3), Pace::Rate(2_000.0), Pace::Max];

fn generator(seed: u64, pace: Pace) -> Generator {
    let options =
        SyntheticOptions { seed, start_ms: Some(START_MS), ..SyntheticOptions::default() };
    Generator::new(&options, pace)
}

fn lines(seed: u64, pace: Pace, count: u64) -> Vec<Line> {
    let generator = generator(seed, pace);
    (0..count).filter_map(|position| generator.line(position)).collect()
}

fn parsed(lines: &[Line]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_slice(&line.bytes).unwrap()).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

fn share_of(events: &[Value], is: impl Fn(&Value) -> bool) -> f64 {
    share(events.iter().filter(|event| is(event)).count(), events.len())
}

fn assert_within(what: &str, value: f64, low: f64, high: f64) {
    assert!((low..=high).contains(&value), "{what}: {value} is not within {low} to {high}");
}

#[test]
fn every_line_is_an_event_with_the_mtime_that_the_collector_reads() {
    for line in lines(7, Pace::Rate(1.3), 20_000) {
        let identity = identify(&line.bytes, &Schema::default()).unwrap();
        assert_eq!(identity.time_ms, line.mtime_ms);
    }
}

#[test]
fn repeats_are_as_in_the_recordings() {
    for pace in PACES {
        let mut last: HashMap<u64, (usize, i64, bool)> = HashMap::new();
        let mut distances = Vec::new();
        let (mut rounded, mut changed) = (0, 0);
        let events = parsed(&lines(1, pace, 30_000));
        for (at, event) in events.iter().enumerate() {
            let mtime = event["mtime"].as_i64().unwrap();
            let yes = event["response"] == "yes";
            if let Some((before, mtime_before, yes_before)) =
                last.insert(event["rsvp_id"].as_u64().unwrap(), (at, mtime, yes))
            {
                distances.push(at - before);
                rounded += usize::from(mtime % 1_000 == 0 && (mtime - mtime_before).abs() <= 500);
                changed += usize::from(yes != yes_before);
            }
        }
        distances.sort_unstable();
        let repeats = distances.len();
        assert_within("repeats", share(repeats, events.len()), 0.19, 0.21);
        assert_within("median distance", distances[repeats / 2] as f64, 7.0, 11.0);
        assert_within("longest distance", distances[repeats - 1] as f64, 1_000.0, 1_714.0);
        assert_within("rounded", share(rounded, repeats), 0.70, 0.80);
        assert_within("changes of mind", share(changed, repeats), 0.06, 0.13);
    }
}

#[test]
fn event_times_go_backwards_as_in_the_recordings() {
    for pace in PACES {
        let lines = lines(1, pace, 30_000);
        let mtimes: Vec<i64> = lines.iter().filter_map(|line| line.mtime_ms).collect();
        let backwards = mtimes.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert_within("backwards", share(backwards, mtimes.len()), 0.13, 0.18);
        let generator = generator(1, pace);
        let late = |&(at, &mtime): &(usize, &i64)| generator.at_ms(at as u64) - mtime > 86_400_000;
        let late = mtimes.iter().enumerate().filter(late).count();
        assert_within("days late per 2,000", share(late, mtimes.len()) * 2_000.0, 9.0, 17.0);
        let oldest = START_MS - mtimes.iter().min().unwrap();
        assert_within("oldest in days", oldest as f64 / DAY_MS, 60.0, 151.0);
    }
}

#[test]
fn fields_and_sizes_are_as_in_the_recordings() {
    let lines = lines(1, Pace::Rate(1.3), 30_000);
    let events = parsed(&lines);
    let sizes: Vec<usize> = lines.iter().map(|line| line.bytes.len()).collect();
    assert_within("mean size", share(sizes.iter().sum(), sizes.len()), 1_200.0, 1_400.0);
    assert_within("smallest", *sizes.iter().min().unwrap() as f64, 580.0, 700.0);
    assert_within("largest", *sizes.iter().max().unwrap() as f64, 1_900.0, 2_193.0);

    assert_within(
        "without venue",
        share_of(&events, |event| event.get("venue").is_none()),
        0.09,
        0.22,
    );
    assert_within("venue at 0,0", share_of(&events, |event| event["venue"]["lat"] == 0), 0.01, 0.1);
    assert_within(
        "without time",
        share_of(&events, |event| event["event"].get("time").is_none()),
        0.001,
        0.03,
    );
    assert_within("yes", share_of(&events, |event| event["response"] == "yes"), 0.70, 0.78);
    assert_within("guests", share_of(&events, |event| event["guests"] != 0), 0.03, 0.12);
    assert!(events.iter().filter_map(|event| event["guests"].as_u64()).max() >= Some(50));
    for event in &events {
        let country = event["group"]["group_country"].as_str().unwrap();
        assert_eq!(event["group"].get("group_state").is_some(), matches!(country, "us" | "ca"));
    }
    let integer = |event: &Value| {
        event["group"]["group_lat"].is_i64() || event["group"]["group_lon"].is_i64()
    };
    assert_within("integers where floats are usual", share_of(&events, integer), 0.005, 0.1);

    let text = |event: &Value| event.to_string();
    assert_within("not ascii", share_of(&events, |event| !text(event).is_ascii()), 0.06, 0.16);
    let astral = |event: &Value| text(event).chars().any(|letter| letter > '\u{ffff}');
    assert_within("above U+FFFF", share_of(&events, astral), 0.001, 0.03);
    for escape in ["\\t", "\\n", "\\\"", "\\/", "\\\\", "\\u"] {
        let has = |line: &Line| String::from_utf8_lossy(&line.bytes).contains(escape);
        assert!(lines.iter().any(has), "no line has {escape}");
    }
    let orders: HashSet<&[u8]> = lines.iter().map(|line| &line.bytes[..8]).collect();
    assert!(orders.len() >= 3, "keys always stand in the same order");
}

#[test]
fn topics_and_countries_are_spread_as_in_the_recordings() {
    let events = parsed(&lines(1, Pace::Rate(1.3), 2_460));
    let mut topics: HashMap<&str, usize> = HashMap::new();
    let mut countries: HashMap<&str, usize> = HashMap::new();
    let mut sizes = Vec::new();
    for event in &events {
        let list = event["group"]["group_topics"].as_array().unwrap();
        sizes.push(list.len());
        for topic in list {
            *topics.entry(topic["topic_name"].as_str().unwrap()).or_default() += 1;
        }
        *countries.entry(event["group"]["group_country"].as_str().unwrap()).or_default() += 1;
    }
    let mentions: usize = sizes.iter().sum();
    assert_within("mean topics", share(mentions, sizes.len()), 10.5, 11.5);
    assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&1), Some(&21)));
    assert_within("distinct topics", topics.len() as f64, 3_600.0, 4_400.0);
    assert_within("share of the first", share(topics["Social"], mentions), 0.025, 0.04);
    let mut ranked: Vec<(&str, usize)> = topics.into_iter().collect();
    ranked.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    assert_eq!(ranked[0].0, "Social");
    let head: HashSet<&str> = ranked[..12].iter().map(|&(name, _)| name).collect();
    assert!(words::HEAD.iter().filter(|name| head.contains(*name)).count() >= 9, "{ranked:?}");

    assert_within("countries", countries.len() as f64, 31.0, 52.0);
    assert_within("us", share(countries["us"], events.len()), 0.5, 0.75);
    let most =
        countries.iter().filter(|(country, _)| **country != "us").max_by_key(|(_, count)| **count);
    assert_eq!(most.map(|(&country, _)| country), Some("gb"));
}

#[test]
fn a_feed_without_redeliveries_has_none() {
    let options = SyntheticOptions {
        redelivery: 0.0,
        start_ms: Some(START_MS),
        ..SyntheticOptions::default()
    };
    let generator = Generator::new(&options, Pace::Max);
    let ids: HashSet<Option<String>> = (0..10_000)
        .map(|position| {
            identify(&generator.line(position).unwrap().bytes, &Schema::default()).unwrap().key
        })
        .collect();
    assert_eq!(ids.len(), 10_000);
}

#[test]
fn a_share_that_cannot_be_generated_is_refused() {
    for redelivery in [-0.1, 0.96, f64::NAN] {
        let options = SyntheticOptions { redelivery, ..SyntheticOptions::default() };
        assert!(matches!(options.check(), Err(Error::Redelivery { .. })), "{redelivery}");
    }
}

#[test]
fn a_start_beyond_our_age_is_refused() {
    for start_ms in [-1, i64::MAX] {
        let options = SyntheticOptions { start_ms: Some(start_ms), ..SyntheticOptions::default() };
        assert!(matches!(options.check(), Err(Error::Start { .. })), "{start_ms}");
    }
}

#[test]
fn a_feed_that_follows_another_brings_new_events() {
    let keys = |start_ms: i64| -> HashSet<Option<String>> {
        let options = SyntheticOptions { start_ms: Some(start_ms), ..SyntheticOptions::default() };
        let generator = Generator::new(&options, Pace::Max);
        let lines = (0..5_000).filter_map(|position| generator.line(position));
        lines.map(|line| identify(&line.bytes, &Schema::default()).unwrap().key).collect()
    };
    assert!(keys(START_MS).is_disjoint(&keys(START_MS + 5)), "5,000 lines take 5 ms");
}

/// Fixes the bytes, because a seed that somebody has noted must give the same feed in later versions.
#[test]
fn the_same_seed_gives_the_same_bytes_in_every_version() {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for line in lines(42, Pace::Rate(100.0), 2_000) {
        hash.update(&line.bytes);
    }
    assert_eq!(format!("{:016x}", hash.digest()), "5302929d1d5d0e7f");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_line_is_a_function_of_its_seed_and_position(seed: u64, order in prop::collection::vec(0u64..3_000, 1..40)) {
        let (one, other) = (generator(seed, Pace::Max), generator(seed, Pace::Max));
        let forwards: Vec<Line> = (0..3_000).filter_map(|position| one.line(position)).collect();
        for position in order {
            let line = other.line(position);
            prop_assert_eq!(line.as_ref(), forwards.get(usize::try_from(position).unwrap()));
        }
        prop_assert!(generator(seed.wrapping_add(1), Pace::Max).line(0) != one.line(0));
    }
}
