//! Computes the exact answer for a recording, by code that shares nothing with the pipeline that it judges: it parses
//! every line into a tree, keeps every distinct event, and counts every item in a map.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// What is asked of a recording, as the sections `[event]` and `[[query]]` say it to the pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// What makes two lines the same event.
    pub id: Id<'a>,
    /// Where the time is, and how it is written.
    pub time: Option<(&'a str, Unit)>,
    /// The items of each query.
    pub items: &'a [&'a str],
}

/// What makes two lines the same event.
#[derive(Debug, Clone, Copy)]
pub enum Id<'a> {
    /// The values at these pointers.
    Fields(&'a [&'a str]),
    /// All bytes of the line.
    Payload,
    /// Nothing: every line is an event of its own.
    None,
}

/// Meetup's RSVPs and the queries that the product comes with.
pub const RSVPS: Feed<'_> = Feed {
    id: Id::Fields(&["/rsvp_id", "/response"]),
    time: Some(("/mtime", Unit::Ms)),
    items: &["/group/group_topics/*/topic_name", "/group/group_country"],
};

/// What a recording holds.
#[derive(Debug, Default)]
pub struct Oracle {
    /// All lines, including bad ones.
    pub lines: u64,
    /// Lines that are not events; they become dead letters.
    pub bad: u64,
    /// Lines whose event an earlier line has already.
    pub duplicates: u64,
    /// Distinct events without a readable time.
    pub untimed: u64,
    events: Vec<Event>,
}

/// A distinct event, as its first copy has it.
#[derive(Debug)]
struct Event {
    /// The items of each query.
    items: Vec<Vec<String>>,
    time_ms: Option<i64>,
}

impl Oracle {
    /// Reads a recording of RSVPs, each line without its line end.
    pub fn of<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Self {
        Self::of_feed(lines, &RSVPS)
    }

    /// Reads a recording of any feed.
    pub fn of_feed<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>, feed: &Feed<'_>) -> Self {
        let mut oracle = Self::default();
        let mut seen = HashSet::new();
        for line in lines {
            oracle.lines += 1;
            match event(line.as_ref(), feed) {
                None => oracle.bad += 1,
                Some((Some(id), _)) if seen.contains(&id) => oracle.duplicates += 1,
                Some((id, event)) => {
                    seen.extend(id);
                    oracle.untimed += u64::from(event.time_ms.is_none());
                    oracle.events.push(event);
                }
            }
        }
        oracle
    }

    /// Distinct events.
    pub fn events(&self) -> u64 {
        self.events.len() as u64
    }

    /// Counts of the items of one of the feed's queries over all distinct events.
    pub fn answer(&self, query: usize) -> Answer {
        Answer::count(self.events.iter().flat_map(|event| &event.items[query]))
    }

    /// The same over the distinct events of the last window, which is `size_ms` long and ends at the first multiple of
    /// `slide_ms` after the newest event.
    pub fn answer_of_last(&self, query: usize, size_ms: i64, slide_ms: i64) -> Answer {
        let newest = self.events.iter().filter_map(|event| event.time_ms).max().unwrap_or(0);
        let end = (newest + 1 + slide_ms - 1).div_euclid(slide_ms) * slide_ms;
        let window = end - size_ms..end;
        let inside = self
            .events
            .iter()
            .filter(|event| event.time_ms.is_some_and(|time| window.contains(&time)));
        Answer::count(inside.flat_map(|event| &event.items[query]))
    }

    /// Counts per topic of an RSVP's group.
    pub fn topics(&self) -> Answer {
        self.answer(0)
    }

    /// Counts per topic over the last window.
    pub fn topics_of_last(&self, size_ms: i64, slide_ms: i64) -> Answer {
        self.answer_of_last(0, size_ms, slide_ms)
    }

    /// Counts per country of an RSVP's group.
    pub fn countries(&self) -> Answer {
        self.answer(1)
    }
}

/// An exact count of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    counts: HashMap<String, u64>,
}

impl Answer {
    fn count<'a>(items: impl Iterator<Item = &'a String>) -> Self {
        let mut counts = HashMap::new();
        for item in items {
            *counts.entry(item.clone()).or_default() += 1;
        }
        Self { counts }
    }

    /// An answer from counts that the simulator has made.
    pub fn from_counts(counts: HashMap<String, u64>) -> Self {
        Self { counts }
    }

    /// All mentions.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Distinct items.
    pub fn distinct(&self) -> u64 {
        self.counts.len() as u64
    }

    /// How often an item was mentioned.
    pub fn count_of(&self, item: &str) -> u64 {
        self.counts.get(item).copied().unwrap_or(0)
    }

    /// The `n` most frequent items with their counts; items of the same count are in ascending order.
    pub fn top(&self, n: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> =
            self.counts.iter().map(|(item, count)| (item.clone(), *count)).collect();
        all.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        all.truncate(n);
        all
    }
}

/// The id and the event of a line; `None` if the line is not an event.
fn event(line: &[u8], feed: &Feed<'_>) -> Option<(Option<Vec<u8>>, Event)> {
    let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let text = mend_lone_surrogates(std::str::from_utf8(text).ok()?);
    let Strict(document) = serde_json::from_str(&text).ok()?;
    document.as_object()?;
    let id = match feed.id {
        Id::None => None,
        Id::Payload => Some(line.to_vec()),
        Id::Fields(pointers) => {
            let parts: Option<Vec<String>> =
                pointers.iter().map(|pointer| name(document.pointer(pointer)?)).collect();
            // Written as a JSON list, so that different lists never have the same text.
            Some(serde_json::to_vec(&parts?).expect("texts are JSON"))
        }
    };
    let time_ms = feed.time.and_then(|(pointer, unit)| time::ms(document.pointer(pointer)?, unit));
    let items = feed.items.iter().map(|path| values(&document, path).filter_map(item).collect());
    Some((id, Event { items: items.collect(), time_ms }))
}

/// The text of a part of an id, which must be a string or an integer.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// All values at a path in which `*` stands for every element of an array.
fn values<'v>(document: &'v Value, path: &str) -> impl Iterator<Item = &'v Value> {
    let mut found = vec![document];
    for step in path.split('/').skip(1) {
        let below = |value: &'v Value| -> Vec<&'v Value> {
            match value {
                Value::Array(elements) if step == "*" => elements.iter().collect(),
                Value::Object(members) => members.get(step).into_iter().collect(),
                _ => Vec::new(),
            }
        };
        found = found.into_iter().flat_map(below).collect();
    }
    found.into_iter()
}

/// An item's text: a string as it is, a number as its shortest decimal.
fn item(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let text = number.as_f64().filter(|_| number.is_f64()).map(|value| value.to_string());
            Some(text.unwrap_or_else(|| number.to_string()))
        }
        _ => None,
    }
}

/// Replaces escapes of lone surrogates by U+FFFD. The pipeline reads them so, but the parser used here refuses them.
fn mend_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok();
    let mut mended = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = text[at..].find('\\') {
        mended.push_str(&text[at..at + next]);
        at += next;
        let length = match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str("\\ufffd");
                at += 6;
                continue;
            }
            Some(_) => 6,
            // Another escape, which is copied; the parser checks it.
            None => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        mended.push_str(&text[at..at + length]);
        at += length;
    }
    mended.push_str(&text[at..]);
    mended
}

/// A JSON value; reading it fails if an object in it has a name twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Strictly).map(Strict)
    }
}

struct Strictly;

impl<'de> Visitor<'de> for Strictly {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if all.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(all.into())
    }
}

mod time;

pub use time::Unit;

#[cfg(test)]
mod tests;
