use std::time::Duration;

use super::*;
use crate::core::query::Sliding;

fn half_hour() -> Sliding {
    Sliding::new(Duration::from_secs(1_800), Duration::from_secs(5))
}

fn fingerprint(change: impl FnOnce(&mut Query, &mut Settings)) -> Fingerprint {
    let (mut query, mut settings) = (Query::defaults().remove(1), Settings::default());
    change(&mut query, &mut settings);
    Plan::new(&[query], settings).unwrap().queries()[0].fingerprint
}

#[test]
fn a_fingerprint_changes_with_what_shapes_the_state_and_with_nothing_else() {
    let original = fingerprint(|_, _| {});
    assert_eq!(original, fingerprint(|query, _| query.n = 7));
    assert_eq!(original, fingerprint(|_, settings| settings.dedupe_horizon_ms = 1));
    assert_eq!(original, fingerprint(|_, settings| settings.dedupe_capacity = 1));
    assert_eq!(original, fingerprint(|_, settings| settings.schema.idle = Duration::from_secs(1)));
    assert_eq!(original, fingerprint(|query, _| query.name = "other".to_owned()));
    assert_eq!(
        original,
        fingerprint(|query, _| query.capacity = Some(10_000)),
        "a default that is written out changes nothing"
    );
    assert_eq!(original, fingerprint(|_, settings| settings.dedupe_horizon_ms = 1));
    assert_eq!(original, fingerprint(|_, settings| settings.dedupe_capacity = 8_000_000));
    let others = [
        fingerprint(|query, _| query.item = "/group/group_city".parse().unwrap()),
        fingerprint(|query, _| query.window = Window::Running),
        fingerprint(|query, _| {
            query.window =
                Window::Sliding(Sliding { slide: Duration::from_secs(10), ..half_hour() })
        }),
        fingerprint(|query, _| {
            query.window = Window::Sliding(Sliding { skew: Duration::from_secs(1), ..half_hour() })
        }),
        fingerprint(|query, _| {
            query.window =
                Window::Sliding(Sliding { lateness: Duration::from_secs(5), ..half_hour() })
        }),
        fingerprint(|query, _| query.capacity = Some(200)),
        fingerprint(|_, settings| settings.capacity = 200),
        fingerprint(|_, settings| settings.schema.max_future = Duration::ZERO),
        fingerprint(|_, settings| settings.schema.max_jump = Duration::from_secs(1)),
        fingerprint(|_, settings| settings.schema.id = Id::Payload),
        fingerprint(|_, settings| {
            settings.schema.time.as_mut().unwrap().unit = common::event::time::Unit::Us
        }),
    ];
    let different: BTreeSet<Fingerprint> = others.into_iter().collect();
    assert!(!different.contains(&original));
    // The two ways to set the capacity are the same setting.
    assert_eq!(different.len(), others.len() - 1);
}

/// If this text changes, every installation loses its counts. So a setting that is added must be written only
/// where it is not the default.
#[test]
fn the_written_meaning_of_a_query_stays_the_same_from_build_to_build() {
    let plan = Plan::new(&Query::defaults(), Settings::default()).unwrap();
    let written: Vec<String> = plan
        .queries()
        .iter()
        .map(|planned| meaning(&planned.query, planned.capacity, plan.settings()))
        .collect();
    let topics = "1\nkind top\nitem /group/group_topics/*/topic_name\nwindow running\ncapacity 10000\n\
                  id /rsvp_id /response\ntime /mtime ms\nmax_jump 600000\nmax_future 86400000\n";
    assert_eq!(written[0], topics);
    assert_eq!(written[1], topics.replace("window running", "window sliding 1800000 5000"));
    let ids: Vec<String> = plan.queries().iter().map(|planned| planned.id().to_string()).collect();
    let expected =
        ["topics:7fa9f26b479ae3a0", "topics_30m:b6621a3501d6ecfd", "countries:56f0e5110ea684b3"];
    assert_eq!(ids, expected);
    assert_eq!(expected[0].parse(), Ok(plan.queries()[0].id()));
}

#[test]
fn a_window_over_events_that_have_no_time_is_refused() {
    let settings = || {
        let mut settings = Settings::default();
        settings.schema.time = None;
        settings
    };
    let problems = Plan::new(&Query::defaults(), settings()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("'topics_30m'") && problems[0].contains("event.time"));
    assert!(Plan::new(&Query::defaults()[..1], settings()).is_ok());
}

#[test]
fn the_problems_of_all_queries_and_settings_are_reported_together() {
    let mut queries = Query::defaults();
    queries[1].name = "topics".to_owned();
    queries[2].n = 0;
    let settings = Settings { dedupe_capacity: 0, capacity: 20, ..Settings::default() };
    let problems = Plan::new(&queries, settings).unwrap_err();
    let has = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert!(has("dedupe_capacity: must not be 0"), "{problems:#?}");
    assert!(has("query 'topics': name: used twice"), "{problems:#?}");
    assert!(has("query 'topics': n: is 50, more than capacity 20"), "{problems:#?}");
    assert!(has("query 'countries': n: is 0"), "{problems:#?}");
    assert!(!Plan::new(&[], Settings::default()).unwrap_err().is_empty());
}
