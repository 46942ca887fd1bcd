//! The section of a source of kind `kafka`.

use std::collections::BTreeSet;

use common::kafka::{Kafka as Cluster, Properties, PropertyFiles, Topic};
use serde::{Deserialize, Serialize};

use super::connect::message_bytes_problem;
use super::keys::Keys;
use super::{Common, zeros};
use crate::config::Framing;

/// Topics of a Kafka, which may be the one that events are published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// Bootstrap servers, `host:port[,host:port…]`; empty for the cluster of the section `kafka`, with its properties.
    pub brokers: String,
    /// The topics that are read.
    pub topics: BTreeSet<String>,
    /// The consumer group, which keeps the positions.
    pub group: String,
    /// Where a partition begins that the group has no position in.
    pub start: Start,
    /// How many messages a record holds.
    pub framing: Framing,
    /// The largest value that is taken whole, in bytes. Only the first bytes of a larger one are kept, as a dead letter.
    pub max_message_bytes: usize,
    /// Further librdkafka properties, as in `kafka.properties`.
    pub properties: Properties,
    /// Properties whose values are in files, as in `kafka.property_files`.
    pub property_files: PropertyFiles,
}

/// Where a partition begins that the group has no position in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the first record that there is.
    #[default]
    Earliest,
    /// At the first record that comes then.
    Latest,
}

impl Kafka {
    /// The cluster that is read, if events are published to `own`.
    pub fn cluster(&self, own: &Cluster) -> Cluster {
        if self.brokers.is_empty() {
            return own.clone();
        }
        Cluster {
            brokers: self.brokers.clone(),
            properties: self.properties.clone(),
            property_files: self.property_files.clone(),
            ..Cluster::default()
        }
    }

    /// A topic that would be read and written, if the source's cluster is `own`.
    pub fn looping_topic(&self, own: &Cluster) -> Option<&str> {
        let written = [Topic::Raw, Topic::DeadLetters].map(|topic| own.name(topic));
        self.topics.iter().map(String::as_str).find(|topic| written.contains(topic))
    }

    /// The line about a topic that is read and written.
    pub(super) fn loop_problem(&self, own: &Cluster) -> Option<String> {
        let addresses = |brokers: &str| -> BTreeSet<String> {
            brokers.split(',').map(|broker| broker.trim().to_lowercase()).collect()
        };
        let topic = self.looping_topic(own)?;
        let is_same = self.brokers.is_empty()
            || !addresses(&self.brokers).is_disjoint(&addresses(&own.brokers));
        is_same.then(|| {
            format!(
                "topics: {topic} is the topic that events are published to, so that each event would come back for ever; read \
                 another topic, or publish to another one (kafka.topics)"
            )
        })
    }

    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> =
            zeros([("max_event_bytes", self.common.max_event_bytes as u64)]).collect();
        if self.topics.is_empty() || self.topics.contains("") {
            problems.push("topics: name the topics to read, such as [\"orders\"]".to_owned());
        }
        if let Some(pattern) = self.topics.iter().find(|topic| topic.starts_with('^')) {
            problems.push(format!("topics: {pattern} is a pattern; name each topic"));
        }
        if self.group.is_empty() {
            problems.push(
                "group: name the consumer group that keeps the positions, which nobody else uses"
                    .to_owned(),
            );
        }
        problems.extend(message_bytes_problem(self.max_message_bytes, &self.common));
        if self.brokers.is_empty() {
            if !self.properties.is_empty() || !self.property_files.is_empty() {
                problems.push(
                    "properties, property_files: without brokers those of the section [kafka] are used; set brokers, or remove them"
                        .to_owned(),
                );
            }
        } else {
            // The same checks, about the keys of this section.
            let found = self.cluster(&Cluster::default()).problems();
            problems.extend(found.iter().map(|problem| problem.replace("kafka.", "")));
        }
        for name in ["group.id", "isolation.level", "partition.assignment.strategy"] {
            if self.properties.contains_key(name) {
                problems.push(format!("properties: {name} is set by the source; remove it"));
            }
        }
        problems
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            common: Common::default(),
            brokers: String::new(),
            topics: BTreeSet::new(),
            group: String::new(),
            start: Start::default(),
            framing: Framing::default(),
            max_message_bytes: 20 << 20,
            properties: Properties::default(),
            property_files: PropertyFiles::default(),
        }
    }
}
