//! The section `[event]`: what identifies an event, and when it happened.
//!
//! ```toml
//! [event]
//! id = ["/did", "/commit/rev"]               # or one pointer, "payload", "none"
//! key = "/did"                               # the first pointer of the id where absent
//! time = { path = "/time_us", unit = "us" }  # no time where absent
//! ```
//!
//! A section that names no `id` takes the id and the time of Meetup's RSVPs.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Unit;
use super::{Pointer, Reason, Step, Value};
use crate::config::duration;

#[cfg(test)]
mod tests;

/// Where an event has its id, its key and its time. Section `event`, the same in every tier.
///
/// The default is Meetup's RSVP: identified by `rsvp_id` and `response` together (a re-delivery with a
/// rounded `mtime` is the same event, a change of mind is a new one), and keyed by `rsvp_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Section")]
pub struct Schema {
    /// What makes two payloads the same event.
    pub id: Id,
    /// The subject: events of one key keep their order and share a partition. If this is `None`, the key is
    /// the first part of the id. An event that is identified by its payload then has its id as the key, and
    /// an event without an id has no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Pointer>,
    /// An event whose time is further than this ahead of all earlier ones does not move the watermark until
    /// other events confirm it.
    #[serde(with = "duration")]
    pub max_jump: Duration,
    /// How far an event's time may be after its record's timestamp; an event beyond that gets no window.
    #[serde(with = "duration")]
    pub max_future: Duration,
    /// A partition whose newest record is older than the newest record of all partitions by more than this
    /// counts as idle: results do not wait for it.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// Where the time is; `None` for a feed whose events have no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// What makes two payloads the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// The values at these pointers, all together and in this order. `id = "/a"`, `id = ["/a", "/b"]`
    Fields(Vec<Pointer>),
    /// The payload's bytes: identical payloads are one event. `id = "payload"`
    Payload,
    /// Nothing: each record is an event of its own, even a re-delivery. `id = "none"`
    None,
}

/// Where an event has its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Where it is in the event.
    pub path: Pointer,
    /// How it is written.
    #[serde(default)]
    pub unit: Unit,
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    id: Option<Id>,
    key: Option<Pointer>,
    #[serde(default = "max_jump", with = "duration")]
    max_jump: Duration,
    #[serde(default = "max_future", with = "duration")]
    max_future: Duration,
    #[serde(default = "idle", with = "duration")]
    idle: Duration,
    time: Option<Time>,
}

fn max_jump() -> Duration {
    Duration::from_secs(600)
}

/// A day, because a collector's clock may be wrong by hours. If an event is further ahead, its own time is
/// taken to be wrong.
fn max_future() -> Duration {
    Duration::from_secs(86_400)
}

fn idle() -> Duration {
    Duration::from_secs(60)
}

/// Keeps arithmetic with times far from the ends of 64 bits.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

// === impl Schema ===

impl Schema {
    /// What is wrong with the section, one line for each fault, which names the field (`id: …`); empty if
    /// nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.id.pointers().is_empty() && matches!(self.id, Id::Fields(_)) {
            problems.push(
                "id: names no field; name at least one, for example /id, or write \"payload\" or \"none\""
                    .to_owned(),
            );
        }
        let ids = self.id.pointers().iter().map(|pointer| ("id", pointer));
        let key = self.key.iter().map(|pointer| ("key", pointer));
        let time = self.time.iter().map(|time| ("time.path", &time.path));
        for (field, pointer) in ids.chain(key).chain(time) {
            if pointer.steps().contains(&Step::Every) {
                problems.push(format!(
                    "{field}: {pointer} may mean several values; name exactly one, without *"
                ));
            }
        }
        for (field, duration, least) in [
            ("max_jump", self.max_jump, Duration::from_millis(1)),
            ("max_future", self.max_future, Duration::ZERO),
            ("idle", self.idle, Duration::from_millis(1)),
        ] {
            if !(least..=LONGEST).contains(&duration) {
                problems.push(format!(
                    "{field}: is {}; set it between {} and {}",
                    duration::text(duration),
                    duration::text(least),
                    duration::text(LONGEST)
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
            id: Id::Fields(vec![rsvp_id, Pointer::member("response")]),
            key: None,
            max_jump: max_jump(),
            max_future: max_future(),
            idle: idle(),
            time: Some(Time { path: Pointer::member("mtime"), unit: Unit::Ms }),
        }
    }
}

impl From<Section> for Schema {
    fn from(section: Section) -> Self {
        let Section { id, key, max_jump, max_future, idle, time } = section;
        let rsvps = Self::default();
        // A section that names an id describes another feed: the time of RSVPs does not apply to it.
        let time = if id.is_none() { time.or(rsvps.time) } else { time };
        Self { id: id.unwrap_or(rsvps.id), key, max_jump, max_future, idle, time }
    }
}

// === impl Id ===

impl Id {
    /// The pointers of [`Id::Fields`]; empty for the other kinds.
    pub fn pointers(&self) -> &[Pointer] {
        match self {
            Self::Fields(pointers) => pointers,
            Self::Payload | Self::None => &[],
        }
    }

    /// The id's text: its parts joined by `:`, for example `1525:yes`. A `:` or `\` inside a part other
    /// than the last is escaped by `\`, so that different parts never give the same id.
    ///
    /// # Errors
    /// [`Reason::MissingId`] if a part is absent, [`Reason::BadId`] if one is neither a string nor an integer.
    /// `into` may have been appended to in both cases.
    pub fn join<'v>(
        parts: impl ExactSizeIterator<Item = Option<impl Borrow<Value<'v>>>>,
        into: &mut String,
    ) -> Result<(), Reason> {
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.enumerate() {
            let part = part.ok_or(Reason::MissingId)?;
            let value: &Value<'v> = part.borrow();
            let part = value.name()?;
            if at > 0 {
                into.push(':');
            }
            if at == last {
                into.push_str(part);
                continue;
            }
            let mut rest = part;
            while let Some(special) = rest.find([':', '\\']) {
                into.push_str(&rest[..special]);
                into.push('\\');
                into.push_str(&rest[special..=special]);
                rest = &rest[special + 1..];
            }
            into.push_str(rest);
        }
        Ok(())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fields(pointers) => pointers.serialize(serializer),
            Self::Payload => serializer.serialize_str("payload"),
            Self::None => serializer.serialize_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer, a list of them, \"payload\" or \"none\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                match text {
                    "payload" => Ok(Id::Payload),
                    "none" => Ok(Id::None),
                    pointer => pointer
                        .parse()
                        .map(|pointer| Id::Fields(vec![pointer]))
                        .map_err(|error| E::custom(format!("{error}; or \"payload\" or \"none\""))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Id, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Id::Fields)
            }
        }

        deserializer.deserialize_any(Written)
    }
}
