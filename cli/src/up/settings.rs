//! The configuration: the file of `--config` and the environment of this process.
//!
//! Precedence: settings that come from a flag of `up`, or that `up` itself has to make, are passed to the tiers as
//! environment variables, which replace those of the user. Other variables reach the tiers unchanged, and each tier
//! reads the file itself. The user is told what is overridden, see [`Settings::origin`].

use std::path::{Path, PathBuf};

use common::config::{self, Environment, Flags, Invalid, Service, TierConfig, file};
use common::kafka::Kafka;
use serde::{Deserialize, Serialize};

use super::property::Property;

/// The file and the environment.
#[derive(Debug)]
pub struct Settings {
    path: Option<PathBuf>,
    table: toml::Table,
    environment: Environment,
}

/// The section that `up` reads itself, because `--dump-config` of the tiers masks passwords.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct KafkaSection {
    service: Service,
    kafka: Kafka,
}

impl TierConfig for KafkaSection {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::when_any(self.kafka.problems())
    }
}

impl Settings {
    /// Reads the file, and takes the environment as it is.
    ///
    /// # Errors
    /// When the file cannot be read, or has a section that no tier knows.
    pub fn read(path: Option<&Path>) -> Result<Self, config::Error> {
        let environment = config::environment();
        let table = path.map(file::check_sections).transpose()?.unwrap_or_default();
        // An absolute path is valid for the tiers too, whatever their working directory is.
        let path = path.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        Ok(Self { path, table, environment })
    }

    /// The file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where `key` of the tier `name` is set: the name of the variable or the place in the file, in words. `None` if it is
    /// not set.
    pub fn origin(&self, name: &str, key: &str) -> Option<String> {
        let variable = config::variable(name, key);
        if self.environment.contains_key(&variable) {
            return Some(format!("{variable} from the environment"));
        }
        let own = self.table.get(name).and_then(|section| section.as_table());
        let path = self.path.as_ref()?;
        if own.is_some_and(|own| holds(own, key)) {
            Some(format!("{name}.{key} in {}", path.display()))
        } else if holds(&self.table, key) {
            Some(format!("{key} in {}", path.display()))
        } else {
            None
        }
    }

    /// The value of the tier's variable for `key`.
    pub fn variable(&self, name: &str, key: &str) -> Option<&str> {
        self.environment.get(&config::variable(name, key)).map(String::as_str)
    }

    /// The address of Kafka that the file sets for all tiers.
    pub fn brokers(&self) -> Option<&str> {
        self.table.get("kafka")?.get("brokers")?.as_str()
    }

    /// How to reach Kafka: as configured for the analyzer, with `properties` in addition.
    ///
    /// # Errors
    /// When the section is not valid.
    pub fn kafka(&self, properties: &[Property]) -> Result<Kafka, config::Error> {
        let flags = Flags { config: self.path.clone(), ..Flags::default() };
        let mut kafka = config::load::<KafkaSection>("analyzer", &flags, &self.environment)?.kafka;
        for property in properties {
            kafka.properties.insert(property.key.clone(), property.value.clone());
        }
        Invalid::when_any(kafka.problems())?;
        Ok(kafka)
    }

    /// The full name of a key of the collector's source: `source.NAME.key` if the file names a source, else that of the
    /// default source.
    pub fn source_key(&self, key: &str) -> String {
        match self.source() {
            Some(name) => format!("source.{name}.{key}"),
            None => format!("source.rsvps.{key}"),
        }
    }

    /// Whether a source is configured that is not the feed of `up`: by an address, where it is or where it is sent to, or by
    /// a kind that `up` does not serve. Then `up` serves no feed of its own.
    pub fn names_feed(&self) -> bool {
        let variables = self.environment.iter().filter_map(|(name, value)| {
            let (_, key) = name.strip_prefix("COLLECTOR__SOURCE__")?.rsplit_once("__")?;
            Some((key.to_lowercase(), value.as_str()))
        });
        let keys = self.sources().flat_map(|(_, section)| section);
        let keys = keys.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default()));
        variables.chain(keys).any(|(key, value)| match key.as_str() {
            "url" | "listen" => true,
            "kind" => value != "websocket",
            _ => false,
        })
    }

    /// The name of the source in the file: `[source.NAME]`.
    fn source(&self) -> Option<&str> {
        self.sources().next().map(|(name, _)| name.as_str())
    }

    /// The sources in the file, those of the collector's own section first.
    fn sources(&self) -> impl Iterator<Item = (&String, &toml::Table)> {
        let own = self.table.get("collector").and_then(|section| section.get("source"));
        let sources = own.into_iter().chain(self.table.get("source"));
        let sections = sources.filter_map(toml::Value::as_table).flatten();
        sections.filter_map(|(name, section)| Some((name, section.as_table()?)))
    }
}

fn holds(table: &toml::Table, key: &str) -> bool {
    let mut at = Some(table);
    let mut parts = key.split('.').peekable();
    while let (Some(table), Some(part)) = (at, parts.next()) {
        let value = table.get(part);
        if parts.peek().is_none() {
            return value.is_some();
        }
        at = value.and_then(|value| value.as_table());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str, environment: &[(&str, &str)]) -> Settings {
        let environment =
            environment.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let path = Some(PathBuf::from("feed.toml"));
        Settings { path, table: toml::from_str(file).unwrap(), environment }
    }

    #[test]
    fn the_environment_is_named_before_the_file_and_a_tier_s_section_before_the_shared_one() {
        let file = "[kafka]\nbrokers = 'a:1'\n[analyzer.kafka]\nbrokers = 'b:1'\n[access-api]\nlisten = '[::]:80'";
        let settings = settings(file, &[("ACCESS_API__LISTEN", "127.0.0.1:1")]);
        let origin = |name, key| settings.origin(name, key).unwrap_or_default();
        assert_eq!(origin("access-api", "listen"), "ACCESS_API__LISTEN from the environment");
        assert_eq!(origin("analyzer", "kafka.brokers"), "analyzer.kafka.brokers in feed.toml");
        assert_eq!(origin("collector", "kafka.brokers"), "kafka.brokers in feed.toml");
        assert_eq!(origin("collector", "service.admin"), "");
        assert_eq!(settings.brokers(), Some("a:1"));
    }

    #[test]
    fn a_source_in_the_file_or_in_a_variable_is_a_feed_elsewhere() {
        let named = settings("[source.wiki]\nurl = 'wss://feed/'", &[]);
        assert!(named.names_feed());
        assert_eq!(named.source_key("url"), "source.wiki.url");
        let shaped = settings("[source.wiki]\nframing = 'array'", &[]);
        assert!(!shaped.names_feed());
        assert_eq!(shaped.source_key("url"), "source.wiki.url");
        assert!(settings("", &[("COLLECTOR__SOURCE__WIKI__URL", "ws://feed/")]).names_feed());
        assert!(
            settings("[source.orders]\nkind = 'http_push'\nlisten = '127.0.0.1:8910'", &[])
                .names_feed()
        );
        for kind in ["http_push", "udp", "sse"] {
            let text = format!("[source.orders]\nkind = '{kind}'");
            assert!(settings(&text, &[]).names_feed(), "{kind}, also without its address");
            assert!(settings("", &[("COLLECTOR__SOURCE__ORDERS__KIND", kind)]).names_feed());
        }
        assert!(!settings("[source.rsvps]\nkind = 'websocket'", &[]).names_feed());
        assert!(!settings("", &[("COLLECTOR__KAFKA__BROKERS", "a:1")]).names_feed());
    }
}
