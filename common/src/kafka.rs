//! Kafka, as all tiers use it: the names of topics and headers, the settings of clients, reading without a
//! group, and the creation of topics.

use serde::{Deserialize, Serialize};

mod admin;
mod client_settings;
mod create;
mod credentials;
mod difference;
mod error;
pub mod header;
mod heard;
mod properties;
pub mod reader;
mod stranded;
mod topics;
mod untrusted;

pub use credentials::{PropertyFiles, Rotation};
pub use difference::{Difference, Remedy, Unsuitable};
pub use error::{ClientError, Error};
pub use heard::{Heard, log_report};
pub use properties::Properties;
pub use reader::Reader;
pub use stranded::{STATISTICS, Stranded};
pub use topics::{Topic, TopicSettings};

/// How to reach Kafka and what the topics are called. Section `kafka`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap servers, `host:port[,host:port…]`.
    pub brokers: String,
    /// How many partitions the partitioned topics are created with; a topic that exists keeps its number.
    pub partitions: i32,
    /// Replication factor of topics that are created; -1 is the broker's default.
    pub replication: i32,
    /// Names of the topics.
    pub topics: Topics,
    /// Further settings that the topics are created with.
    pub settings: TopicSettings,
    /// Any further librdkafka property, such as `security.protocol`. They win over Millrace's own settings.
    /// A value that would break a guarantee, such as `acks=1`, is refused.
    pub properties: Properties,
    /// Properties whose values are in files: passwords that are mounted. A file is read whenever a client is made.
    pub property_files: PropertyFiles,
}

/// Names of the topics. Section `kafka.topics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Events as received, keyed by the subject's id.
    pub raw: String,
    /// Payloads that are not events, with the reason.
    pub dead_letters: String,
    /// Partial results of the analyzer's tally, compacted.
    pub partials: String,
    /// Snapshots of the analyzer's tally, compacted.
    pub state: String,
    /// Published results, keyed by query, compacted.
    pub results: String,
    /// Where the sources of several collectors resume, compacted.
    pub cursors: String,
    /// What became of requests that collectors have acknowledged, keyed by the instance, compacted and deleted by age.
    pub acks: String,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            partitions: 4,
            replication: -1,
            topics: Topics::default(),
            settings: TopicSettings::default(),
            properties: Properties::default(),
            property_files: PropertyFiles::default(),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            raw: "raw-rsvps".to_owned(),
            dead_letters: "raw-rsvps-dlq".to_owned(),
            partials: "topn-rsvps-partials".to_owned(),
            state: "topn-rsvps-state".to_owned(),
            results: "topn-rsvps".to_owned(),
            cursors: "collector-cursors".to_owned(),
            acks: "collector-acks".to_owned(),
        }
    }
}

impl Kafka {
    /// The largest record that any of Millrace's topics takes, in bytes.
    pub const MAX_RECORD_BYTES: usize = 24 << 20;

    /// What is wrong with this section, one line for each fault; used by
    /// [`TierConfig::validate`](crate::config::TierConfig::validate).
    pub fn problems(&self) -> Vec<String> {
        self.problems_but_of_properties(self.properties.problems())
    }

    /// The same for a client whose records may be lost, and must not be written twice.
    pub fn problems_at_most_once(&self) -> Vec<String> {
        self.problems_but_of_properties(self.properties.problems_at_most_once())
    }

    fn problems_but_of_properties(&self, of_properties: Vec<String>) -> Vec<String> {
        let mut problems = Vec::new();
        if self.brokers.trim().is_empty() {
            problems.push("kafka.brokers: must not be empty; set it to host:port".to_owned());
        }
        if self.partitions < 1 {
            problems.push(format!("kafka.partitions: is {}; must be at least 1", self.partitions));
        }
        if self.replication < 1 && self.replication != -1 {
            problems.push(format!(
                "kafka.replication: is {}; write -1 for the broker's default, or at least 1",
                self.replication
            ));
        }
        let mut names: Vec<_> = Topic::ALL.map(|topic| self.name(topic)).into();
        names.sort_unstable();
        names.dedup();
        if names.len() < Topic::ALL.len() || names.contains(&"") {
            problems.push("kafka.topics: every topic needs a name of its own".to_owned());
        }
        problems.extend(self.settings.problems());
        problems.extend(of_properties);
        problems.extend(self.property_files.problems(&self.properties));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_properties_win() {
        let mut kafka = Kafka::default();
        assert_eq!(kafka.problems(), Vec::<String>::new());
        kafka.properties.insert("compression.type".to_owned(), "zstd".to_owned());
        assert_eq!(kafka.producer().unwrap().get("compression.type"), Some("zstd"));
    }

    #[test]
    fn each_problem_names_its_key() {
        let mut kafka =
            Kafka { brokers: " ".to_owned(), partitions: 0, replication: 0, ..Kafka::default() };
        kafka.topics.raw = "topn-rsvps".to_owned();
        let problems = kafka.problems();
        for key in ["kafka.brokers", "kafka.partitions", "kafka.replication", "kafka.topics"] {
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        }
    }
}
