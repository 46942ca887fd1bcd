use proptest::prelude::*;

use super::*;

/// What comes out: each payload, whether it was cut, and its id.
type Read = Vec<(String, bool, Option<String>)>;

fn read(wanted: &[&str], limit: usize, chunks: &[&[u8]]) -> (Read, Duration) {
    let wanted: Vec<_> = wanted.iter().map(|&kind| kind.to_owned()).collect();
    let mut events = Events::new(&wanted, limit);
    let mut frames = Vec::new();
    for chunk in chunks {
        events.push(Bytes::copy_from_slice(chunk));
        while let Some(frame) = events.next() {
            assert!(frame.payload.len() <= limit);
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            let id = frame.cursor.as_ref().map(text);
            frames.push((text(&frame.payload), frame.cut.is_some(), id));
        }
        let kept = events.line.len() + events.data.as_ref().map_or(0, Vec::len);
        assert!(kept <= 2 * limit.max(MAX_ID_BYTES) + NAME_BYTES, "what is kept is bounded");
    }
    (frames, events.retry())
}

fn data(stream: &str) -> Vec<String> {
    let (frames, _) = read(&[], 1000, &[stream.as_bytes()]);
    frames.into_iter().map(|(payload, ..)| payload).collect()
}

fn ids(stream: &str) -> Vec<Option<String>> {
    let (frames, _) = read(&[], 1000, &[stream.as_bytes()]);
    frames.into_iter().map(|(_, _, id)| id).collect()
}

/// The examples of the standard, and what it says in words.
#[test]
fn events_are_read_as_the_standard_says() {
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    assert_eq!(
        data(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
        ),
        ["first event", "second event", " third event"]
    );
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
    assert_eq!(data("\u{feff}data: a\r\rdata: b\r\n\r\ndata: c\n\ndata: d"), ["a", "b", "c"]);
    assert_eq!(
        data("\n\u{feff}data: a\n\n"),
        Vec::<String>::new(),
        "a mark later is part of the name"
    );
    assert_eq!(data("Data: a\ndata : b\nother: c\n: d\n\nevent: e\n\n"), Vec::<String>::new());
}

#[test]
fn an_id_lasts_until_another_one_and_one_that_cannot_be_sent_back_is_not_taken() {
    let long = "x".repeat(MAX_ID_BYTES + 1);
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(
        ids("data\n\nid: 1\ndata\n\ndata\n\nid\ndata\n\n"),
        [None, some("1"), some("1"), some("")]
    );
    assert_eq!(ids(&format!("id: 1\nid: a\0b\nid: {long}\nid: \u{1}\ndata\n\n")), [some("1")]);
    assert_eq!(ids("id: 1\n\ndata\n\n"), [some("1")], "also from an event without data");
    assert_eq!(ids("id: [{\"topic\":\"ü\"}]\ndata\n\n"), [some("[{\"topic\":\"ü\"}]")]);
}

#[test]
fn retry_is_a_minute_at_most() {
    let retry = |line: &str| read(&[], 100, &[format!("{line}\n").as_bytes()]).1;
    for (line, ms) in [
        ("retry: 1500", 1500),
        ("retry: 1.5", 0),
        ("retry", 0),
        ("retry: -1", 0),
        ("retry: 99999999", 60_000),
        ("retry: 99999999999999999999999999", 60_000),
    ] {
        assert_eq!(retry(line), Duration::from_millis(ms), "{line}");
    }
}

#[test]
fn only_the_wanted_types_are_messages() {
    let stream = "event: update\ndata: 1\n\nevent: delete\ndata: 2\n\ndata: 3\n\nevent: delete\nid: 9\ndata: 4\n\nevent: update\ndata: 5\n\n";
    let payloads = |wanted: &[&str]| -> Vec<String> {
        let (frames, _) = read(wanted, 100, &[stream.as_bytes()]);
        frames.into_iter().map(|(payload, ..)| payload).collect()
    };
    assert_eq!(payloads(&[]), ["1", "2", "3", "4", "5"]);
    assert_eq!(payloads(&["update"]), ["1", "5"]);
    assert_eq!(payloads(&["message", "delete"]), ["2", "3", "4"]);
    let (frames, _) = read(&["update"], 100, &[stream.as_bytes()]);
    assert_eq!(frames[1].2.as_deref(), Some("9"), "the others move the cursor");
}

