//! What is the correct answer? A batch computation over the lines that were sent, for Meetup's RSVPs: an event counts
//! once, by `rsvp_id` and `response`. Items are read with `serde_json`, independently of the analyzer; the id of an event
//! is read by `common::event::identity`, which the tiers use too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::event::identity::identify;
use common::event::{Schema, without_bom};
use common::expr::Slots;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Error;
use super::audience::Audience;
use super::line::{Line, Next};
use super::timeline::Reader;

#[cfg(test)]
mod tests;

/// The correct answer for the lines that were sent; a line that was served again on a resume counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Lines.
    pub sent: u64,
    /// Lines that are not events, and lines that were left out because they are too long.
    pub bad: u64,
    /// Distinct events.
    pub events: u64,
    /// Events that the collector's `keep` leaves out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filtered: u64,
    /// Lines with an event that an earlier line had: `sent - bad - filtered - events`.
    pub duplicates: u64,
    /// `/group/group_topics/*/topic_name` over the distinct events.
    pub topics: Counts,
    /// `/group/group_country` over the distinct events.
    pub countries: Counts,
}

/// How often each item was mentioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All mentions.
    pub total: u64,
    /// Distinct items.
    pub distinct: u64,
    /// All items, by count descending, then by the item's bytes ascending.
    pub items: Vec<Counted>,
}

/// An item and how often it was mentioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The item.
    pub item: String,
    /// Mentions.
    pub count: u64,
}

/// Counts the lines of a timeline after its clients have read them.
#[derive(Debug)]
pub(super) struct Follower {
    audience: Arc<Audience>,
    reader: Reader,
    tally: Tally,
    slots: Slots,
}

/// Counts lines.
#[derive(Debug, Default)]
struct Tally {
    schema: Schema,
    sent: u64,
    bad: u64,
    filtered: u64,
    /// 128-bit hashes of the ids that were seen. The chance that two of a billion ids have the same hash is about 2^-69.
    seen: HashSet<u128>,
    topics: HashMap<String, u64>,
    countries: HashMap<String, u64>,
}

/// The parts of an event that are counted. A part of another shape counts nothing.
#[derive(Deserialize)]
struct Rsvp<'a> {
    #[serde(borrow)]
    group: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    group_topics: Option<&'a RawValue>,
    #[serde(borrow)]
    group_country: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Topic<'a> {
    #[serde(borrow)]
    topic_name: Option<&'a RawValue>,
}

impl Follower {
    pub(super) fn new(audience: Arc<Audience>) -> Result<Self, Error> {
        let reader = audience.timeline().reader(0)?;
        Ok(Self { audience, reader, tally: Tally::default(), slots: Slots::default() })
    }

    /// Counts what was sent since the last call, at most `lines` of it.
    pub(super) async fn catch_up(mut self, lines: u64) -> Result<Self, Error> {
        let counted = tokio::task::spawn_blocking(move || {
            let end =
                self.audience.progress().sent.min(self.reader.position().saturating_add(lines));
            while self.reader.position() < end {
                let line = again(&mut self.reader, end)?;
                if !self.audience.takes(&line) {
                    self.tally.add_left_out();
                } else if self.audience.kept().has(&line.bytes, &mut self.slots) {
                    self.tally.add(&line.bytes);
                } else {
                    self.tally.add_filtered();
                }
            }
            self.audience.timeline().check_unchanged()?;
            Ok(self)
        });
        counted.await.map_err(|error| Error::Stopped(Arc::new(error))).flatten()
    }

