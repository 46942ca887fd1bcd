use common::event::Time as TimeField;
use common::event::time::Unreadable;

use super::*;
use crate::core::plan::Settings;
use crate::core::query::Query;

fn plan(unit: Unit) -> Plan {
    let mut settings = Settings::default();
    settings.schema.time = Some(TimeField { path: "/mtime".parse().unwrap(), unit });
    Plan::new(&Query::defaults(), settings).unwrap()
}

fn texts(notices: &mut Notices, unit: Unit) -> Vec<String> {
    notices.take(&plan(unit)).iter().map(ToString::to_string).collect()
}

#[test]
fn events_that_are_set_aside_are_reported_once_with_path_and_example() {
    let mut notices = Notices::default();
    notices.event(Time::At(1_425_772_800_000, "1425772800000"), false);
    assert_eq!(texts(&mut notices, Unit::Ms), Vec::<String>::new());
    notices.event(Time::Missing, false);
    notices.event(Time::Unreadable("\"soon\"", Unreadable::NoNumber), false);
    notices.event(Time::At(1_625_772_800_000, "1625772800000"), true);
    let told = texts(&mut notices, Unit::Ms);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(
        "2 events have no time that can be read at /mtime, one of them has nothing there"
    ));
    assert!(
        told[1].contains("1 events are dated so far ahead")
            && told[1].contains("has 1625772800000 at /mtime")
    );
    assert_eq!(texts(&mut notices, Unit::Ms), Vec::<String>::new());
}

#[test]
fn times_of_another_unit_are_recognised_by_all_of_them_being_off() {
    let now_s = 1_425_772_800_i64;
    // The configured unit, the number that an event has, the time that it is read as, and the right unit.
    for (said, written, time_ms, unit) in [
        (Unit::Ms, now_s, now_s, "\"s\""),
        (Unit::Ms, now_s * 1_000_000, now_s * 1_000_000, "\"us\""),
        (Unit::S, now_s * 1_000, now_s * 1_000_000, "\"ms\""),
        (Unit::Us, now_s, now_s / 1_000, "\"s\""),
    ] {
        let mut notices = Notices::default();
        (0..20).for_each(|_| notices.event(Time::At(time_ms, &written.to_string()), false));
        let told = texts(&mut notices, said);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("20 of 20 times at /mtime") && told[0].ends_with(unit),
            "{told:?}"
        );
    }
    let mut notices = Notices::default();
    let written = (now_s * 1_000_000_000).to_string();
    for _ in 0..20 {
        notices.event(Time::Unreadable(&written, Unreadable::TooFar), false);
        notices.beyond(&written, Unit::Ms);
    }
    let told = texts(&mut notices, Unit::Ms);
    assert!(told[0].contains("1000000 times too large") && told[0].ends_with("\"ns\""), "{told:?}");
}

#[test]
fn a_few_odd_times_are_not_taken_for_another_unit() {
    let mut notices = Notices::default();
    (0..100).for_each(|_| notices.event(Time::At(1_425_772_800_000, "1"), false));
    (0..10).for_each(|_| notices.event(Time::At(1_425_772_800, "1"), false));
    assert_eq!(texts(&mut notices, Unit::Ms), Vec::<String>::new());
}

#[test]
fn a_query_without_a_match_is_reported_once_whichever_partition_counts_its_events() {
    let (mut all, mut one) = (Notices::default(), Notices::default());
    for _ in 0..2 {
        assert_eq!(texts(&mut all, Unit::Ms), Vec::<String>::new());
        (0..UNMATCHED_AFTER / 2).for_each(|_| one.event(Time::At(1_425_772_800_000, "1"), false));
        one.matched(1);
        all.absorb(&mut one);
    }
    let told = texts(&mut all, Unit::Ms);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(
        "query 'topics' has found no item in 10000 events: /group/group_topics/*/topic_name"
    ));
    assert!(told[1].starts_with("query 'countries'"));
    assert_eq!(texts(&mut all, Unit::Ms), Vec::<String>::new());
}

#[test]
fn an_example_is_cut() {
    let mut notices = Notices::default();
    notices.event(Time::Unreadable(&"ä".repeat(1_000), Unreadable::NoNumber), false);
    let told = texts(&mut notices, Unit::Ms);
    assert!(told[0].len() < 400, "{told:?}");
}
