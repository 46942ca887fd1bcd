//! The topics, how many partitions each has, and the settings it is created with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Kafka;

/// Makes a topic accept any timestamp. Without it a broker refuses records more than an hour ahead of its own
/// clock, and a tier's clock may be further ahead. Brokers before 3.6 do not know this setting, and accept
/// any timestamp.
pub(super) const TAKE_ANY_TIME: (&str, &str) =
    ("message.timestamp.after.max.ms", "9223372036854775807");

/// With this many replicas a write needs two of them, so that a broker may fail without a record being lost.
const REPLICAS_FOR_TWO_IN_SYNC: i32 = 3;

/// One of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Events as received.
    Raw,
    /// Payloads that are not events, with the reason.
    DeadLetters,
    /// Partial results.
    Partials,
    /// Snapshots.
    State,
    /// Published results: one partition, so that one offset is a position in all of them.
    Results,
    /// Where the sources of several collectors resume. Its partitions are also their leases.
    Cursors,
    /// What became of requests that collectors have acknowledged: one partition, so that all that an instance says has one
    /// order.
    Acks,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 7] = [
        Self::Raw,
        Self::DeadLetters,
        Self::Partials,
        Self::State,
        Self::Results,
        Self::Cursors,
        Self::Acks,
    ];

    /// How many partitions it is created with.
    pub const fn partitions(self, kafka: &Kafka) -> i32 {
        match self {
            Self::Raw | Self::Partials | Self::State => kafka.partitions,
            // Collectors add partitions to the cursors, so that each source has one.
            Self::DeadLetters | Self::Results | Self::Cursors | Self::Acks => 1,
        }
    }

    /// Whether Kafka has to keep only the newest record of each key, for ever (`Some(true)`), or every record for a time
    /// (`Some(false)`); `None` if the topic works with either.
    pub(super) const fn is_compacted(self) -> Option<bool> {
        match self {
            Self::Raw | Self::DeadLetters => Some(false),
            Self::Partials | Self::State | Self::Results | Self::Cursors => Some(true),
            Self::Acks => None,
        }
    }

    /// How long its records have to be kept at least, in milliseconds; `None` if that is for its owner to say.
    pub(super) const fn least_retention_ms(self) -> Option<i64> {
        match self {
            Self::Acks => Some(187_200_000),
            Self::Raw
            | Self::DeadLetters
            | Self::Partials
            | Self::State
            | Self::Results
            | Self::Cursors => None,
        }
    }

    /// The settings that it needs, or does best with. Compacted topics roll their segments early, because Kafka never
    /// compacts the newest segment: this keeps small what a reader must read that starts at the beginning.
    pub(super) const fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Raw => &[("cleanup.policy", "delete"), TAKE_ANY_TIME],
            Self::DeadLetters => {
                &[("cleanup.policy", "delete"), ("max.message.bytes", "25165824"), TAKE_ANY_TIME]
            }
            Self::Partials | Self::State | Self::Results | Self::Cursors => &[
                ("cleanup.policy", "compact"),
                ("segment.bytes", "33554432"),
                ("segment.ms", "600000"),
                ("min.cleanable.dirty.ratio", "0.1"),
                ("delete.retention.ms", "600000"),
                ("max.message.bytes", "8388608"),
                TAKE_ANY_TIME,
            ],
            // Kept for 52 hours: what an instance says concerns the last 25 at most, and is answered until 26 hours after
            // its last word. By the broker's clock, so that all collectors have the same.
            Self::Acks => &[
                ("cleanup.policy", "compact,delete"),
                ("retention.ms", "187200000"),
                ("segment.bytes", "33554432"),
                ("segment.ms", "600000"),
                ("min.cleanable.dirty.ratio", "0.1"),
                ("delete.retention.ms", "600000"),
                ("message.timestamp.type", "LogAppendTime"),
            ],
        }
    }
}

/// Further settings of topics, such as `retention.ms`, by their names in Kafka. Section `kafka.settings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSettings {
    /// Of the topic of raw events.
    pub raw: BTreeMap<String, String>,
    /// Of the topic of dead letters.
    pub dead_letters: BTreeMap<String, String>,
    /// Of the topic of partial results.
    pub partials: BTreeMap<String, String>,
    /// Of the topic of snapshots.
    pub state: BTreeMap<String, String>,
    /// Of the topic of results.
    pub results: BTreeMap<String, String>,
    /// Of the topic of the sources' cursors.
    pub cursors: BTreeMap<String, String>,
    /// Of the topic of acknowledgements.
    pub acks: BTreeMap<String, String>,
}

impl TopicSettings {
    pub(super) const fn of(&self, topic: Topic) -> &BTreeMap<String, String> {
        match topic {
            Topic::Raw => &self.raw,
            Topic::DeadLetters => &self.dead_letters,
            Topic::Partials => &self.partials,
            Topic::State => &self.state,
            Topic::Results => &self.results,
            Topic::Cursors => &self.cursors,
            Topic::Acks => &self.acks,
        }
    }

    /// What is wrong with the section, one line for each fault.
    pub(super) fn problems(&self) -> Vec<String> {
        let given = Topic::ALL.into_iter().flat_map(|topic| self.of(topic));
        let policies = given.filter(|(key, _)| *key == "cleanup.policy");
        let problem = "kafka.settings: cleanup.policy cannot be set, because each topic works only with its own; remove it";
        let mut problems: Vec<String> = policies.map(|_| problem.to_owned()).collect();
        let kept = self.acks.get("retention.ms").and_then(|value| value.parse().ok());
        let least = Topic::Acks.least_retention_ms().unwrap_or(0);
        if kept.is_some_and(|kept: i64| (0..least).contains(&kept)) {
            problems.push(format!(
                "kafka.settings.acks: retention.ms is less than {least}, so that dead letters would be forgotten that others \
                 are promised; remove it"
            ));
        }
        problems
    }
}

impl Kafka {
    /// The configured name of a topic.
    pub fn name(&self, topic: Topic) -> &str {
        match topic {
            Topic::Raw => &self.topics.raw,
            Topic::DeadLetters => &self.topics.dead_letters,
            Topic::Partials => &self.topics.partials,
            Topic::State => &self.topics.state,
            Topic::Results => &self.topics.results,
            Topic::Cursors => &self.topics.cursors,
            Topic::Acks => &self.topics.acks,
        }
    }

    /// The settings that a topic is created with.
    pub(super) fn settings_of(&self, topic: Topic) -> BTreeMap<String, String> {
        let needs = topic.needs().iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let mut settings: BTreeMap<String, String> = needs.collect();
        if self.replication >= REPLICAS_FOR_TWO_IN_SYNC {
            settings.insert("min.insync.replicas".to_owned(), "2".to_owned());
        }
        settings.extend(self.settings.of(topic).clone());
        settings
    }
}
