//! Where events come from: the sections `[source.NAME]`. Each kind of source has keys of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use common::expr::Condition;
use common::kafka::Kafka as Cluster;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use keys::Keys;

mod connect;
mod delivery;
mod file;
mod http_push;
mod http_stream;
mod kafka;
mod keys;
mod long_poll;
mod mqtt;
mod resume;
mod shed;
mod sse;
mod udp;
mod websocket;

pub use connect::{Connect, Transport};
pub use delivery::{Delivery, Release};
pub use file::File;
pub use http_push::HttpPush;
pub use http_stream::HttpStream;
pub use kafka::{Kafka, Start};
pub use long_poll::LongPoll;
pub use mqtt::{Mqtt, MqttVersion};
pub use resume::Resume;
pub use shed::Shed;
pub use sse::Sse;
pub use udp::Udp;
pub use websocket::{FirstMessages, Websocket};

/// The sources by their names. If the configuration names none there is one, `rsvps`, which expects Meetup's
/// feed on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sources(BTreeMap<String, Source>);

/// One source. Section `source.NAME`, whose key `kind` says which of these it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A WebSocket server that sends messages. Also if the section does not say its kind.
    Websocket(Websocket),
    /// An HTTP server that answers one request without end.
    HttpStream(HttpStream),
    /// An HTTP server that sends server-sent events.
    Sse(Sse),
    /// An HTTP server that is asked again and again.
    LongPoll(LongPoll),
    /// A file, or a pipe.
    File(File),
    /// Topics of a Kafka.
    Kafka(Kafka),
    /// Topics of an MQTT broker.
    Mqtt(Mqtt),
    /// A server to which events are sent.
    HttpPush(HttpPush),
    /// A socket to which datagrams are sent.
    Udp(Udp),
}

/// The keys that all kinds have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Common {
    /// The largest message that can be an event, in bytes; a larger one is a dead letter.
    pub max_event_bytes: usize,
    /// How often an event may be in Kafka after a crash.
    pub delivery: Delivery,
    /// When a message is safe, which is when its sender is told so, or the cursor behind it is stored.
    pub release: Release,
    /// Which events are taken: of the others none is logged. All if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Condition>,
    /// How many messages a second are taken; any number if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Which messages are dropped while the collector is overloaded. None if absent: then the source is read more slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shed: Option<Shed>,
}

// === impl Sources ===

impl Sources {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.0.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// Adds a source, or replaces the one of this name.
    pub fn insert(&mut self, name: &str, source: impl Into<Source>) {
        self.0.insert(name.to_owned(), source.into());
    }

    /// What is wrong, one line for each fault, which begins with the key.
    /// `own` is where events are published to.
    pub(super) fn problems(&self, own: &Cluster) -> Vec<String> {
        let mut problems = Vec::new();
        if self.0.is_empty() {
            problems.push("source: write a section [source.NAME] with its url".to_owned());
        }
        for (name, source) in &self.0 {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.is_empty() || !name.bytes().all(plain) {
                problems.push(format!("source.{name}: a source's name has only a–z, 0–9 and _"));
            }
            let loops = match source {
                Source::Kafka(kafka) => kafka.loop_problem(own),
                _ => None,
            };
            let rate_limit = u64::from(source.common().rate_limit.unwrap_or(1));
            let rates = zeros([("rate_limit", rate_limit)]);
            let found = source.problems().into_iter().chain(rates);
            let found = found.chain(source.shed_problem()).chain(loops);
            problems.extend(found.map(|problem| format!("source.{name}.{problem}")));
        }
        let of_stdin = |source: &&Source| matches!(source, Source::File(file) if file.is_stdin());
        if self.0.values().filter(of_stdin).count() > 1 {
            problems.push(
                "source: only one source can read the standard input, path = \"-\"".to_owned(),
            );
        }
        problems
    }
}

/// Without any section there is the default source.
impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sources = deserializer.deserialize_map(Sections)?;
        if sources.is_empty() {
            sources.insert("rsvps".to_owned(), Websocket::rsvps().into());
        }
        Ok(Self(sources))
    }
}

/// Reads the sections one by one, so that an error is told at the line of its section.
struct Sections;

/// Reads the section of this name.
struct Section<'a>(&'a str);

impl<'de> Visitor<'de> for Sections {
    type Value = BTreeMap<String, Source>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section for each source, [source.NAME]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut sources = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let source = map.next_value_seed(Section(&name))?;
            sources.insert(name, source);
        }
        Ok(sources)
    }
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = Source;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Source, D::Error> {
        let section = toml::Table::deserialize(deserializer)?;
        Source::read(section).map_err(|why| D::Error::custom(format!("source.{}{why}", self.0)))
    }
}

// === impl Source ===

impl Source {
    /// Whether the collector connects to it and follows what comes, so that of several collectors one has to.
    pub const fn is_feed(&self) -> bool {
        match self {
            Self::Websocket(_)
            | Self::HttpStream(_)
            | Self::Sse(_)
            | Self::LongPoll(_)
            | Self::Mqtt(_) => true,
            Self::File(_) | Self::Kafka(_) | Self::HttpPush(_) | Self::Udp(_) => false,
        }
    }

