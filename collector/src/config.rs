//! What a collector can be told.

use std::path::PathBuf;

use common::config::{Invalid, Service, TierConfig};
use common::event::Schema;
use common::kafka::Kafka;
use serde::{Deserialize, Serialize};

/// The collector's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every tier has.
    pub service: Service,
    /// Where events go.
    pub kafka: Kafka,
    /// Where they come from.
    pub source: Source,
    /// Who they are, and when they happened.
    pub event: Schema,
    /// Where they wait until Kafka has acknowledged them.
    pub log: Log,
}

/// The feed. Section `source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// Its address, `ws://` or `wss://`.
    pub url: String,
    /// Its name in headers, in metrics and in the log; the resume cursor is kept under it.
    pub name: String,
    /// Which feed it gives, where its address does not say so: a resume cursor that was kept for
    /// another feed is not used.
    pub feed: String,
    /// A file of PEM certificates to trust instead of the public authorities; empty for those.
    pub ca_file: PathBuf,
    /// How long connecting may take, handshakes included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// A feed that is quiet for so long is sent a ping, in milliseconds.
    pub ping_interval_ms: u64,
    /// A feed that then sends nothing for so long is given up, in milliseconds.
    pub ping_timeout_ms: u64,
    /// The first bound of the random wait before a reconnect, in milliseconds; it doubles.
    pub reconnect_base_ms: u64,
    /// The last bound of that wait, in milliseconds.
    pub reconnect_cap_ms: u64,
    /// A connection that sends a larger message is closed with 1009, in bytes.
    pub max_message_bytes: usize,
    /// A larger message is a dead letter, in bytes.
    pub max_event_bytes: usize,
}

/// The message log. Section `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Its directory; made if it is not there. No two collectors may share one.
    pub path: PathBuf,
    /// How many bytes wait in memory before they are written to a table file.
    pub write_buffer_bytes: usize,
    /// How many bytes the write-ahead log may have.
    pub write_ahead_bytes: u64,
    /// How many refused entries are kept when even their dead letters are refused.
    pub max_failed: usize,
}

/// The largest message that still fits into a record of the dead-letter topic, headers included.
const MAX_MESSAGE_BYTES: usize = Kafka::MAX_RECORD_BYTES - (1 << 20);

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = self.kafka.problems();
        problems
            .extend(self.event.problems().into_iter().map(|problem| format!("event.{problem}")));
        let source = &self.source;
        let scheme = source.url.split_once("://").filter(|(_, rest)| !rest.is_empty());
        if !matches!(scheme, Some(("ws" | "wss", _))) {
            problems.push(format!(
                "source.url: '{}' is no WebSocket address; write ws://host:port/path or wss://host/path",
                source.url
            ));
        }
        if source.name.is_empty() {
            problems.push(
                "source.name: must not be empty; the resume cursor is kept under it".to_owned(),
            );
        }
        let positive = [
            ("source.connect_timeout_ms", source.connect_timeout_ms),
            ("source.ping_interval_ms", source.ping_interval_ms),
            ("source.ping_timeout_ms", source.ping_timeout_ms),
            ("source.reconnect_base_ms", source.reconnect_base_ms),
            ("source.max_event_bytes", source.max_event_bytes as u64),
            ("log.write_buffer_bytes", self.log.write_buffer_bytes as u64),
            ("log.write_ahead_bytes", self.log.write_ahead_bytes),
            ("log.max_failed", self.log.max_failed as u64),
        ];
        for (key, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("{key}: must be more than 0"));
        }
        if source.reconnect_cap_ms < source.reconnect_base_ms {
            problems.push(
                "source.reconnect_cap_ms: must be at least source.reconnect_base_ms".to_owned(),
            );
        }
        if !(source.max_event_bytes..=MAX_MESSAGE_BYTES).contains(&source.max_message_bytes) {
            problems.push(format!(
                "source.max_message_bytes: is {}; must be from source.max_event_bytes ({}) to {MAX_MESSAGE_BYTES}, \
                 which a dead letter can hold",
                source.max_message_bytes, source.max_event_bytes
            ));
        }
        if self.log.path.as_os_str().is_empty() {
            problems.push(
                "log.path: must not be empty; set it to a directory that outlives the process"
                    .to_owned(),
            );
        }
        Invalid::when_any(problems)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: Service::on_port(9101),
            kafka: Kafka::default(),
            source: Source::default(),
            event: Schema::default(),
            log: Log::default(),
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            url: "ws://127.0.0.1:8090/2/rsvps".to_owned(),
            name: "rsvps".to_owned(),
            feed: String::new(),
            ca_file: PathBuf::new(),
            connect_timeout_ms: 10_000,
            ping_interval_ms: 10_000,
            ping_timeout_ms: 5_000,
            reconnect_base_ms: 200,
            reconnect_cap_ms: 10_000,
            max_message_bytes: 20 << 20,
            // With key and headers still within Kafka's default limit of a record.
            max_event_bytes: 1_000_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        let options = common::message_log::Options::default();
        Self {
            path: PathBuf::from("data/collector"),
            write_buffer_bytes: options.write_buffer_bytes,
            write_ahead_bytes: options.write_ahead_bytes,
            max_failed: options.max_failed,
        }
    }
}

impl Log {
    /// As the message log wants it.
    pub fn options(&self) -> common::message_log::Options {
        common::message_log::Options {
            write_buffer_bytes: self.write_buffer_bytes,
            write_ahead_bytes: self.write_ahead_bytes,
            max_failed: self.max_failed,
            ..common::message_log::Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_file_that_describes_its_events_gets_nothing_from_the_default_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.toml");
        let load = |text: &str, environment: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            let flags = common::config::Flags { config: Some(path.clone()), ..Default::default() };
            let environment =
                environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            common::config::load::<Config>("collector", &flags, &environment.collect())
        };
        let event = load("[event]\nid = \"none\"", &[]).unwrap().event;
        assert_eq!((event.id, event.time), (common::event::Id::None, None));
        let event = load(
            "[event]\nid = \"payload\"",
            &[("COLLECTOR__EVENT__TIME__PATH", "/at"), ("COLLECTOR__EVENT__ID", "/a")],
        );
        let event = event.unwrap().event;
        assert_eq!(event.time.unwrap().path, "/at".parse().unwrap());
        assert_eq!(event.id.pointers(), ["/a".parse().unwrap()]);
        let untouched = load("[source]\nname = \"feed\"", &[]).unwrap();
        assert_eq!(untouched.event, Schema::default());
        let error = load("[identity]\nid = [\"/a\"]", &[]).unwrap_err().to_string();
        assert!(error.contains("identity"), "{error}");
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut config = Config::default();
        config.source.url = "http://feed/2/rsvps".to_owned();
        config.source.name.clear();
        config.source.ping_interval_ms = 0;
        config.source.reconnect_cap_ms = 1;
        config.source.max_message_bytes = 100 << 20;
        config.event.id = common::event::Id::Fields(Vec::new());
        config.log.path = PathBuf::new();
        let Err(Invalid(problems)) = config.validate() else { panic!("must be invalid") };
        for key in [
            "source.url",
            "source.name",
            "source.ping_interval_ms",
            "source.reconnect_cap_ms",
            "source.max_message_bytes",
            "event.id",
            "log.path",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
    }
}
