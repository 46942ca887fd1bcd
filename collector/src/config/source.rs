//! Where events come from: the sections `[source.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use common::config::duration;
use common::kafka::Kafka;
use common::secret::{Secret, SecretUrl};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::framing::Framing;

/// The sources by their names. If the configuration names none there is one, `rsvps`, which expects Meetup's
/// feed on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sources(BTreeMap<String, Source>);

/// One source. Section `source.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The protocol that it speaks.
    pub kind: Kind,
    /// Its address, `ws://` or `wss://`. User info in it is sent as basic authentication.
    pub url: SecretUrl,
    /// Which feed it gives: any text, or empty for the host, port and path of `url`. A resume cursor that was kept
    /// for another feed is not used.
    pub feed: String,
    /// How it is asked for the messages that were missed during an interruption.
    pub resume: Resume,
    /// How many messages a frame holds.
    pub framing: Framing,
    /// Headers of the request that connects.
    pub headers: BTreeMap<String, Secret>,
    /// A file of further headers, one `Name: value` a line, read at every connect; empty for none.
    pub headers_from_file: PathBuf,
    /// What is sent first on every connection, such as a subscription.
    pub first_message: FirstMessages,
    /// If the feed sends no message for this long, the collector is not ready and reconnects. Absent for a feed
    /// that may be silent for any time.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub silence_timeout: Option<Duration>,
    /// A file of PEM certificates to trust instead of the public authorities; empty to trust those.
    pub ca_file: PathBuf,
    /// How long connecting may take, handshakes and redirects included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long the feed may send nothing before it is sent a ping, in milliseconds.
    pub ping_interval_ms: u64,
    /// How long the feed may then send nothing before the connection is given up, in milliseconds.
    pub ping_timeout_ms: u64,
    /// The upper bound of the first random wait before a reconnect, in milliseconds. It doubles each time.
    pub reconnect_base_ms: u64,
    /// The largest such bound, in milliseconds.
    pub reconnect_cap_ms: u64,
    /// The largest message that is read whole, in bytes. Only the first bytes of a larger one are kept, as a dead
    /// letter.
    pub max_message_bytes: usize,
    /// The largest message that can be an event, in bytes; a larger one is a dead letter.
    pub max_event_bytes: usize,
}

/// The kind of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A WebSocket server that sends messages.
    #[default]
    Websocket,
}

/// How a feed is asked for the messages that were missed during an interruption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenResume", into = "WrittenResume")]
pub enum Resume {
    /// The feed cannot be asked: every interruption is a gap.
    #[default]
    None,
    /// By a query parameter of the address with this name. Its value is the event time to begin with, in
    /// milliseconds since 1970.
    Query(String),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenResume {
    Word(String),
    Query(ByQuery),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByQuery {
    query: String,
    from: From,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    Time,
}

/// Texts that are sent in this order. They may hold a token, and are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMore")]
pub struct FirstMessages(pub Vec<Secret>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Secret),
    More(Vec<Secret>),
}

/// The largest message that still fits into a record of the dead-letter topic, headers included.
const MAX_MESSAGE_BYTES: usize = Kafka::MAX_RECORD_BYTES - (1 << 20);

/// Headers that the handshake sets itself.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-extensions",
];

// === impl Sources ===

impl Sources {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.0.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// Adds a source, or replaces the one of this name.
    pub fn insert(&mut self, name: &str, source: Source) {
        self.0.insert(name.to_owned(), source);
    }

    /// What is wrong, one line for each fault, which begins with the key.
    pub(super) fn problems(&self) -> Vec<String> {
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
            problems.extend(
                source.problems().into_iter().map(|problem| format!("source.{name}.{problem}")),
            );
        }
        problems
    }
}

/// Without any section there is the default source.
impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut sources = BTreeMap::<String, Source>::deserialize(deserializer)?;
        if sources.is_empty() {
            sources.insert("rsvps".to_owned(), Source::rsvps());
        }
        Ok(Self(sources))
    }
}

// === impl Source ===

impl Source {
    /// Meetup's feed as `millrace simulate` serves it on this machine.
    pub fn rsvps() -> Self {
        Self {
            url: "ws://127.0.0.1:8900/2/rsvps".into(),
            resume: Resume::Query("since_mtime".to_owned()),
            ..Self::default()
        }
    }

    /// Which feed its stored cursor belongs to. The text also depends on the way to resume, because a cursor is
    /// an event time for one way and the time of the last message for the other. It holds no secret: user info and
    /// query of the address are left out.
    pub fn cursor_of(&self) -> String {
        let feed = match self.address() {
            Ok(url) if self.feed.is_empty() => {
                let port = url.port_or_known_default().unwrap_or_default();
                format!("{}:{port}{}", url.host_str().unwrap_or_default(), url.path())
            }
            Ok(_) | Err(_) => self.feed.clone(),
        };
        match self.resume {
            Resume::None => format!("{feed} received"),
            Resume::Query(_) => feed,
        }
    }

