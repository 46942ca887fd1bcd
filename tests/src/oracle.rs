//! The exact answer for a recording, by code that shares nothing with what it judges: every line parsed into a tree,
//! every distinct event kept, every item counted in a map.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// What a recording holds.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Lines, bad ones too.
    pub lines: u64,
    /// Lines that are no event: dead letters.
    pub bad: u64,
    /// Lines whose event was there before.
    pub duplicates: u64,
    events: Vec<Event>,
}

/// A distinct event: what its first copy says.
#[derive(Debug)]
struct Event {
    topics: Vec<String>,
    country: Option<String>,
    time_ms: Option<i64>,
}

impl Oracle {
    /// Reads a recording's lines, each without its line end.
    pub fn of<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Self {
        let mut oracle = Self::default();
        let mut seen = HashSet::new();
        for line in lines {
            oracle.lines += 1;
            match event(line.as_ref()) {
                None => oracle.bad += 1,
                Some((id, _)) if seen.contains(&id) => oracle.duplicates += 1,
                Some((id, event)) => {
                    seen.insert(id);
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

    /// Counts per topic over all distinct events.
    pub fn topics(&self) -> Answer {
        Answer::count(self.events.iter().flat_map(|event| &event.topics))
    }

    /// Counts per topic over the distinct events of `size_ms` before the window's end: the first multiple of
    /// `slide_ms` after the newest event.
    pub fn topics_of_last(&self, size_ms: i64, slide_ms: i64) -> Answer {
        let newest = self.events.iter().filter_map(|event| event.time_ms).max().unwrap_or(0);
        let end = (newest + 1 + slide_ms - 1).div_euclid(slide_ms) * slide_ms;
        let window = end - size_ms..end;
        let inside = self
            .events
            .iter()
            .filter(|event| event.time_ms.is_some_and(|time| window.contains(&time)));
        Answer::count(inside.flat_map(|event| &event.topics))
    }

    /// Counts per country of the group.
    pub fn countries(&self) -> Answer {
        Answer::count(self.events.iter().filter_map(|event| event.country.as_ref()))
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

    /// From counts that somebody else has made: a simulator's truth.
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

    /// The `n` most frequent, ties by item, ascending.
    pub fn top(&self, n: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> =
            self.counts.iter().map(|(item, count)| (item.clone(), *count)).collect();
        all.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        all.truncate(n);
        all
    }
}

/// The id and the event of a line, if it is one.
fn event(line: &[u8]) -> Option<(String, Event)> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let text = mend_lone_surrogates(std::str::from_utf8(line).ok()?);
    let Strict(document) = serde_json::from_str(&text).ok()?;
    let document = document.as_object()?;
    let number = document.get("rsvp_id").filter(|id| id.is_i64() || id.is_u64())?;
    let response = document.get("response")?.as_str()?;
    let group = document.get("group").and_then(Value::as_object);
    let topics = group.and_then(|group| group.get("group_topics")).and_then(Value::as_array);
    let event = Event {
        topics: topics
            .into_iter()
            .flatten()
            .filter_map(|topic| Some(topic.get("topic_name")?.as_str()?.to_owned()))
            .collect(),
        country: group.and_then(|group| group.get("group_country")?.as_str()).map(str::to_owned),
        time_ms: document.get("mtime").and_then(Value::as_i64),
    };
    Some((format!("{number}:{response}"), event))
}

/// Half a surrogate pair is accepted in JSON's escapes and stands for U+FFFD, but the parser here refuses it.
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
            // An escape of one character, whatever it is: the parser judges it.
            None => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
        mended.push_str(&text[at..at + length]);
        at += length;
    }
    mended.push_str(&text[at..]);
    mended
}

/// A JSON value none of whose objects has a key twice.
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

#[cfg(test)]
mod tests;
