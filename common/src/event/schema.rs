//! The section `[event]`: who an event is, and when it happened.
//!
//! ```toml
//! [event]
//! id = ["/did", "/commit/rev"]               # or one pointer, "payload", "none"
//! key = "/did"                               # the first pointer of the id where absent
//! time = { path = "/time_us", unit = "us" }  # no time where absent
//! ```
//!
//! A section that names no id is that of Meetup's RSVPs.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Unit;
use super::{Pointer, Reason, Step, Value};
use crate::config::duration;

#[cfg(test)]
mod tests;

/// Where an event says who it is and when it happened. Section `event`, the same in every tier.
///
/// The default is Meetup's RSVP: identified by `rsvp_id` and `response` together (a re-delivery with a
/// rounded `mtime` is the same event, a change of mind is a new one), and keyed by `rsvp_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Section")]
pub struct Schema {
    /// What makes two payloads the same event.
    pub id: Id,
    /// The subject: events of one key keep their order and share a partition. Where it is `None`, the key
    /// is the first part of the id; that of an event which is identified by its payload is the id, and one
    /// that has no id has no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Pointer>,
    /// A time that is further ahead than this of all before it moves no window until others confirm it.
    #[serde(with = "duration")]
    pub max_jump: Duration,
    /// How far an event may be dated beyond its record's timestamp and still get a window.
    #[serde(with = "duration")]
    pub max_future: Duration,
    /// A partition whose newest record is older by this than the newest of all holds no window back.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// When it happened; `None` for a feed whose events do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// What makes two payloads the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// The values at these pointers, all together and in this order. `id = "/a"`, `id = ["/a", "/b"]`
    Fields(Vec<Pointer>),
    /// The bytes: copies of a payload are one event. `id = "payload"`
    Payload,
    /// Nothing: each record is an event of its own, a re-delivery too. `id = "none"`
    None,
}

/// Where an event says when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Where it stands.
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

/// A collector's clock may be wrong by hours; what is further ahead is the event's own fault.
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
    /// What is wrong with it, each line naming the field (`id: …`); empty if nothing is.
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
                    "{field}: {pointer} means many values; name exactly one, without *"
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
        // Who names an id describes a feed of their own, and that has no time but the one they name.
        let time = if id.is_none() { time.or(rsvps.time) } else { time };
        Self { id: id.unwrap_or(rsvps.id), key, max_jump, max_future, idle, time }
    }
}

// === impl Id ===

impl Id {
    /// The fields that it consists of; none where it is no matter of fields.
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
    /// [`Reason::MissingId`] if a part is not there, [`Reason::BadId`] if one is neither string nor integer.
    pub fn join<'a, 'v: 'a>(
        parts: impl ExactSizeIterator<Item = Option<&'a Value<'v>>>,
        into: &mut String,
    ) -> Result<(), Reason> {
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.enumerate() {
            let part = part.ok_or(Reason::MissingId)?.name()?;
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
