use super::*;

fn truth(lines: &[&[u8]]) -> Truth {
    let mut tally = Tally::default();
    for line in lines {
        tally.add(line);
    }
    tally.truth()
}

fn counted(counts: &Counts) -> Vec<(&str, u64)> {
    counts.items.iter().map(|counted| (counted.item.as_str(), counted.count)).collect()
}

#[test]
fn a_redelivery_counts_once_and_a_change_of_mind_counts_again() {
    let truth = truth(&[
        br#"{"rsvp_id":1,"response":"yes","mtime":1234,"group":{"group_country":"us","group_topics":[{"topic_name":"b"},{"topic_name":"a"}]}}"#,
        br#"{"mtime":1000,"response":"yes","rsvp_id":1,"group":{"group_country":"us","group_topics":[{"topic_name":"b"},{"topic_name":"a"}]}}"#,
        br#"{"rsvp_id":1,"response":"no","mtime":9999,"group":{"group_country":"us","group_topics":[{"topic_name":"b"},{"topic_name":"c"}]}}"#,
        b"HTTP/1.1 200 OK",
        b"",
    ]);
    assert_eq!((truth.sent, truth.bad, truth.events, truth.duplicates), (5, 2, 2, 1));
    assert_eq!(
        counted(&truth.topics),
        [("b", 2), ("a", 1), ("c", 1)],
        "ties stand in the order of their bytes"
    );
    assert_eq!((truth.topics.total, truth.topics.distinct), (4, 3));
    assert_eq!(counted(&truth.countries), [("us", 2)]);
}

#[test]
fn what_is_no_string_where_a_name_should_be_counts_nothing() {
    let lines: [&[u8]; 6] = [
        br#"{"rsvp_id":6,"response":"yes","group":[[["in an array"]],"fr"]}"#,
        br#"{"rsvp_id":1,"response":"yes","group":{"group_country":null,"group_topics":[{"topic_name":5},7,{"x":1},{"topic_name":"ok"}]}}"#,
        br#"{"rsvp_id":2,"response":"yes","group":{"group_topics":{"topic_name":"not a list"}}}"#,
        br#"{"rsvp_id":3,"response":"yes","group":[]}"#,
        br#"{"rsvp_id":4,"response":"yes","huge":1e999}"#,
        b"\xef\xbb\xbf {\"rsvp_id\":5,\"response\":\"yes\",\"group\":{\"group_country\":\"de\"}} ",
    ];
    let truth = truth(&lines);
    assert_eq!((truth.events, truth.bad), (6, 0));
    assert_eq!(counted(&truth.topics), [("ok", 1)]);
    assert_eq!(counted(&truth.countries), [("de", 1)]);
}

#[test]
fn every_kind_of_escape_gives_the_text_it_means() {
    let truth = truth(&[
        br#"{"rsvp_id":1,"response":"yes","group":{"group_topics":[{"topic_name":"\ud83c\udfa4"},{"topic_name":"a\/b\\ud800"},{"topic_name":"x\ud800y"},{"topic_name":"\udc00\ud83c\udfa4\ud83c"},{"topic_name":"\u00e9\t"}]}}"#,
    ]);
    let mut names: Vec<&str> =
        truth.topics.items.iter().map(|counted| counted.item.as_str()).collect();
    names.sort_unstable();
    let mut expected =
        ["\u{1f3a4}", "a/b\\ud800", "x\u{fffd}y", "\u{fffd}\u{1f3a4}\u{fffd}", "\u{e9}\t"];
    expected.sort_unstable();
    assert_eq!(names, expected);
}
