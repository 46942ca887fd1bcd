//! Divides a frame into its messages, whose bytes stay as they were in the frame.

use std::ops::Range;

use common::event::json::Reader;
use common::event::{Pointer, Reason, Step};

use crate::config::Framing;

/// The messages that `frame` holds, in order. An empty array has none.
///
/// # Errors
/// Why the frame cannot be divided; the whole frame is then one dead letter.
pub fn split<'a>(
    framing: &Framing,
    frame: &'a [u8],
) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, Reason> {
    let spans = match framing {
        Framing::One => std::iter::once(0..frame.len()).collect(),
        Framing::Lines => lines(frame)?,
        Framing::Concatenated => concatenated(frame)?,
        Framing::Array(place) => elements(frame, place.as_ref())?,
    };
    Ok(spans.into_iter().map(|span| &frame[span]))
}

/// The same, where a frame that cannot be divided is one message, with the reason why it is none.
pub fn divide<'a>(
    framing: &Framing,
    frame: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], Option<Reason>)> + use<'a> {
    let (messages, refused) = match split(framing, frame) {
        Ok(messages) => (Some(messages), None),
        Err(reason) => (None, Some((frame, Some(reason)))),
    };
    messages.into_iter().flatten().map(|message| (message, None)).chain(refused)
}

fn lines(frame: &[u8]) -> Result<Vec<Range<usize>>, Reason> {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in frame.split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.trim_ascii().is_empty() {
            spans.push(start..start + text.len());
        }
        start = end;
    }
    if spans.is_empty() { Err(Reason::Empty) } else { Ok(spans) }
}

fn concatenated(frame: &[u8]) -> Result<Vec<Range<usize>>, Reason> {
    let mut reader = Reader::of_payload(frame)?;
    let skipped = frame.len() - reader.text().len();
    let mut spans = Vec::new();
    while reader.peek().is_some() {
        spans.push(value(&mut reader, skipped)?);
    }
    Ok(spans)
}

fn elements(frame: &[u8], place: Option<&Pointer>) -> Result<Vec<Range<usize>>, Reason> {
    let mut reader = Reader::of_payload(frame)?;
    let skipped = frame.len() - reader.text().len();
    let mut spans = None;
    walk(&mut reader, place.map_or(&[], Pointer::steps), skipped, &mut spans)?;
    reader.end()?;
    spans.ok_or(Reason::BadFraming)
}

/// Reads the value that comes next to its end, and the elements of the array to which `steps` lead.
fn walk(
    reader: &mut Reader<'_>,
    steps: &[Step],
    skipped: usize,
    spans: &mut Option<Vec<Range<usize>>>,
) -> Result<(), Reason> {
    let Some((Step::Key(wanted), rest)) = steps.split_first() else {
        if !reader.open(b'[')? {
            return Err(Reason::BadFraming);
        }
        let mut found = Vec::new();
        while reader.element(found.is_empty())? {
            found.push(value(reader, skipped)?);
        }
        // The path leads to two arrays, and it is not known which one is meant.
        return if spans.replace(found).is_some() { Err(Reason::DuplicateKey) } else { Ok(()) };
    };
    if !reader.open(b'{')? {
        return Err(Reason::BadFraming);
    }
    let mut first = true;
    while reader.member(first)? {
        first = false;
        let name = reader.name()?;
        if reader.resolve(name) == wanted.as_str() {
            walk(reader, rest, skipped, spans)?;
        } else {
            reader.skip()?;
        }
    }
    Ok(())
}

