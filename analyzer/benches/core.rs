//! Measures how long the core takes for an RSVP of 1.3 kB, without Kafka: `cargo bench -p analyzer --bench
//! core [-- RECORDING.jsonl]`. For comparison it also measures `serde_json::Value` and sonic-rs.
//!
//! There is one line for each step: its name, and nanoseconds per record. Each is the best of several rounds,
//! because other programs on the machine can only make it slower.

#![allow(clippy::disallowed_types, reason = "a bench measures time")]

use std::borrow::Cow;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use analyzer::core::hash::hash;
use analyzer::core::merge::Merge;
use analyzer::core::partial::Partial;
use analyzer::core::plan::{Plan, Settings};
use analyzer::core::query::Query;
use analyzer::core::summary::Summary;
use analyzer::core::tally::{Outcome, Record, Tally};
use serde::Deserialize;

/// A type with the fields that the shipped queries read.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the bench only measures how long filling it takes")]
struct Rsvp<'a> {
    mtime: i64,
    #[serde(borrow)]
    group: Group<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Group<'a> {
    #[serde(borrow)]
    group_topics: Vec<Topic<'a>>,
    #[serde(borrow)]
    group_country: Cow<'a, str>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Topic<'a> {
    #[serde(borrow)]
    topic_name: Cow<'a, str>,
}

const ROUNDS: usize = 7;
/// How many RSVPs are generated when no recording is given.
const RSVPS: u32 = 20_000;
/// How often the events are repeated with other ids, so that each topic is seen many times.
const COPIES: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let recording = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let payloads: Vec<Vec<u8>> = match recording {
        Some(file) => std::fs::read(file)?
            .split(|&byte| byte == b'\n')
            .filter(|line| line.len() > 2)
            .map(<[u8]>::to_vec)
            .collect(),
        None => (0..RSVPS).map(rsvp).collect(),
    };
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!("{} records of {} bytes", payloads.len(), bytes / payloads.len());
    let queries = Query::defaults();
    let plan =
        Arc::new(Plan::new(&queries, Settings::default()).map_err(|problems| problems.join("\n"))?);

    report("serde_json::Value", payloads.len(), || {
        payloads
            .iter()
            .filter(|payload| {
                serde_json::from_slice::<serde_json::Value>(black_box(payload)).is_ok()
            })
            .count()
    });
    report("sonic-rs, into structs made for RSVPs", payloads.len(), || {
        payloads
            .iter()
            .filter(|payload| sonic_rs::from_slice::<Rsvp<'_>>(black_box(payload)).is_ok())
            .count()
    });
    let mut decoder = plan.decoder();
    report("decode", payloads.len(), || {
        payloads.iter().filter(|payload| decoder.decode(black_box(payload)).is_ok()).count()
    });

    let mut mentions: Vec<(u64, String)> = Vec::new();
    for payload in &payloads {
        let event = decoder.decode(payload).map_err(|reason| reason.to_string())?;
        mentions.extend(event.mentions(0).map(|(hash, item)| (hash, item.to_owned())));
    }
    println!("{:.1} mentions a record", mentions.len() as f64 / payloads.len() as f64);
    report("hash, a mention", mentions.len(), || {
        mentions.iter().map(|(_, item)| hash(item.as_bytes())).fold(0, u64::wrapping_add)
    });
    for capacity in [10_000, 1_000] {
        let mut summary = Summary::new(capacity);
        report(&format!("count, a mention, capacity {capacity}"), mentions.len(), || {
            mentions.iter().for_each(|(hash, item)| summary.add(*hash, item));
        });
    }

    let copies: Vec<(String, Vec<u8>)> =
        (0..payloads.len() * COPIES).map(|n| with_id(&payloads[n % payloads.len()], n)).collect();
    let records = |offset: usize| {
        let (key, payload) = &copies[offset];
        Record {
            offset: offset as i64,
            timestamp_ms: 1_425_772_800_000 + offset as i64,
            key: Some(key.as_bytes()),
            payload,
        }
    };
    let mut tally = Tally::new(0, &plan);
    report("apply", copies.len(), || {
        tally = Tally::new(0, &plan);
        (0..copies.len())
            .for_each(|offset| assert_eq!(tally.apply(records(offset)), Outcome::Counted));
    });
    let mut again = copies.len() as i64;
    report("apply, a duplicate", copies.len(), || {
        for offset in 0..copies.len() {
            again += 1;
            black_box(tally.apply(Record { offset: again, ..records(offset) }));
        }
    });

    let mut partials: Vec<Partial> = Vec::new();
    report("emit_all, once", 1, || partials = tally.emit_all().collect());
    let size: usize =
        partials.iter().filter_map(|partial| partial.value.as_ref()).map(Vec::len).sum();
    println!("{} partials of {size} bytes", partials.len());
    report("merge, first result of 4 partitions", 1, || merged(&plan, &partials));
    report("snapshot, once", 1, || tally.snapshot().encode().len());
    Ok(())
}

