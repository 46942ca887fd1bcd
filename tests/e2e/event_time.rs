//! Windows are exact in every unit of time, even if single events have no time, one that cannot be read, or one that is
//! before 1970, a day ahead or a year ahead.

use pipeline_tests::{
    Sandbox,
    oracle::{Feed, Id, Oracle, Unit},
    recording,
    sandbox::scratch,
};
use serde_json::Value;

use crate::exact::TOP;

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
    let feed = Feed { id: Id::Fields(&["/id"]), time: Some(("/at", unit)), items: &["/word"] };
    let (sane, truth) = (Oracle::of_feed(&sane, &feed), Oracle::of_feed(&all, &feed));
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
