//! The keys of the sources that connect to a feed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use common::config::duration;
use common::kafka::Kafka;
use common::secret::{Secret, SecretUrl};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::{Common, Resume, zeros};

/// Which feed is connected to, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connect {
    /// Its address. User info in it is sent as basic authentication.
    pub url: SecretUrl,
    /// Which feed it gives: any text, or empty for the host, port and path of `url`. A resume cursor that was kept
    /// for another feed is not used.
    pub feed: String,
    /// Headers of the request that connects.
    pub headers: BTreeMap<String, Secret>,
    /// A file of further headers, one `Name: value` a line, read at every connect; empty for none.
    pub headers_from_file: PathBuf,
    /// A file with nothing but a token, which is sent as `Authorization: Bearer` and read at every connect; empty for none.
    pub bearer_token_file: PathBuf,
    /// If the feed sends no message for this long, the collector is not ready and reconnects. Absent for a feed
    /// that may be silent for any time.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub silence_timeout: Option<Duration>,
    /// A file of PEM certificates to trust instead of the public authorities; empty to trust those.
    pub ca_file: PathBuf,
    /// A file with the PEM certificate that the collector identifies itself by, and those that it was issued by; empty for
    /// none. Read at every connect, as `ca_file` and `key_file` are.
    pub certificate_file: PathBuf,
    /// A file with the PEM key of that certificate.
    pub key_file: PathBuf,
    /// How long connecting may take, handshakes and redirects included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The upper bound of the first random wait before a reconnect, in milliseconds. It doubles each time.
    pub reconnect_base_ms: u64,
    /// The largest such bound, in milliseconds.
    pub reconnect_cap_ms: u64,
    /// The largest message that is read whole, in bytes. Only the first bytes of a larger one are kept, as a dead
    /// letter.
    pub max_message_bytes: usize,
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The handshake of a WebSocket: `ws://` and `wss://`.
    Websocket,
    /// A request for a resource: `http://` and `https://`.
    Http,
    /// A session with a broker: `mqtt://` and `mqtts://`.
    Mqtt,
}

/// The largest message that still fits into a record of the dead-letter topic, headers included.
pub(super) const MAX_MESSAGE_BYTES: usize = Kafka::MAX_RECORD_BYTES - (1 << 20);

// === impl Connect ===

impl Connect {
    /// Which feed a stored cursor belongs to. The text also depends on the way to resume, because a cursor is
    /// an event time for one way and the time of the last message for the other. It holds no secret: user info and
    /// query of the address are left out.
    pub(super) fn cursor_of(&self, resume: &Resume) -> String {
        let feed = match Url::parse(self.url.reveal()) {
            Ok(url) if self.feed.is_empty() => {
                let port = url.port_or_known_default().unwrap_or_default();
                format!("{}:{port}{}", url.host_str().unwrap_or_default(), url.path())
            }
            Ok(_) | Err(_) => self.feed.clone(),
        };
        feed + &resume.way()
    }

    /// Checks the name of a configured header.
    ///
    /// # Errors
    /// A message for the user, when the collector sets this header itself, or when user info in the address does.
    pub fn may_set(&self, name: &str, transport: Transport) -> Result<(), String> {
        let lower = name.to_lowercase();
        if transport.own_headers().contains(&lower.as_str()) {
            return Err("the collector sets it itself; remove it".to_owned());
        }
        if lower == "authorization" && self.has_user_info(transport) {
            return Err("url has user info, which is sent as the same header; keep one".to_owned());
        }
        if lower == "authorization" && !self.bearer_token_file.as_os_str().is_empty() {
            return Err("bearer_token_file is sent as the same header; keep one".to_owned());
        }
        Ok(())
    }

    fn has_user_info(&self, transport: Transport) -> bool {
        self.address(transport)
            .is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    }