/// The event with another `rsvp_id`, which has as many digits as Meetup's ids; and that id.
fn with_id(payload: &[u8], n: usize) -> (String, Vec<u8>) {
    const NAME: &str = "\"rsvp_id\":";
    let text = String::from_utf8_lossy(payload);
    let id = (1_540_000_000 + n).to_string();
    let Some(start) = text.find(NAME).map(|name| name + NAME.len()) else {
        return (id, payload.to_vec());
    };
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    let payload = [&text[..start], &id, &text[start + digits..]].concat().into_bytes();
    (id, payload)
}

fn merged(plan: &Plan, partials: &[Partial]) -> u64 {
    let total = |mut merge: Merge| {
        for partition in 0..4 {
            for partial in partials {
                let mut key = partial.key.clone();
                key.partition = partition;
                drop(merge.apply(&key, partial.value.as_deref()));
            }
        }
        merge.result().total
    };
    plan.queries().iter().map(|planned| total(Merge::new(planned))).sum()
}

fn report<T>(name: &str, count: usize, mut step: impl FnMut() -> T) {
    let round = |_| {
        let start = Instant::now();
        black_box(step());
        start.elapsed().as_nanos()
    };
    let best = (0..ROUNDS).map(round).min().unwrap_or(0);
    println!("{name:40} {:>10.0} ns", best as f64 / count as f64);
}

/// An RSVP like those of Meetup's feed: about 11 topics out of 4,000, with a long tail.
fn rsvp(n: u32) -> Vec<u8> {
    let mut random = Random(u64::from(n) + 1);
    let topics: Vec<String> = (0..6 + random.below(11))
        .map(|_| {
            let rank = random.below(4_000) * random.below(4_000) / 4_000;
            format!(r#"{{"urlkey":"topic-number-{rank}","topic_name":"Topic Number {rank}"}}"#)
        })
        .collect();
    let (country, yes) = (
        ["us", "us", "gb", "de"][random.below(4) as usize],
        if random.below(4) > 0 { "yes" } else { "no" },
    );
    let mtime = 1_425_772_800_000 + u64::from(n) * 90;
    format!(
        r#"{{"venue":{{"venue_name":"The Old Town Hall","lon":-0.1278{n},"lat":51.5074,"venue_id":{n}}},"visibility":"public","response":"{yes}","guests":0,"member":{{"member_id":{n},"photo":"http:\/\/photos.example.com\/photos\/member\/a\/b\/c\/d\/thumb_{n}.jpeg","member_name":"Member {n}"}},"rsvp_id":{n},"mtime":{mtime},"event":{{"event_name":"Sunday walk along the river and a picnic","event_id":"{n}","time":1426339800000,"event_url":"http:\/\/www.example.com\/river-walkers\/events\/{n}\/"}},"group":{{"group_topics":[{}],"group_city":"London","group_country":"{country}","group_id":{n},"group_name":"The river walkers","group_lon":-0.13,"group_urlname":"river-walkers","group_state":"17","group_lat":51.52}}}}"#,
        topics.join(",")
    )
    .into_bytes()
}

/// SplitMix64 (Steele et al., OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