    /// Checks the name of a configured header.
    ///
    /// # Errors
    /// A message for the user, when the handshake sets this header itself, or when user info in the address does.
    pub fn may_set(&self, name: &str) -> Result<(), String> {
        let lower = name.to_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) {
            return Err("the handshake sets it itself; remove it".to_owned());
        }
        let has_user = |url: Url| !url.username().is_empty() || url.password().is_some();
        if lower == "authorization" && self.address().is_ok_and(has_user) {
            return Err("url has user info, which is sent as the same header; keep one".to_owned());
        }
        Ok(())
    }

    /// Its address, checked.
    ///
    /// # Errors
    /// A message for the user, in which the secrets of the address are masked.
    pub fn address(&self) -> Result<Url, String> {
        let wanted = "write ws://host:port/path or wss://host/path";
        let written = self.url.reveal();
        if written.is_empty() {
            return Err(format!("must be set; {wanted}"));
        }
        // `Url` would remove these silently, and the address might not be the one that was meant.
        if written.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{} contains white space; {wanted}", self.url));
        }
        let url = Url::parse(written).map_err(|why| format!("{}: {why}; {wanted}", self.url))?;
        if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("{} is not a WebSocket address; {wanted}", self.url));
        }
        if url.fragment().is_some() {
            return Err(format!(
                "{}: remove what follows #, which is never sent to a server",
                self.url
            ));
        }
        Ok(url)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(why) = self.address() {
            problems.push(format!("url: {why}"));
        }
        for (name, value) in &self.headers {
            if let Err(why) = self.may_set(name) {
                problems.push(format!("headers.{name}: {why}"));
            }
            if http::HeaderName::try_from(name).is_err()
                || http::HeaderValue::try_from(value.reveal()).is_err()
            {
                problems
                    .push(format!("headers.{name}: the name or the value is not valid in HTTP"));
            }
        }
        let positive = [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("ping_interval_ms", self.ping_interval_ms),
            ("ping_timeout_ms", self.ping_timeout_ms),
            ("reconnect_base_ms", self.reconnect_base_ms),
            ("max_event_bytes", self.max_event_bytes as u64),
        ];
        for (key, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("{key}: must be more than 0"));
        }
        if self.silence_timeout == Some(Duration::ZERO) {
            problems.push(
                "silence_timeout: must be more than 0; remove it for a feed that may be quiet"
                    .to_owned(),
            );
        }
        if matches!(&self.resume, Resume::Query(name) if name.is_empty()) {
            problems.push("resume.query: must name the parameter, such as since".to_owned());
        }
        if self.reconnect_cap_ms < self.reconnect_base_ms {
            problems.push("reconnect_cap_ms: must be at least reconnect_base_ms".to_owned());
        }
        if !(self.max_event_bytes..=MAX_MESSAGE_BYTES).contains(&self.max_message_bytes) {
            problems.push(format!(
                "max_message_bytes: is {}; must be from max_event_bytes ({}) to {MAX_MESSAGE_BYTES}, \
                 which a dead letter can hold",
                self.max_message_bytes, self.max_event_bytes
            ));
        }
        problems
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            kind: Kind::default(),
            url: SecretUrl::default(),
            feed: String::new(),
            resume: Resume::default(),
            framing: Framing::default(),
            headers: BTreeMap::new(),
            headers_from_file: PathBuf::new(),
            first_message: FirstMessages::default(),
            silence_timeout: None,
            ca_file: PathBuf::new(),
            connect_timeout_ms: 10_000,
            ping_interval_ms: 10_000,
            ping_timeout_ms: 5_000,
            reconnect_base_ms: 200,
            reconnect_cap_ms: 10_000,
            max_message_bytes: 20 << 20,
            // Together with its key and headers, such a record is within Kafka's default limit.
            max_event_bytes: 1_000_000,
        }
    }
}

// === impl Resume ===

impl TryFrom<WrittenResume> for Resume {
    type Error = String;

    fn try_from(written: WrittenResume) -> Result<Self, String> {
        match written {
            WrittenResume::Query(ByQuery { query, from: From::Time }) => Ok(Self::Query(query)),
            WrittenResume::Word(word) if word == "none" => Ok(Self::None),
            WrittenResume::Word(word) => Err(format!(
                "'{word}': write \"none\" or {{ query = \"PARAMETER\", from = \"time\" }}"
            )),
        }
    }
}

impl std::convert::From<Resume> for WrittenResume {
    fn from(resume: Resume) -> Self {
        match resume {
            Resume::None => Self::Word("none".to_owned()),
            Resume::Query(query) => Self::Query(ByQuery { query, from: From::Time }),
        }
    }
}

// === impl FirstMessages ===

impl std::convert::From<OneOrMore> for FirstMessages {
    fn from(written: OneOrMore) -> Self {
        match written {
            OneOrMore::One(text) => Self(vec![text]),
            OneOrMore::More(texts) => Self(texts),
        }
    }
}

mod optional_duration {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests;
