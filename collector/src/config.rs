//! The collector's configuration.

use std::path::PathBuf;
use std::sync::Arc;

use common::config::{Invalid, Service, TierConfig};
use common::disk;
use common::event::Schema;
use common::kafka::Kafka;
use common::message_log::{KeyFileError, Keyring, Options};
use common::trace::Trace;
use serde::{Deserialize, Serialize};

mod framing;
mod leases;
mod source;

pub use framing::Framing;
pub use leases::Leases;
pub use source::{
    Common, Connect, Delivery, File, FirstMessages, HttpPush, HttpStream, Kafka as KafkaSource,
    LongPoll, Mqtt, MqttVersion, Release, Resume, Shed, Source, Sources, Sse, Start, Transport,
    Udp, Websocket,
};

/// The collector's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which replica of several this is, from 0 on. More than one need `leases.enabled`.
    pub replica: u32,
    /// The settings that every tier has.
    pub service: Service,
    /// Where events go.
    pub kafka: Kafka,
    /// Whether events are traced, and where to.
    pub trace: Trace,
    /// Where events come from.
    pub source: Sources,
    /// What identifies an event, and when it happened.
    pub event: Schema,
    /// Where events wait until Kafka has acknowledged them.
    pub log: Log,
    /// How several collectors divide the sources.
    pub leases: Leases,
}

/// The message log. Section `log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Its directory, which is created if it does not exist. Two collectors cannot share one.
    pub path: PathBuf,
    /// When a message is sent, and whether it is written at all.
    pub mode: Mode,
    /// How many bytes may wait for Kafka in the log, roughly. If there are more, the sources are read no faster than Kafka
    /// takes events. Absent for half of what the disk has for the log at the start. While the disk has less than
    /// `write_ahead_bytes` left, no more than 64 MiB may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// See [`write_buffer_bytes`](common::message_log::Options::write_buffer_bytes).
    pub write_buffer_bytes: usize,
    /// See [`write_ahead_bytes`](common::message_log::Options::write_ahead_bytes).
    pub write_ahead_bytes: u64,
    /// How many refused entries are kept whose dead letters Kafka has not acknowledged either.
    pub max_failed: usize,
    /// A file with the keys that the log is encrypted with: one a line, 32 bytes in base64; the first one is used, the others are
    /// for what was written before. Absent to write it plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// What the log is for. A message is safe when it is on disk or when Kafka has it, whichever comes first, unless its source
/// says otherwise, see [`Release`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A message is sent at once, while it is being written.
    #[default]
    Hybrid,
    /// A message is sent when it is on disk.
    Pessimistic,
    /// Messages are not written: what Kafka has not acknowledged is lost with the process.
    Off,
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn trace(&self) -> Option<&Trace> {
        Some(&self.trace)
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = if self.source.are_at_most_once() {
            self.kafka.problems_at_most_once()
        } else {
            self.kafka.problems()
        };
        problems.extend(self.trace.problems());
        if self.replica > 0 && !self.leases.enabled {
            problems.push(format!(
                "replica: is {}, but each collector would follow every source; set leases.enabled = true, or scale back \
                 to 1 replica",
                self.replica
            ));
        }
        problems
            .extend(self.event.problems().into_iter().map(|problem| format!("event.{problem}")));
        problems.extend(self.source.problems(&self.kafka));
        problems.extend(self.source.delivery_problems(self.log.mode, self.leases.enabled));
        problems.extend(self.leases.problems());
        let positive = [
            ("log.write_buffer_bytes", self.log.write_buffer_bytes as u64),
            ("log.write_ahead_bytes", self.log.write_ahead_bytes),
            ("log.max_failed", self.log.max_failed as u64),
            ("log.max_bytes", self.log.max_bytes.unwrap_or(1)),
        ];
        for (key, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("{key}: must be more than 0"));
        }
        if self.log.key_file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            problems.push(
                "log.key_file: must not be empty; name a file with keys, or leave it out"
                    .to_owned(),
            );
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
            replica: 0,
            service: Service::on_port(9101),
            kafka: Kafka::default(),
            trace: Trace::default(),
            source: Sources::default(),
            event: Schema::default(),
            log: Log::default(),
            leases: Leases::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        let options = Options::default();
        Self {
            path: PathBuf::from("data/collector"),
            mode: Mode::default(),
            max_bytes: None,
            write_buffer_bytes: options.write_buffer_bytes,
            write_ahead_bytes: options.write_ahead_bytes,
            max_failed: options.max_failed,
            key_file: None,
        }
    }
}