    /// Its address, checked.
    ///
    /// # Errors
    /// A message for the user, in which the secrets of the address are masked.
    pub fn address(&self, transport: Transport) -> Result<Url, String> {
        let [plain, secure] = transport.schemes();
        let wanted = format!("write {plain}://host:port/path or {secure}://host/path");
        let written = self.url.reveal();
        if written.is_empty() {
            return Err(format!("must be set; {wanted}"));
        }
        // `Url` would remove these silently, and the address might not be the one that was meant.
        if written.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{} contains white space; {wanted}", self.url));
        }
        let url = Url::parse(written).map_err(|why| format!("{}: {why}; {wanted}", self.url))?;
        if ![plain, secure].contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("{} is not {}; {wanted}", self.url, transport.an_address()));
        }
        if url.fragment().is_some() {
            return Err(format!(
                "{}: remove what follows #, which is never sent to a server",
                self.url
            ));
        }
        Ok(url)
    }

    /// What is wrong, one line for each fault, which begins with the key.
    pub(super) fn problems(&self, common: &Common, transport: Transport) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(why) = self.address(transport) {
            problems.push(format!("url: {why}"));
        }
        for (name, value) in &self.headers {
            if let Err(why) = self.may_set(name, transport) {
                problems.push(format!("headers.{name}: {why}"));
            }
            if http::HeaderName::try_from(name).is_err()
                || http::HeaderValue::try_from(value.reveal()).is_err()
            {
                problems
                    .push(format!("headers.{name}: the name or the value is not valid in HTTP"));
            }
        }
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        if is_set(&self.bearer_token_file) && self.has_user_info(transport) {
            problems.push(
                "bearer_token_file: url has user info, which is sent as the same header; keep one"
                    .to_owned(),
            );
        }
        match (is_set(&self.certificate_file), is_set(&self.key_file)) {
            (true, false) => {
                problems.push("key_file: must be set with certificate_file".to_owned())
            }
            (false, true) => {
                problems.push("certificate_file: must be set with key_file".to_owned())
            }
            (true, true) | (false, false) => {}
        }
        problems.extend(zeros([
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("reconnect_base_ms", self.reconnect_base_ms),
            ("max_event_bytes", common.max_event_bytes as u64),
        ]));
        if self.silence_timeout == Some(Duration::ZERO) {
            problems.push(
                "silence_timeout: must be more than 0; remove it for a feed that may be quiet"
                    .to_owned(),
            );
        }
        if self.reconnect_cap_ms < self.reconnect_base_ms {
            problems.push("reconnect_cap_ms: must be at least reconnect_base_ms".to_owned());
        }
        problems.extend(message_bytes_problem(self.max_message_bytes, common));
        problems
    }
}

/// The line about a `max_message_bytes` that is less than an event may have, or more than a dead letter can hold.
pub(super) fn message_bytes_problem(bytes: usize, common: &Common) -> Option<String> {
    let least = common.max_event_bytes;
    (!(least..=MAX_MESSAGE_BYTES).contains(&bytes)).then(|| {
        format!(
            "max_message_bytes: is {bytes}; must be from max_event_bytes ({least}) to {MAX_MESSAGE_BYTES}, which a dead letter \
             can hold"
        )
    })
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            url: SecretUrl::default(),
            feed: String::new(),
            headers: BTreeMap::new(),
            headers_from_file: PathBuf::new(),
            bearer_token_file: PathBuf::new(),
            silence_timeout: None,
            ca_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            connect_timeout_ms: 10_000,
            reconnect_base_ms: 200,
            reconnect_cap_ms: 10_000,
            max_message_bytes: 20 << 20,
        }
    }
}

// === impl Transport ===

impl Transport {
    /// The schemes of its addresses: without TLS, and with it.
    pub const fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::Websocket => ["ws", "wss"],
            Self::Http => ["http", "https"],
            Self::Mqtt => ["mqtt", "mqtts"],
        }
    }

    const fn an_address(self) -> &'static str {
        match self {
            Self::Websocket => "a WebSocket address",
            Self::Http => "an HTTP address",
            Self::Mqtt => "an address of an MQTT broker",
        }
    }

    /// Headers that the collector sets itself.
    const fn own_headers(self) -> &'static [&'static str] {
        match self {
            Self::Websocket => &[
                "host",
                "connection",
                "upgrade",
                "sec-websocket-key",
                "sec-websocket-version",
                "sec-websocket-accept",
                "sec-websocket-extensions",
            ],
            Self::Http => &[
                "host",
                "connection",
                "upgrade",
                "content-length",
                "transfer-encoding",
                "last-event-id",
                "if-none-match",
                "if-modified-since",
            ],
            Self::Mqtt => &[],
        }
    }
}

pub(super) mod optional_duration {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}
