use super::*;

fn rsvp(id: u64, response: &str, topic: &str) -> String {
    format!(
        r#"{{"rsvp_id":{id},"response":"{response}","mtime":1,"group":{{"group_country":"de","group_topics":[{{"topic_name":"{topic}"}}]}}}}"#
    )
}

#[test]
fn a_redelivery_counts_once_and_a_change_of_mind_twice() {
    let oracle =
        Oracle::of([rsvp(1, "yes", "Social"), rsvp(1, "yes", "Social"), rsvp(1, "no", "Social")]);
    assert_eq!((oracle.lines, oracle.duplicates, oracle.events(), oracle.bad), (3, 1, 2, 0));
    assert_eq!(oracle.topics().top(10), [("Social".to_owned(), 2)]);
    assert_eq!(oracle.countries().top(10), [("de".to_owned(), 2)]);
}

#[test]
fn lines_that_are_not_events_are_bad() {
    let bad = [
        "",
        "null",
        "[1]",
        "{}",
        "{\"rsvp_id\":1}",
        r#"{"rsvp_id":[1],"response":"yes"}"#,
        r#"{"rsvp_id":1,"rsvp_id":1,"response":"yes"}"#,
    ];
    let oracle = Oracle::of(bad);
    assert_eq!((oracle.bad, oracle.events()), (bad.len() as u64, 0));
}

#[test]
fn a_lone_surrogate_becomes_the_replacement_character() {
    let oracle = Oracle::of([
        rsvp(1, "yes", r"a\ud83db"),
        rsvp(2, "yes", r"\ud83d\ude00"),
        rsvp(3, "yes", r"\\ud83d"),
        rsvp(4, "yes", r"\udc00\u0041"),
    ]);
    let answer = oracle.topics();
    for item in ["a\u{fffd}b", "\u{1f600}", "\\ud83d", "\u{fffd}A"] {
        assert_eq!(answer.count_of(item), 1, "{item}");
    }
}

#[test]
fn the_last_window_ends_after_the_newest_event() {
    let at = |id: u64, time: i64| {
        rsvp(id, "yes", &format!("t{time}")).replace("\"mtime\":1", &format!("\"mtime\":{time}"))
    };
    let oracle = Oracle::of([at(1, 10_000), at(2, 4_999), at(3, 5_000), at(4, 14_999)]);
    let answer = oracle.topics_of_last(10_000, 5_000);
    assert_eq!((answer.total(), answer.count_of("t4999")), (3, 0));
}

#[test]
fn a_feed_without_ids_is_counted_by_line_or_by_content() {
    let lines = [r#"{"a":["x","y"]}"#, r#"{"a":["x","y"]}"#, r#"{"a":["x"]}"#, "null"];
    for (id, duplicates, x) in [(Id::None, 0, 3), (Id::Payload, 1, 2)] {
        let oracle = Oracle::of_feed(lines, &Feed { id, time: None, items: &["/a/*"] });
        assert_eq!(
            (oracle.bad, oracle.duplicates, oracle.untimed),
            (1, duplicates, 4 - 1 - duplicates)
        );
        assert_eq!(oracle.answer(0).count_of("x"), x);
    }
}

#[test]
fn numbers_are_items_by_their_shortest_decimal_and_ids_by_their_text() {
    let feed = Feed { id: Id::Fields(&["/id"]), time: None, items: &["/n"] };
    let lines = [
        r#"{"id":1,"n":5}"#,
        r#"{"id":"2","n":5.0}"#,
        r#"{"id":"1","n":5}"#,
        r#"{"id":3,"n":0.5}"#,
    ];
    let oracle = Oracle::of_feed(lines, &feed);
    assert_eq!((oracle.duplicates, oracle.answer(0).count_of("5")), (1, 2));
    assert_eq!(oracle.answer(0).count_of("0.5"), 1);
}

#[test]
fn one_moment_is_the_same_in_every_unit() {
    for (written, unit) in [
        ("1425788568167", Unit::Ms),
        ("1425788568167.9", Unit::Ms),
        ("1425788568167999", Unit::Us),
        ("1425788568167999999", Unit::Ns),
        (r#""2015-03-08T04:22:48.1679Z""#, Unit::Rfc3339),
        (r#""2015-03-08T09:52:48.167+05:30""#, Unit::Rfc3339),
        (r#""2015-03-07T23:22:48.167-05:00""#, Unit::Rfc3339),
    ] {
        let value = serde_json::from_str(written).unwrap();
        assert_eq!(time::ms(&value, unit), Some(1_425_788_568_167), "{written}");
    }
    let ms = |written: &str, unit| time::ms(&serde_json::from_str(written).unwrap(), unit);
    assert_eq!(ms("-1", Unit::Us), Some(-1));
    assert_eq!(ms("2", Unit::S), Some(2_000));
    assert_eq!(ms(r#""1969-12-31T23:59:59Z""#, Unit::Rfc3339), Some(-1_000));
    assert_eq!(ms(r#""2000-02-29T00:00:00Z""#, Unit::Rfc3339), Some(951_782_400_000));
    assert_eq!(ms(r#""7""#, Unit::Ms), None);
    assert_eq!(ms("7", Unit::Rfc3339), None);
}
