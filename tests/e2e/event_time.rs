//! Windows are exact in every unit of time, even if single events have no time, one that cannot be read, or one that is
//! before 1970, a day ahead or a year ahead; if a partition idles; and if a foreign record has an absurd time.

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox,
    oracle::{Answer, Feed, Id, Oracle, Unit},
    outcome::Published,
    recording,
    sandbox::scratch,
};
use serde_json::Value;

use crate::{
    analyzers::{Analyzers, RAW, Written},
    exact::TOP,
};

/// 2015-03-08T10:00:00Z
const BASE_MS: i64 = 1_425_808_800_000;
const SIZE_MS: i64 = 300_000;
const SLIDE_MS: i64 = 5_000;
const DAY_MS: i64 = 86_400_000;

/// A time as it is written in a unit, with fractions of a millisecond if the unit has them.
fn written(time_ms: i64, unit: Unit) -> String {
    match unit {
        Unit::Ms => time_ms.to_string(),
        Unit::S => format!("{}.{:03}", time_ms / 1_000, time_ms % 1_000),
        Unit::Us => format!("{time_ms}999"),
        Unit::Ns => format!("{time_ms}999999"),
        Unit::Rfc3339 => {
            // All times are at most ten hours after ten in the morning, on that day, the next one, or a year later.
            let (days, of_day) = ((time_ms - BASE_MS) / DAY_MS, (time_ms - BASE_MS) % DAY_MS);
            let second = of_day / 1_000 + 15 * 3_600 + 1_800;
            format!(
                "\"{}-03-08T{:02}:{:02}:{:02}.{:03}9+05:30\"",
                2015 + days / 365,
                second / 3_600,
                second / 60 % 60,
                second % 60,
                of_day % 1_000
            )
            .replace("03-08", &format!("03-{:02}", 8 + days % 365))
        }
    }
}