impl Log {
    /// How many bytes may wait for Kafka.
    pub fn limit(&self) -> u64 {
        self.max_bytes.unwrap_or_else(|| {
            let free = disk::free(&self.path).unwrap_or(u64::MAX);
            (free.saturating_add(disk::size(&self.path)) / 2).max(1)
        })
    }

    /// The options of the message log, with the keys of its file.
    ///
    /// # Errors
    /// When the key file cannot be used.
    pub fn options(&self) -> Result<Options, KeyFileError> {
        let keys = self.key_file.as_deref().map(Keyring::read).transpose()?;
        Ok(Options {
            write_buffer_bytes: self.write_buffer_bytes,
            write_ahead_bytes: self.write_ahead_bytes,
            max_failed: self.max_failed,
            keys: keys.map(Arc::new),
            ..Options::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use common::config::{Environment, Flags};

    use super::*;

    #[test]
    fn the_defaults_are_a_valid_configuration() {
        let config: Config =
            common::config::load("collector", &Flags::default(), &Environment::new()).unwrap();
        assert_eq!(
            config.source.iter().collect::<Vec<_>>(),
            [("rsvps", &Websocket::rsvps().into())]
        );
    }

    #[test]
    fn the_environment_names_a_source_and_sets_its_keys() {
        let environment = [
            ("COLLECTOR__SOURCE__WIKI__URL", "wss://feed/a"),
            ("COLLECTOR__SOURCE__WIKI__RESUME", r#"{ query = "since", from = "time" }"#),
            ("COLLECTOR__SOURCE__WIKI__FRAMING", "lines"),
            ("COLLECTOR__SOURCE__WIKI__FIRST_MESSAGE", r#"{"subscribe":"all"}"#),
        ];
        let environment: Environment = environment
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let config: Config =
            common::config::load("collector", &Flags::default(), &environment).unwrap();
        let [(name, Source::Websocket(source))] = config.source.iter().collect::<Vec<_>>()[..]
        else {
            panic!("{config:?}")
        };
        assert_eq!((name, source.connect.url.reveal()), ("wiki", "wss://feed/a"));
        assert_eq!(source.resume, Resume::Query("since".to_owned()));
        assert_eq!(source.framing, Framing::Lines);
        assert_eq!(source.first_message.0[0].reveal(), r#"{"subscribe":"all"}"#);
    }

    #[test]
    fn the_kind_from_the_environment_is_known_before_the_keys_that_only_it_has() {
        let environment = [
            ("COLLECTOR__SOURCE__EDITS__EVENTS", r#"["message"]"#),
            ("COLLECTOR__SOURCE__EDITS__IDLE_TIMEOUT", "30s"),
            ("COLLECTOR__SOURCE__EDITS__KIND", "sse"),
            ("COLLECTOR__SOURCE__EDITS__URL", "https://feed/a"),
        ];
        let environment: Environment = environment
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let set = ["source.a.interval=1s", "source.a.url=http://a/", "source.a.kind=long_poll"];
        let flags = Flags { set: set.map(str::to_owned).to_vec(), ..Flags::default() };
        let config: Config = common::config::load("collector", &flags, &environment).unwrap();
        let sources: Vec<_> = config.source.iter().collect();
        let [("a", Source::LongPoll(poll)), ("edits", Source::Sse(edits))] = sources[..] else {
            panic!("{config:?}")
        };
        assert_eq!(poll.interval.as_secs(), 1);
        assert_eq!(
            (edits.events.as_slice(), edits.connect.url.reveal()),
            (&["message".to_owned()][..], "https://feed/a")
        );
    }

    #[test]
    fn a_kafka_that_may_lose_events_is_refused_unless_every_source_may() {
        let mut config = Config::default();
        let weak = [("acks", "1"), ("enable.idempotence", "false"), ("retries", "0")];
        let weak = weak.map(|(name, value)| (name.to_owned(), value.to_owned()));
        config.kafka.properties.extend(weak);
        let refused = |config: &Config| config.validate().err().map_or(0, |found| found.0.len());
        config.source = toml::from_str("[a]\nkind = 'udp'\ndelivery = 'at_most_once'").unwrap();
        assert_eq!(refused(&config), 0);
        config.source.insert("b", Websocket::rsvps());
        assert_eq!(refused(&config), 3);
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut config = Config::default();
        config.event.id = common::event::Id::Fields(Vec::new());
        config.log.path = PathBuf::new();
        config.log.key_file = Some(PathBuf::new());
        config.replica = 1;
        config.leases.session_timeout = std::time::Duration::from_secs(1);
        let Err(Invalid(problems)) = config.validate() else { panic!("must be invalid") };
        for key in
            ["replica", "source", "event.id", "log.path", "log.key_file", "leases.session_timeout"]
        {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
    }
}