/// Skips the value that comes next, and returns where it is in the frame.
fn value(reader: &mut Reader<'_>, skipped: usize) -> Result<Range<usize>, Reason> {
    reader.peek();
    let start = reader.position();
    reader.skip()?;
    Ok(skipped + start..skipped + reader.position())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(framing: &Framing, frame: &str) -> Result<Vec<String>, Reason> {
        let texts = split(framing, frame.as_bytes())?;
        Ok(texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect())
    }

    fn within(place: &str) -> Framing {
        Framing::Array(Some(place.parse().unwrap()))
    }

    #[test]
    fn each_framing_divides_a_frame_into_its_unchanged_messages() {
        let (lines, array) = (Framing::Lines, Framing::Array(None));
        for (framing, frame, messages) in [
            (&Framing::One, " [1] ", vec![" [1] "]),
            (&Framing::One, "", vec![""]),
            (&lines, "{\"a\":1}\r\n\n {\"a\": 2}\n", vec!["{\"a\":1}", " {\"a\": 2}"]),
            (&lines, "not json\n{}", vec!["not json", "{}"]),
            (
                &Framing::Concatenated,
                "{\"a\":1}{\"b\" : 2} \n 3",
                vec!["{\"a\":1}", "{\"b\" : 2}", "3"],
            ),
            (&Framing::Concatenated, "\u{feff}{}[]", vec!["{}", "[]"]),
            (
                &array,
                " [ {\"a\": [1, 2]} ,\"x]\", 1.50 ] ",
                vec!["{\"a\": [1, 2]}", "\"x]\"", "1.50"],
            ),
            (&array, "[]", vec![]),
            (
                &within("/params/message"),
                r#"{"params":{"other":[9],"message":[{"id":1},{"id":2}]},"message":[8]}"#,
                vec![r#"{"id":1}"#, r#"{"id":2}"#],
            ),
            (&within("/a"), r#"{"\u0061":[1]}"#, vec!["1"]),
        ] {
            assert_eq!(texts(framing, frame).unwrap(), messages, "{framing:?} {frame}");
        }
    }

    #[test]
    fn a_frame_that_cannot_be_divided_is_refused_whole() {
        let array = Framing::Array(None);
        for (framing, frame, reason) in [
            (Framing::Lines, "\n \n", Reason::Empty),
            (Framing::Concatenated, "{}{", Reason::NotJson),
            (Framing::Concatenated, " ", Reason::Empty),
            (array.clone(), "{}", Reason::BadFraming),
            (array.clone(), "[1,]", Reason::NotJson),
            (array.clone(), "[1] 2", Reason::NotJson),
            (array, &"[".repeat(200), Reason::TooDeep),
            (within("/a"), r#"{"b":[1]}"#, Reason::BadFraming),
            (within("/a"), r#"{"a":{"b":1}}"#, Reason::BadFraming),
            (within("/a"), "[1]", Reason::BadFraming),
            (within("/a"), r#"{"a":[1],"a":[2]}"#, Reason::DuplicateKey),
            (within("/a"), r#"{"a":[1],"b":}"#, Reason::NotJson),
        ] {
            assert_eq!(texts(&framing, frame), Err(reason), "{framing:?} {frame}");
        }
    }

    proptest! {
        #[test]
        fn an_array_gives_back_what_was_put_into_it(numbers in prop::collection::vec(any::<i32>(), 0..9), blank in "[ \n]{0,2}") {
            let elements: Vec<_> = numbers.iter().map(|number| format!(r#"{{"id":{number}}}"#)).collect();
            let array = format!("[{}]", elements.join(&format!("{blank},{blank}")));
            prop_assert_eq!(&texts(&Framing::Array(None), &array).unwrap(), &elements);
            let envelope = format!(r#"{{"a":{{"b":{blank}{array}}},"c":null}}"#);
            prop_assert_eq!(&texts(&within("/a/b"), &envelope).unwrap(), &elements);
            if !elements.is_empty() {
                prop_assert_eq!(&texts(&Framing::Concatenated, &elements.join(&blank)).unwrap(), &elements);
                prop_assert_eq!(&texts(&Framing::Lines, &elements.join("\n")).unwrap(), &elements);
            }
        }

        #[test]
        fn any_bytes_are_divided_or_refused(frame in prop::collection::vec(any::<u8>(), 0..64)) {
            for framing in [Framing::One, Framing::Lines, Framing::Concatenated, Framing::Array(None), within("/a")] {
                if let Ok(messages) = split(&framing, &frame) {
                    prop_assert!(messages.map(|message| message.len()).sum::<usize>() <= frame.len());
                }
            }
        }
    }
}
