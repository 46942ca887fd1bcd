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
fn what_is_no_event_is_bad() {
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
fn half_a_surrogate_pair_is_a_replacement_character() {
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
