use proptest::prelude::*;

use super::*;

/// What comes out: each payload, and whether it was cut.
fn divided(framing: &Framing, limit: usize, chunks: &[&[u8]]) -> (Vec<(String, bool)>, bool) {
    let mut splitter = Splitter::new(framing, limit);
    let (mut frames, mut lost) = (Vec::new(), false);
    let mut take = |splitter: &mut Splitter| loop {
        assert!(splitter.begun.len() <= limit + 2, "what is kept is bounded");
        match splitter.next() {
            Ok(Some(frame)) => {
                assert!(frame.payload.len() <= limit);
                let payload = String::from_utf8_lossy(&frame.payload).into_owned();
                frames.push((payload, frame.cut.is_some()));
            }
            Ok(None) => return false,
            Err(_) => return true,
        }
    };
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        if take(&mut splitter) {
            lost = true;
            break;
        }
    }
    if !lost {
        splitter.end();
        lost = take(&mut splitter);
    }
    (frames, lost)
}

fn whole(texts: &[&str]) -> (Vec<(String, bool)>, bool) {
    (texts.iter().map(|text| ((*text).to_owned(), false)).collect(), false)
}

#[test]
fn each_framing_finds_the_messages_in_a_stream() {
    let (lines, texts) = (Framing::Lines, Framing::Concatenated);
    for (framing, stream, messages) in [
        (
            &lines,
            "{\"a\":1}\n{\"b\":2}\r\n\r\n \nnot json\n",
            vec!["{\"a\":1}", "{\"b\":2}", "not json"],
        ),
        (&lines, "{\"a\":1}\n{\"whole\":true}", vec!["{\"a\":1}", "{\"whole\":true}"]),
        (&lines, "{\"a\":1}\n{\"bro", vec!["{\"a\":1}"]),
        (&lines, "a\rb\n\r\n", vec!["a\rb"]),
        (
            &texts,
            "{\"a\":\"}\\\"{\"}[1,\n2]\n \"x\"3 {}true",
            vec!["{\"a\":\"}\\\"{\"}", "[1,\n2]", "\"x\"", "3", "{}", "true"],
        ),
        (&texts, "{\"a\":1}{\"bro", vec!["{\"a\":1}"]),
        (&texts, "}}{} x{}", vec!["}}", "{}", "x", "{}"]),
    ] {
        assert_eq!(divided(framing, 100, &[stream.as_bytes()]), whole(&messages), "{stream}");
    }
}

#[test]
fn of_a_line_above_the_limit_the_beginning_comes_out_and_the_rest_is_dropped() {
    let stream =
        format!("{}\r\n{}\n{}\r\nnext\n", "x".repeat(10), "y".repeat(11), "z".repeat(5000));
    let (frames, lost) = divided(&Framing::Lines, 10, &[stream.as_bytes()]);
    let expected = [("x", 10, false), ("y", 10, true), ("z", 10, true), ("next", 1, false)];
    let expected: Vec<_> = expected.map(|(text, times, cut)| (text.repeat(times), cut)).into();
    assert_eq!((frames, lost), (expected, false));
    let endless = vec![b'x'; 1 << 20];
    let (frames, _) = divided(&Framing::Lines, 5000, &[&endless, &endless]);
    assert_eq!(frames, [("x".repeat(CUT_BYTES), true)], "told before it ends");
}

#[test]
fn after_a_json_text_above_the_limit_the_stream_cannot_be_read_on() {
    let (frames, lost) = divided(&Framing::Concatenated, 10, &[b"{\"a\":1} [\"0123456789\"] {}"]);
    let cut = ("[\"01234567".to_owned(), true);
    assert_eq!((frames, lost), (vec![("{\"a\":1}".to_owned(), false), cut], true));
}

/// What comes out of a file: each payload, whether it was cut, and where the file would be read on after it.
fn of_file(framing: &Framing, limit: usize, file: &[u8], size: usize) -> Vec<(String, bool, u64)> {
    let mut splitter = Splitter::of_file(framing, limit, false);
    let mut found = Vec::new();
    let mut note = |frame: Frame, at| {
        let payload = String::from_utf8_lossy(&frame.payload).into_owned();
        found.push((payload, frame.cut.is_some(), at));
    };
    for chunk in file.chunks(size) {
        splitter.push(Bytes::copy_from_slice(chunk));
        while let Some(frame) = splitter.next().unwrap() {
            note(frame, splitter.consumed());
        }
    }
    if let Some(rest) = splitter.take_rest() {
        note(rest, splitter.consumed());
    }
    found
}