fn line(id: usize, time: Option<&str>) -> String {
    let time = time.map_or_else(String::new, |time| format!(r#","at":{time}"#));
    format!(r#"{{"id":{id},"word":"w{}"{time}}}"#, id * id % 7)
}

fn oracle<L: AsRef<[u8]>>(lines: &[L], unit: Unit) -> Oracle {
    let feed = Feed { id: Id::Fields(&["/id"]), time: Some(("/at", unit)), items: &["/word"] };
    Oracle::of_feed(lines, &feed)
}

fn assert_windows(unit: Unit, name: &str) {
    let (_directory, path) = scratch();
    let config = path.join("feed.toml");
    let text = format!(
        "[event]\nid = '/id'\ntime = {{ path = '/at', unit = '{name}' }}\n\
         [[query]]\nname = 'all'\nitem = '/word'\n\
         [[query]]\nname = 'last'\nitem = '/word'\n\
         window = {{ kind = 'sliding', size = '5m', slide = '5s' }}\n"
    );
    std::fs::write(&config, text).expect("writing a configuration");

    let mut sane = Vec::new();
    let mut all = Vec::new();
    for at in 0..600 {
        // The events are a second apart, and out of order by up to ten seconds.
        let time_ms = BASE_MS + (at as i64 + at as i64 * 7 % 11) * 1_000 + 7;
        sane.push(line(at, Some(&written(time_ms, unit))));
        all.push(sane[at].clone());
        let odd = match at {
            100 => vec![line(1_000, None); 1],
            150 => vec![line(1_001, Some("\"soon\"")), line(1_002, Some("null"))],
            200 => vec![line(1_003, Some(&written(BASE_MS + DAY_MS, unit))); 10],
            300 => vec![line(1_004, Some(&written(BASE_MS + 365 * DAY_MS, unit)))],
            400 if unit == Unit::Rfc3339 => {
                vec![line(1_005, Some("\"1969-12-31T23:59:59.5+00:00\""))]
            }
            400 => vec![line(1_005, Some("-500"))],
            _ => Vec::new(),
        };
        all.extend(odd);
    }
    let path = path.join("made.jsonl");
    recording::write(&path, &all);
    let (sane, truth) = (oracle(&sane, unit), oracle(&all, unit));
    assert_eq!((truth.untimed, truth.duplicates, truth.bad), (3, 9, 0));

    let pipeline = Sandbox::builder().memory().argument("--config").argument(&config);
    let outcome = pipeline.recording(&path).max().once().start().finish();
    let (results, _) = outcome.results();
    results["all"].assert_exact(&truth.answer(0), TOP);
    results["last"].assert_exact(&sane.answer_of_last(0, SIZE_MS, SLIDE_MS), TOP);
    let mut lines =
        outcome.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = lines.rfind(|line| line["query"] == "last").expect("a result");
    assert_eq!(last["untimed"], 3, "{name}: {last}");
    assert_eq!(last["future"], 2, "{name}: {last}");
}

#[test]
fn windows_are_exact_in_every_unit_even_if_single_events_have_wrong_times() {
    for (unit, name) in [
        (Unit::Ms, "ms"),
        (Unit::S, "s"),
        (Unit::Us, "us"),
        (Unit::Ns, "ns"),
        (Unit::Rfc3339, "rfc3339"),
    ] {
        assert_windows(unit, name);
    }
}

/// What the analyzer is told in the tests that write records themselves.
const LAST: &str = r#"
[event]
id = "/id"
time = { path = "/at", unit = "ms" }

[[query]]
name = "last"
item = "/word"
window = { kind = "sliding", size = "5m", slide = "5s" }
"#;

/// A record whose event has this id and time.
fn record(id: usize, at_ms: Option<i64>) -> Written {
    let value = line(id, at_ms.map(|at| at.to_string()).as_deref()).into_bytes();
    Written { key: id.to_string(), value, time_ms: None }
}

/// Events `ids`, a second apart.
fn each_second(ids: std::ops::Range<usize>) -> Vec<Written> {
    ids.map(|id| record(id, Some(BASE_MS + id as i64 * 1_000))).collect()
}

/// The last window over these records.
fn truth(records: &[Written]) -> Answer {
    let lines: Vec<&[u8]> = records.iter().map(|record| record.value.as_slice()).collect();
    oracle(&lines, Unit::Ms).answer_of_last(0, SIZE_MS, SLIDE_MS)
}

/// Asserts that the window that reflects so many records is `truth`, and that so many events or mentions were
/// `[untimed, future, late]`.
fn assert_last(analyzers: &mut Analyzers, records: u64, truth: &Answer, aside: [u64; 3]) -> Value {
    let result = analyzers.result("last", records);
    let published: Published = serde_json::from_value(result.clone()).expect("a result");
    published.assert_exact(truth, TOP);
    for (name, wanted) in ["untimed", "future", "late"].into_iter().zip(aside) {
        assert_eq!(result[name], wanted, "{name} after {records} records: {result}");
    }
    result
}

#[test]
fn only_further_distinct_events_confirm_a_jump_and_an_idle_partition_holds_nothing_up() {
    let mut analyzers = Analyzers::new();
    analyzers.start(LAST);
    // Partition 1 falls silent after 50 seconds.
    analyzers.send(RAW, Some(1), each_second(0..50));
    let sane = each_second(50..650);
    let before = truth(&sane);
    analyzers.send(RAW, Some(0), sane);
    // The window has left what partition 1 has, which `late` says as long as that partition does not move.
    assert_last(&mut analyzers, 650, &before, [0, 0, 50]);

    let a_day_ahead = |id: usize| record(id, Some(BASE_MS + DAY_MS + id as i64));
    analyzers.send(RAW, Some(0), [a_day_ahead(1_000)]);
    assert_last(&mut analyzers, 651, &before, [0, 1, 50]);
    analyzers.send(RAW, Some(0), (0..10).map(|_| a_day_ahead(1_000)));
    assert_last(&mut analyzers, 661, &before, [0, 1, 50]);

    let jumped: Vec<_> = (1_000..1_004).map(a_day_ahead).collect();
    let after = truth(&jumped);
    analyzers.send(RAW, Some(0), jumped.into_iter().skip(1));
    assert_last(&mut analyzers, 664, &after, [0, 0, 50]);
    analyzers.send(RAW, Some(0), each_second(650..651));
    assert_last(&mut analyzers, 665, &after, [0, 0, 51]);
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));
}

#[test]
fn a_foreign_record_with_an_absurd_time_moves_no_window_also_after_a_restart() {
    let mut analyzers = Analyzers::new();
    // A broker of today refuses such a record, unless its topic is set up to take it. Older ones take it.
    let any = i64::MAX.to_string();
    analyzers.broker.alter_topic(RAW, &[("message.timestamp.after.max.ms", &any)]);

    analyzers.send(RAW, Some(0), each_second(0..600));
    // The producer wrote microseconds: into one record's time, into another one's event too, and where there is none.
    let absurd = BASE_MS * 1_000;
    let foreign = [Some(BASE_MS + 600_000), Some(absurd), None];
    analyzers.send(
        RAW,
        Some(0),
        foreign
            .into_iter()
            .enumerate()
            .map(|(at, time)| Written { time_ms: Some(absurd), ..record(600 + at, time) }),
    );
    analyzers.send(RAW, Some(0), each_second(603..700));
    analyzers.start(LAST);

    let timed = |end| {
        let mut timed = each_second(0..end);
        timed.drain(601..603);
        truth(&timed)
    };
    let result = assert_last(&mut analyzers, 700, &timed(700), [1, 1, 0]);
    let as_of = result["as_of_ms"].as_i64().expect("a time");
    assert_eq!(as_of, BASE_MS + 699_000, "{result}");
    analyzers.await_stored(700);
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));

    analyzers.start(LAST);
    analyzers.send(RAW, Some(0), each_second(700..710));
    assert_last(&mut analyzers, 710, &timed(710), [1, 1, 0]);
    assert_eq!(analyzers.end(Signal::SIGTERM), Some(0));
}