#[test]
fn of_an_event_above_the_limit_the_beginning_comes_out_and_the_rest_is_dropped() {
    let lines = format!("data: {}\n", "x".repeat(8)).repeat(3000);
    let stream = format!("data: {}\n\n{lines}id: 7\n\ndata: next\n\n", "x".repeat(2000));
    let (frames, _) = read(&[], 2000, &[stream.as_bytes()]);
    let payload = "xxxxxxxx\n".repeat(200)[..CUT_BYTES].to_owned();
    let id = Some("7".to_owned());
    let (cut, next) = ((payload, true, id.clone()), ("next".to_owned(), false, id));
    assert_eq!(frames, [("x".repeat(2000), false, None), cut, next]);
    let endless = vec![b'x'; 1 << 20];
    let (frames, _) = read(&[], 5000, &[b"data:", &endless, &endless, b"\n\n"]);
    assert_eq!(frames, [("x".repeat(CUT_BYTES), true, None)]);
    let (frames, _) = read(&[], 5000, &[b": ", &endless, b"\nid: ", &endless, b"\ndata: a\n\n"]);
    assert_eq!(frames, [("a".to_owned(), false, None)]);
}

#[test]
fn whether_an_event_above_the_limit_is_wanted_is_decided_at_its_end() {
    let large = "x".repeat(2001);
    let stream = format!("data: {large}\nevent: edit\n\ndata: {large}\nevent: other\n\n");
    for (wanted, kinds) in [(&["edit"][..], 1), (&["message"], 0), (&[], 2)] {
        let (frames, _) = read(wanted, 2000, &[stream.as_bytes()]);
        assert_eq!(frames.len(), kinds, "{wanted:?}");
        assert!(frames.iter().all(|(_, is_cut, _)| *is_cut));
    }
}

proptest! {
    #[test]
    fn events_come_out_the_same_however_the_bytes_are_divided(
        lines in prop::collection::vec(
            prop_oneof!["data:[ a\u{feff}]{0,9}", "id: ?[a-c]{0,3}", "event: ?[ab]?", "retry: ?[0-9]{0,3}", ":a{0,40}", "[a:]{0,4}", "", "", "\u{feff}data:b"],
            0..20,
        ),
        ends in prop::collection::vec(prop_oneof!["\n", "\r", "\r\n"], 20),
        size in 1..9_usize, limit in 1..12_usize,
    ) {
        let stream: String = lines.iter().zip(&ends).flat_map(|(line, end)| [&**line, &**end]).collect();
        let at_once = read(&["message", "a"], limit, &[stream.as_bytes()]);
        let parts: Vec<_> = stream.as_bytes().chunks(size).collect();
        prop_assert_eq!(read(&["message", "a"], limit, &parts), at_once);
    }

    #[test]
    fn what_was_sent_as_data_arrives(
        texts in prop::collection::vec("[^\r\n\0]{0,20}(\n[^\r\n\0]{0,20}){0,2}", 0..8), end in prop_oneof!["\n", "\r", "\r\n"], size in 1..20_usize,
    ) {
        let lines = |text: &String| -> String {
            text.split('\n').map(|line| format!("data: {line}{end}")).collect()
        };
        let stream: String = texts.iter().map(|text| format!("{}{end}", lines(text))).collect();
        let parts: Vec<_> = stream.as_bytes().chunks(size).collect();
        let (frames, _) = read(&[], 1000, &parts);
        let payloads: Vec<_> = frames.into_iter().map(|(payload, ..)| payload).collect();
        prop_assert_eq!(payloads, texts);
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        let parts: Vec<_> = bytes.chunks(size).collect();
        read(&[], 16, &parts);
    }
}