    pub(super) fn truth(&self) -> Truth {
        self.tally.truth()
    }
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Reads the next of `sent` lines again.
fn again(reader: &mut Reader, sent: u64) -> Result<Line, Error> {
    match reader.next_line()? {
        Next::Line(line) => Ok(line),
        Next::Later | Next::End => Err(Error::Fewer { sent, read: reader.position() }),
    }
}

/// The content hashes of the lines that were sent and that the clients take, and how often each occurs.
pub(super) fn hashes(audience: &Audience) -> Result<HashMap<u64, u64>, Error> {
    /// How many lines are read between two updates of the progress.
    const PORTION: u64 = 1_000;
    let sent = audience.progress().sent;
    let mut reader = audience.timeline().reader(0)?;
    let (mut hashes, mut slots) = (HashMap::new(), Slots::default());
    while reader.position() < sent {
        let line = again(&mut reader, sent)?;
        if audience.takes(&line) && audience.kept().has(&line.bytes, &mut slots) {
            *hashes.entry(xxh3_64(&line.bytes)).or_insert(0) += 1;
        }
        if reader.position().is_multiple_of(PORTION) {
            audience.add_read_again(PORTION);
        }
    }
    audience.timeline().check_unchanged()?;
    Ok(hashes)
}

impl Tally {
    /// Counts a line that is longer than a message may be.
    fn add_left_out(&mut self) {
        self.sent += 1;
        self.bad += 1;
    }

    /// Counts a line that the collector is not to take.
    fn add_filtered(&mut self) {
        self.sent += 1;
        self.filtered += 1;
    }

    fn add(&mut self, line: &[u8]) {
        self.sent += 1;
        let Ok(identity) = identify(line, &self.schema) else {
            self.bad += 1;
            return;
        };
        if !self.seen.insert(xxh3_128(identity.id.unwrap_or_default().as_bytes())) {
            return;
        }
        let event: Option<Rsvp<'_>> = serde_json::from_slice(without_bom(line)).ok();
        let Some(group) = event.and_then(|event| object::<Group<'_>>(event.group?)) else { return };
        for topic in group.group_topics.and_then(read::<Vec<&RawValue>>).unwrap_or_default() {
            count(
                &mut self.topics,
                object::<Topic<'_>>(topic).and_then(|topic| text(topic.topic_name?)),
            );
        }
        count(&mut self.countries, group.group_country.and_then(text));
    }

    fn truth(&self) -> Truth {
        let events = self.seen.len() as u64;
        Truth {
            sent: self.sent,
            bad: self.bad,
            events,
            filtered: self.filtered,
            duplicates: self.sent - self.bad - self.filtered - events,
            topics: Counts::of(&self.topics),
            countries: Counts::of(&self.countries),
        }
    }
}

impl Counts {
    fn of(counts: &HashMap<String, u64>) -> Self {
        let mut items: Vec<Counted> =
            counts.iter().map(|(item, &count)| Counted { item: item.clone(), count }).collect();
        items.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.item.cmp(&b.item)));
        Self { total: counts.values().sum(), distinct: items.len() as u64, items }
    }
}

fn count(counts: &mut HashMap<String, u64>, item: Option<String>) {
    if let Some(item) = item {
        *counts.entry(item).or_insert(0) += 1;
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// The fields of an object. Without this check serde would read them from an array too.
fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    raw.get().starts_with('{').then(|| read(raw)).flatten()
}

/// A string; `None` for anything else. A lone surrogate escape, which serde_json refuses, becomes U+FFFD.
fn text(raw: &RawValue) -> Option<String> {
    let raw = raw.get();
    serde_json::from_str(raw)
        .ok()
        .or_else(|| serde_json::from_str(&without_lone_surrogates(raw)).ok())
}

fn without_lone_surrogates(json: &str) -> String {
    const UNIT: usize = 6;
    let unit = |at: usize| {
        let digits = json.get(at..at + UNIT)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::with_capacity(json.len());
    let mut at = 0;
    while let Some(rest) = json.get(at..).filter(|rest| !rest.is_empty()) {
        let is_low = |unit: u16| (0xDC00..0xE000).contains(&unit);
        let taken = match unit(at) {
            Some(0xD800..0xDC00) if unit(at + UNIT).is_some_and(is_low) => 2 * UNIT,
            Some(0xD800..0xE000) => {
                mended.push('\u{fffd}');
                at += UNIT;
                continue;
            }
            Some(_) => UNIT,
            // The second backslash of an escaped one does not begin a `\u`.
            None if rest.starts_with("\\\\") => 2,
            None => rest.chars().next().map_or(1, char::len_utf8),
        };
        mended.push_str(&json[at..at + taken]);
        at += taken;
    }
    mended
}
