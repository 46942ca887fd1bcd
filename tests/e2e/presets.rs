//! Feeds other than RSVPs, which take one configuration file each: with every shipped file, the results for a recording
//! are those of the oracle.
//!
//! The recordings beside the project are used if they are there. Each test also makes a small recording of the same
//! shape, with re-deliveries and lines that are not events.

use std::path::{Path, PathBuf};

use pipeline_tests::{
    Sandbox,
    oracle::{Feed, Id, Oracle, Unit},
    recording,
    sandbox::scratch,
};

use crate::exact::{TOP, dead_letters};

/// A query of a preset: its name, which of the feed's items it counts, and its window's size and slide.
type Query = (&'static str, usize, Option<(i64, i64)>);

const WIKIPEDIA: Feed<'_> = Feed {
    id: Id::Payload,
    time: Some(("/time", Unit::Rfc3339)),
    items: &["/channel", "/user", "/added"],
};
const BLUESKY: Feed<'_> = Feed {
    id: Id::Fields(&["/did", "/time_us"]),
    time: Some(("/time_us", Unit::Us)),
    items: &[
        "/commit/collection",
        "/commit/record/langs/*",
        "/commit/record/facets/*/features/*/tag",
    ],
};
const BITFLYER: Feed<'_> = Feed {
    id: Id::Payload,
    time: None,
    items: &["/params/message/*/side", "/params/message/*/price", "/params/channel"],
};

fn preset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/presets").join(name)
}

/// Runs a recording through `up` with a configuration file, and compares every result with the oracle.
fn assert_exact(config: &Path, recording: &Path, feed: &Feed<'_>, queries: &[Query]) {
    let truth = Oracle::of_feed(recording::lines(recording), feed);
    let pipeline = Sandbox::builder().memory().argument("--config").argument(config);
    let outcome = pipeline.recording(recording).max().once().start().finish();
    let (results, summary) = outcome.results();
    let mut names: Vec<&str> = queries.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    assert_eq!(results.keys().collect::<Vec<_>>(), names, "a line for every query");
    for (name, items, window) in queries {
        let answer = match window {
            Some((size_ms, slide_ms)) => truth.answer_of_last(*items, *size_ms, *slide_ms),
            None => truth.answer(*items),
        };
        assert!(answer.total() > 0, "{name} counts something");
        results[*name].assert_exact(&answer, TOP);
    }
    assert_eq!(summary.published - summary.duplicates, truth.events(), "events");
    assert_eq!(dead_letters(&summary), truth.bad, "dead letters: {:?}", summary.dead_letters);
}

fn assert_preset(name: &str, shared: &str, made: Vec<String>, feed: &Feed<'_>, queries: &[Query]) {
    let (_directory, path) = scratch();
    let path = path.join("made.jsonl");
    // Every seventh line comes again, and some lines are not events.
    let mut lines: Vec<&str> = Vec::new();
    for (at, line) in made.iter().enumerate() {
        lines.push(line);
        if at % 7 == 6 {
            lines.push(&made[at - 3]);
        }
        if at % 100 == 50 {
            lines.extend(["[]", "{\"cut\":"]);
        }
    }
    recording::write(&path, &lines);
    assert_exact(&preset(name), &path, feed, queries);
    if let Some(path) = recording::shared(shared) {
        assert_exact(&preset(name), &path, feed, queries);
    }
}

#[test]
fn edits_of_wikipedia_with_times_of_rfc_3339() {
    let made = (0..600).map(|at| {
        let (offset, hours) = [("Z", 0), ("+00:00", 0), ("+05:00", 5), ("-03:00", -3)][at % 4];
        let second = 10 * 3_600 + at * 7;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let hour = hour as i64 + hours;
        format!(
            r##"{{"time":"2015-09-12T{hour:02}:{minute:02}:{second:02}.{at:03}{offset}","channel":"#{}.wikipedia","user":"u{}","added":{}}}"##,
            ["en", "de", "vi"][at * at % 3],
            at % 11,
            at % 5
        )
    });
    let hour = Some((3_600_000, 60_000));
    let queries =
        [("channels", 0, None), ("channels_1h", 0, hour), ("users", 1, None), ("added", 2, None)];
    let shared = "wikipedia-edits-2015.jsonl.gz";
    assert_preset("wikipedia.toml", shared, made.collect(), &WIKIPEDIA, &queries);
}

#[test]
fn events_of_bluesky_with_times_in_microseconds() {
    let made = (0..600_u64).map(|at| {
        format!(
            r#"{{"did":"did:plc:{}","time_us":{},"kind":"commit","commit":{{"collection":"app.bsky.feed.{}","record":{{"langs":["{}","en"],"facets":[{{"features":[{{"tag":"t{}"}}]}}]}}}}}}"#,
            at % 40,
            1_783_175_888_085_434 + at * 1_000_123,
            ["like", "post", "repost"][at as usize * 5 % 3],
            ["de", "pt", "ja"][at as usize % 3],
            at % 4,
        )
    });
    let five_minutes = Some((300_000, 5_000));
    let queries = [
        ("hashtags", 2, None),
        ("hashtags_10m", 2, Some((600_000, 5_000))),
        ("collections", 0, None),
        ("collections_5m", 0, five_minutes),
        ("languages", 1, None),
    ];
    let shared = "bluesky-jetstream-2026.jsonl.gz";
    assert_preset("bluesky.toml", shared, made.collect(), &BLUESKY, &queries);
}

#[test]
fn executions_of_bitflyer_in_an_array_inside_an_envelope() {
    let made = (0..300_u64).map(|at| {
        let execution = |id: u64| {
            format!(
                r#"{{"id":{id},"side":"{}","price":{}}}"#,
                if id.is_multiple_of(3) { "SELL" } else { "BUY" },
                ["5860832.0", "96.02", "5860832", "0.5"][id as usize % 4]
            )
        };
        let executions: Vec<_> = (0..at % 4).map(|n| execution(4 * at + n)).collect();
        format!(
            r#"{{"method":"channelMessage","params":{{"channel":"executions_{}","message":[{}]}}}}"#,
            at,
            executions.join(",")
        )
    });
    let queries = [("sides", 0, None), ("prices", 1, None), ("channels", 2, None)];
    let shared = "bitflyer-ticker-ws-2021.jsonl.gz";
    assert_preset("bitflyer.toml", shared, made.collect(), &BITFLYER, &queries);
}

#[test]
fn without_an_id_every_line_counts_even_a_repeated_one() {
    let (_directory, path) = scratch();
    let config = path.join("feed.toml");
    let text = "[event]\nid = \"none\"\n[[query]]\nname = \"words\"\nitem = \"/words/*\"\n";
    std::fs::write(&config, text).expect("writing a configuration");
    let path = path.join("made.jsonl");
    let lines: Vec<String> =
        (0..400).map(|at| format!(r#"{{"words":["w{}","all"]}}"#, at % 5)).collect();
    recording::write(&path, &lines);
    let feed = Feed { id: Id::None, time: None, items: &["/words/*"] };
    assert_exact(&config, &path, &feed, &[("words", 0, None)]);
}