#[test]
fn a_file_is_read_on_after_what_is_too_large_and_its_last_line_needs_no_end() {
    let text = |text: &str, at| (text.to_owned(), false, at);
    let cut = |text: &str, at| (text.to_owned(), true, at);
    for size in [1, 3, 100] {
        let found = of_file(&Framing::Concatenated, 10, b"{}[\"0123456789\"] {\"a\":1}{\"b", size);
        let begins = ("[\"01234567".to_owned(), true);
        assert_eq!((found[1].0.clone(), found[1].1), begins);
        assert_eq!(
            [&found[0], &found[2], &found[3]],
            [&text("{}", 2), &text("{\"a\":1}", 24), &text("{\"b", 27)]
        );
        let found = of_file(&Framing::Lines, 10, b"\0\0\0{}\r\n\0\0\nx\0y\nrest\r", size);
        assert_eq!(found, [text("{}", 7), text("x\0y", 14), text("rest", 19)]);
    }
    let found = of_file(&Framing::Lines, 3, b"0123456\n{}\n", 100);
    assert_eq!(found, [cut("012", 8), text("{}", 11)]);
}

#[test]
fn a_file_is_read_on_in_the_middle_of_a_line_that_was_cut() {
    let mut splitter = Splitter::of_file(&Framing::Lines, 3, true);
    splitter.push(Bytes::from_static(b"456\n{}\n"));
    assert_eq!(splitter.next().unwrap().unwrap().payload, "{}");
    splitter.push(Bytes::from_static(b"0123"));
    assert!(splitter.next().unwrap().unwrap().cut.is_some() && splitter.is_cutting());
    assert!(splitter.take_rest().is_none() && !splitter.is_cutting());
}

proptest! {
    #[test]
    fn a_file_is_read_on_from_any_of_its_messages(
        parts in prop::collection::vec("[{}\\[\\]\"\\\\ \r\na1,:\0]{0,14}", 0..12), size in 1..9_usize, limit in 3..20_usize,
    ) {
        let file = parts.concat();
        let all = of_file(&Framing::Lines, limit, file.as_bytes(), size);
        for (number, (_, cut, at)) in all.iter().enumerate() {
            let mut splitter = Splitter::of_file(&Framing::Lines, limit, *cut && !file.as_bytes()[..*at as usize].ends_with(b"\n"));
            splitter.push(Bytes::copy_from_slice(&file.as_bytes()[*at as usize..]));
            let mut rest = Vec::new();
            while let Some(frame) = splitter.next().unwrap() {
                rest.push(String::from_utf8_lossy(&frame.payload).into_owned());
            }
            rest.extend(splitter.take_rest().map(|frame| String::from_utf8_lossy(&frame.payload).into_owned()));
            let expected: Vec<_> = all[number + 1..].iter().map(|(payload, ..)| payload.clone()).collect();
            prop_assert_eq!(rest, expected);
        }
    }

    #[test]
    fn messages_come_out_the_same_however_the_bytes_are_divided(
        parts in prop::collection::vec("[{}\\[\\]\"\\\\ \r\na1,:]{0,14}", 0..12), size in 1..9_usize, limit in 3..20_usize,
    ) {
        let stream = parts.concat();
        for framing in [Framing::Lines, Framing::Concatenated] {
            let at_once = divided(&framing, limit, &[stream.as_bytes()]);
            let parts: Vec<_> = stream.as_bytes().chunks(size).collect();
            prop_assert_eq!(divided(&framing, limit, &parts), at_once);
        }
    }

    #[test]
    fn json_texts_come_out_as_they_went_in(numbers in prop::collection::vec(any::<i32>(), 1..9), blank in "[ \r\n\t]{0,3}", size in 1..20_usize) {
        let texts: Vec<_> = numbers.iter().map(|number| format!(r#"{{"a":[{number},"\"}}"]}}"#)).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        for (framing, between) in [(Framing::Concatenated, &*blank), (Framing::Lines, "\n"), (Framing::Lines, "\r\n\n")] {
            let stream = texts.join(between);
            let parts: Vec<_> = stream.as_bytes().chunks(size).collect();
            prop_assert_eq!(divided(&framing, 1000, &parts), whole(&texts));
        }
    }

    #[test]
    fn any_bytes_are_divided(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
        for framing in [Framing::Lines, Framing::Concatenated] {
            let parts: Vec<_> = bytes.chunks(size).collect();
            divided(&framing, 16, &parts);
        }
    }
}
