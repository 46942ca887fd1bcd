//! Where the next poll begins, read from the answer before.

use std::cmp::Ordering;

use bytes::Bytes;
use common::event::json::Reader;
use common::event::{Pointer, Reason, Step};

use super::super::framing::split;
use super::super::resume_point::Begin;
use crate::config::{Framing, Resume};

/// The longest position that is sent back, in bytes; a longer one is not taken.
const MAX_BYTES: usize = 4096;

/// The position after this answer; `None` if it says none, or `resume` is another way.
pub(super) fn after(
    resume: &Resume,
    framing: &Framing,
    answer: &[u8],
    begin: &Begin,
) -> Option<Bytes> {
    let position = match resume {
        Resume::None | Resume::Query(_) | Resume::QueryIn(..) | Resume::LastEventId => return None,
        Resume::Answer(_, place) => text_at(answer, place)?,
        Resume::Highest(_, place) => {
            let before = match begin {
                Begin::After(before) => std::str::from_utf8(before).ok().map(str::to_owned),
                Begin::AsConfigured | Begin::At(_) | Begin::Now => None,
            };
            let messages = split(framing, answer).ok()?;
            messages
                .filter_map(|message| text_at(message, place))
                .chain(before)
                .max_by(|one, other| compare(one, other))?
        }
    };
    (!position.is_empty() && position.len() <= MAX_BYTES).then(|| position.into())
}

/// Orders whole numbers by their value, and other texts as texts, such as RFC 3339 times of one form.
fn compare(one: &str, other: &str) -> Ordering {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(one) && digits(other) {
        let [one, other] = [one, other].map(|text| text.trim_start_matches('0'));
        return one.len().cmp(&other.len()).then_with(|| one.cmp(other));
    }
    one.cmp(other)
}

/// The string or number at this place.
fn text_at(json: &[u8], place: &Pointer) -> Option<String> {
    let mut reader = Reader::of_payload(json).ok()?;
    walk(&mut reader, place.steps()).ok()?
}

fn walk(reader: &mut Reader<'_>, steps: &[Step]) -> Result<Option<String>, Reason> {
    let Some((step, rest)) = steps.split_first() else {
        return match reader.peek() {
            Some(b'"') => Ok(reader.open_string()?.map(|raw| reader.resolve(raw).into_owned())),
            Some(b'-' | b'0'..=b'9') => reader.scalar().map(|number| Some(number.to_owned())),
            Some(_) | None => Ok(None),
        };
    };
    let Step::Key(wanted) = step else { return Ok(None) };
    if !reader.open(b'{')? {
        return Ok(None);
    }
    let mut first = true;
    while reader.member(first)? {
        first = false;
        let name = reader.name()?;
        if reader.resolve(name) == wanted.as_str() {
            return walk(reader, rest);
        }
        reader.skip()?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
