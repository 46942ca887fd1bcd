use proptest::prelude::*;

use super::*;

fn texts(form: Form, body: &str) -> Result<Vec<(usize, &str)>, Undivided> {
    let parts = form.divide(body.as_bytes(), 100)?;
    Ok(parts.into_iter().map(|part| (part.line, &body[part.span])).collect())
}

fn bad(line: usize, reason: Reason) -> Undivided {
    Undivided::Bad { line, reason }
}

#[test]
fn each_form_divides_a_body_into_its_unchanged_events_with_their_lines() {
    for (form, body, events) in [
        (Form::Json, " {\"a\": 1}\n", vec![(1, "{\"a\": 1}")]),
        (
            Form::Json,
            "[\n {\"a\":1},\n\n {\"b\":[\n2]} ]",
            vec![(2, "{\"a\":1}"), (4, "{\"b\":[\n2]}")],
        ),
        (Form::Json, "{\"a\":1}\n{\"a\":2}", vec![(1, "{\"a\":1}"), (2, "{\"a\":2}")]),
        (Form::Json, "\u{feff}[{},7]", vec![(1, "{}"), (1, "7")]),
        (
            Form::Lines,
            "{\"a\":1}\r\n\n \t{\"a\":2} \nnot json",
            vec![(1, "{\"a\":1}"), (3, "{\"a\":2}"), (4, "not json")],
        ),
        (
            Form::Sequence,
            "\u{1e}{\"a\":1}\n\u{1e}{\n\"a\":2}\n",
            vec![(1, "{\"a\":1}"), (2, "{\n\"a\":2}")],
        ),
    ] {
        assert_eq!(texts(form, body), Ok(events), "{form:?} {body}");
    }
}

#[test]
fn a_body_that_cannot_be_divided_says_in_which_line_it_ends_to_be_json() {
    for (form, body, error) in [
        (Form::Json, "", bad(1, Reason::Empty)),
        (Form::Json, "[]", bad(1, Reason::Empty)),
        (Form::Lines, " \n\n", bad(1, Reason::Empty)),
        (Form::Sequence, "\u{1e}\n", bad(1, Reason::Empty)),
        (Form::Json, "[{},\n{},\n{x}]", bad(3, Reason::NotJson)),
        (Form::Json, "[{}]\n7", bad(2, Reason::NotJson)),
        (Form::Json, "{}\n{", bad(2, Reason::NotJson)),
        (Form::Json, &format!("\n{}", "[".repeat(200)), bad(2, Reason::TooDeep)),
        (Form::Json, &"1 ".repeat(101), Undivided::TooMany),
        (Form::Lines, &"1\n".repeat(101), Undivided::TooMany),
    ] {
        assert_eq!(texts(form, body), Err(error), "{form:?} {body}");
    }
    let invalid = Form::Json.divide(b"{}\n\"\xff\"", 9);
    assert_eq!(invalid, Err(bad(2, Reason::InvalidUtf8)));
    // A line is an event of its own, and its fault is its own too.
    assert_eq!(Form::Lines.divide(b"{}\n\"\xff\"", 9).map(|parts| parts.len()), Ok(2));
}

#[test]
fn the_content_type_says_the_form_whatever_its_parameters_and_letters() {
    for (text, form) in [
        ("application/json", Some(Form::Json)),
        ("Application/JSON; charset=utf-8", Some(Form::Json)),
        ("application/cloudevents-batch+json", Some(Form::Json)),
        ("application/x-ndjson", Some(Form::Lines)),
        ("application/jsonl ; x=y", Some(Form::Lines)),
        ("application/json-seq", Some(Form::Sequence)),
        ("application/x-www-form-urlencoded", None),
        ("text/plain", None),
        ("", None),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]);
        assert_eq!(Form::of(&headers), form, "{text}");
    }
    assert_eq!(Form::of(&HeaderMap::new()), None);
}

proptest! {
    #[test]
    fn every_form_gives_back_what_was_put_into_it(
        events in prop::collection::vec(("[a-zé]{0,3}", any::<i32>()), 1..20),
        blank in "[ \r\n]{0,3}",
    ) {
        let events: Vec<_> =
            events.iter().map(|(name, value)| format!("{{\"n\":\"{name}\",\"v\":{value}}}")).collect();
        for (form, body) in [
            (Form::Json, format!("[{}]", events.join(&format!("{blank},{blank}")))),
            (Form::Json, events.join(&blank)),
            (Form::Lines, events.join(&format!("{blank}\n{blank}"))),
            (Form::Sequence, events.iter().map(|event| format!("\u{1e}{event}{blank}\n")).collect()),
        ] {
            let found = texts(form, &body).unwrap();
            prop_assert_eq!(&found.iter().map(|(_, text)| *text).collect::<Vec<_>>(), &events);
            let mut from = 0;
            for (line, text) in found {
                let at = from + body[from..].find(text).unwrap();
                prop_assert_eq!(line, body[..at].matches('\n').count() + 1);
                from = at + text.len();
            }
        }
    }

    #[test]
    fn any_bytes_are_divided_within_bounds_or_refused(body in prop::collection::vec(any::<u8>(), 0..64), most in 1usize..4) {
        for form in [Form::Json, Form::Lines, Form::Sequence] {
            match form.divide(&body, most) {
                Ok(parts) => {
                    prop_assert!((1..=most).contains(&parts.len()));
                    prop_assert!(parts.is_sorted_by(|a, b| a.span.end <= b.span.start && a.line <= b.line));
                    prop_assert!(parts.iter().all(|part| part.span.start < part.span.end));
                }
                Err(Undivided::Bad { line, .. }) => {
                    prop_assert!((1..=body.len() + 1).contains(&line));
                }
                Err(Undivided::TooMany) => prop_assert!(body.len() > most),
            }
        }
    }
}
