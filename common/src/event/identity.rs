//! Who an event is: whether a payload is an event at all, and its key, id and time.
//!
//! One pass over the bytes, without building a tree and without recursion: the payload of a stranger
//! decides neither how much stack nor how much time is used. The pass checks *all* of the payload, not
//! only the fields that it reads, so that what is accepted here is accepted by every later reader.
//!
//! | payload | answer |
//! |---|---|
//! | nothing, or white space only | [`Reason::Empty`] |
//! | not UTF-8 | [`Reason::InvalidUtf8`] |
//! | nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH) | [`Reason::TooDeep`], whatever follows |
//! | not JSON (RFC 8259), or data after it | [`Reason::NotJson`] |
//! | JSON, but not an object | [`Reason::NotObject`] |
//! | a name twice in one object, at any depth | [`Reason::DuplicateKey`] |
//! | key or a part of the id absent | [`Reason::MissingId`] |
//! | key or a part of the id of another type | [`Reason::BadId`] |
//!
//! Tolerated: one leading byte order mark, lone surrogate escapes (`"\ud800"`, read as U+FFFD), and
//! numbers of any size in fields that are not read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Pointer, Reason, Step};

mod scan;
#[cfg(test)]
mod tests;

use scan::{Field, Found};

/// Where an event says who it is and when it happened.
///
/// The default is Meetup's RSVP: keyed by `rsvp_id`, identified by `rsvp_id` and `response` together
/// (a re-delivery with a rounded `mtime` is the same event, a change of mind is a new one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schema {
    /// The subject: events with the same key keep their order and share a partition.
    pub key: Pointer,
    /// What makes two payloads the same event; all parts together, in this order.
    pub id: Vec<Pointer>,
    /// Which of `key` and `id` are JSON integers; the others are strings.
    pub integers: Vec<Pointer>,
    /// When it happened, in milliseconds since 1970; an event without it is still an event.
    pub time: Pointer,
}

/// Who an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject's id, e.g. `1525`.
    pub key: String,
    /// The event's id: its parts joined by `:`, e.g. `1525:yes`. A `:` or `\` inside a part other than
    /// the last is escaped by `\`, so that different parts never give the same id.
    pub id: String,
    /// Milliseconds since 1970, rounded down; `None` where absent, not a number, or out of range.
    pub time_ms: Option<i64>,
}

/// Checks that `payload` is an event and finds who it is.
///
/// # Errors
/// The reason why it is none, see the table above.
pub fn identify(payload: &[u8], schema: &Schema) -> Result<Identity, Reason> {
    let wanted = [&schema.key, &schema.time].into_iter().chain(&schema.id);
    let mut fields: Vec<Field<'_, '_>> =
        wanted.map(|pointer| Field::new(pointer.steps())).collect();
    scan::object(payload, &mut fields)?;

    let mut found = fields.into_iter().map(|field| field.found);
    let key = found.next().flatten();
    let time = found.next().flatten();
    let key = part(key, schema.integers.contains(&schema.key))?.into_owned();

    let mut id = String::with_capacity(key.len() + 8);
    for (at, (pointer, found)) in schema.id.iter().zip(found).enumerate() {
        let part = part(found, schema.integers.contains(pointer))?;
        if at > 0 {
            id.push(':');
        }
        let last = at + 1 == schema.id.len();
        if last || !part.contains([':', '\\']) {
            id.push_str(&part);
        } else {
            id.push_str(&part.replace('\\', "\\\\").replace(':', "\\:"));
        }
    }
    Ok(Identity { key, id, time_ms: time.and_then(milliseconds) })
}

fn part(found: Option<Found<'_>>, integer: bool) -> Result<Cow<'_, str>, Reason> {
    match found.ok_or(Reason::MissingId)? {
        // The only integer that JSON can write in two ways.
        Found::Number("-0") if integer => Ok(Cow::Borrowed("0")),
        Found::Number(text) if integer && !text.contains(['.', 'e', 'E']) => {
            Ok(Cow::Borrowed(text))
        }
        Found::Text(text) if !integer => Ok(text),
        Found::Number(_) | Found::Text(_) | Found::Other => Err(Reason::BadId),
    }
}

fn milliseconds(found: Found<'_>) -> Option<i64> {
    let Found::Number(text) = found else { return None };
    if let Ok(exact) = text.parse() {
        return Some(exact);
    }
    // 2^53: beyond it a double no longer holds every millisecond.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within 2^53")]
    (value.abs() <= EXACT).then(|| value.floor() as i64)
}

// === impl Schema ===

impl Schema {
    /// What is wrong with it, each line naming the field (`id: …`); empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.id.is_empty() {
            problems.push("id: must name at least one field, for example /id".to_owned());
        }
        let named = [("key", &self.key), ("time", &self.time)];
        let named = named.into_iter().chain(self.id.iter().map(|pointer| ("id", pointer)));
        for (name, pointer) in named {
            if pointer.steps().contains(&Step::Every) {
                problems.push(format!(
                    "{name}: {pointer} means many values; name exactly one, without *"
                ));
            }
        }
        for pointer in &self.integers {
            if *pointer != self.key && !self.id.contains(pointer) {
                problems.push(format!(
                    "integers: {pointer} is neither the key nor a part of the id; remove it"
                ));
            }
        }
        problems
    }
}

impl Default for Schema {
    fn default() -> Self {
        let rsvp_id = Pointer::member("rsvp_id");
        Self {
            key: rsvp_id.clone(),
            id: vec![rsvp_id.clone(), Pointer::member("response")],
            integers: vec![rsvp_id],
            time: Pointer::member("mtime"),
        }
    }
}