    /// The keys that all kinds have.
    pub const fn common(&self) -> &Common {
        match self {
            Self::Websocket(source) => &source.common,
            Self::HttpStream(source) => &source.common,
            Self::Sse(source) => &source.common,
            Self::LongPoll(source) => &source.common,
            Self::File(source) => &source.common,
            Self::Kafka(source) => &source.common,
            Self::Mqtt(source) => &source.common,
            Self::HttpPush(source) => &source.common,
            Self::Udp(source) => &source.common,
        }
    }

    /// The line about load shedding that cannot be, or need not.
    fn shed_problem(&self) -> Option<String> {
        let shed = self.common().shed.as_ref()?;
        let waits = match self {
            Self::Websocket(_) | Self::HttpStream(_) | Self::Sse(_) | Self::Udp(_) => {
                return shed.problem(self.common().delivery);
            }
            Self::LongPoll(_) => "a feed that is asked can be asked later",
            Self::File(_) => "a file can be read more slowly",
            Self::Kafka(_) => "kafka keeps what is read later",
            Self::Mqtt(_) => "the broker keeps what is not acknowledged",
            Self::HttpPush(_) => "senders are answered 503, and send again",
        };
        Some(format!("shed: nothing need be dropped: {waits}; remove it"))
    }

    /// Which feed its stored cursor belongs to. It holds no secret.
    pub fn cursor_of(&self) -> String {
        match self {
            Self::Websocket(source) => source.connect.cursor_of(&source.resume),
            Self::HttpStream(source) => source.connect.cursor_of(&source.resume),
            Self::Sse(source) => source.connect.cursor_of(&source.resume),
            Self::LongPoll(source) => source.connect.cursor_of(&source.resume),
            Self::File(source) => format!("file {}", source.path.display()),
            Self::Mqtt(source) => source.connect.cursor_of(&source.resume()),
            // They are not asked for anything, or the group has their positions, so that they have no cursor.
            Self::Kafka(_) | Self::HttpPush(_) | Self::Udp(_) => String::new(),
        }
    }

    /// Reads a section. The error goes on after `source.NAME`.
    fn read(mut section: toml::Table) -> Result<Self, String> {
        let kind = match section.remove("kind") {
            None => "websocket".to_owned(),
            Some(toml::Value::String(kind)) => kind,
            Some(other) => return Err(format!(".kind: is {other}; write a text")),
        };
        if kind == "udp" {
            let most = || toml::Value::String("at_least_once".to_owned());
            section.entry("delivery").or_insert_with(most);
        }
        let mut keys = Keys::of(section);
        let source = match kind.as_str() {
            "websocket" => Self::Websocket(Websocket::read(&mut keys)?),
            "http_stream" => Self::HttpStream(HttpStream::read(&mut keys)?),
            "sse" => Self::Sse(Sse::read(&mut keys)?),
            "long_poll" => Self::LongPoll(LongPoll::read(&mut keys)?),
            "file" => Self::File(File::read(&mut keys)?),
            "kafka" => Self::Kafka(Kafka::read(&mut keys)?),
            "mqtt" => Self::Mqtt(Mqtt::read(&mut keys)?),
            "http_push" => Self::HttpPush(HttpPush::read(&mut keys)?),
            "udp" => Self::Udp(Udp::read(&mut keys)?),
            _ => {
                return Err(format!(
                    ".kind: there is no kind \"{kind}\"; write websocket, http_stream, sse, long_poll, file, kafka, mqtt, http_push or udp"
                ));
            }
        };
        keys.end(&kind)?;
        Ok(source)
    }

    fn problems(&self) -> Vec<String> {
        match self {
            Self::Websocket(source) => source.problems(),
            Self::HttpStream(source) => source.problems(),
            Self::Sse(source) => source.problems(),
            Self::LongPoll(source) => source.problems(),
            Self::File(source) => source.problems(),
            Self::Kafka(source) => source.problems(),
            Self::Mqtt(source) => source.problems(),
            Self::HttpPush(source) => source.problems(),
            Self::Udp(source) => source.problems(),
        }
    }
}

impl From<Websocket> for Source {
    fn from(source: Websocket) -> Self {
        Self::Websocket(source)
    }
}

impl Default for Common {
    fn default() -> Self {
        // Together with its key and headers, such a record is within Kafka's default limit.
        Self {
            max_event_bytes: 1_000_000,
            delivery: Delivery::default(),
            release: Release::default(),
            keep: None,
            rate_limit: None,
            shed: None,
        }
    }
}

/// The line about an `idle_timeout` that cannot be.
fn idle_problem(idle_timeout: Option<Duration>) -> Option<String> {
    (idle_timeout == Some(Duration::ZERO)).then(|| {
        "idle_timeout: must be more than 0; remove it for a feed that may be quiet".to_owned()
    })
}

/// A line for each of these keys that is 0.
fn zeros<const N: usize>(values: [(&str, u64); N]) -> impl Iterator<Item = String> {
    let zeros = values.into_iter().filter(|(_, value)| *value == 0);
    zeros.map(|(key, _)| format!("{key}: must be more than 0"))
}

#[cfg(test)]
mod tests;
