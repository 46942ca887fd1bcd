//! What differs between a topic as it is and as it should be. Pure: does no I/O.

use std::collections::BTreeMap;

use super::{Kafka, Topic};

#[cfg(test)]
mod tests;

/// A topic that would lose events or counts, or could not be written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic {topic} cannot be used: {what}; repair it with: {command}")]
pub struct Unsuitable {
    /// Its name.
    pub topic: String,
    /// What is wrong.
    pub what: String,
    /// The command of Kafka's own tools that repairs it.
    pub command: String,
}

/// Something about a topic that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which topic.
    pub topic: Topic,
    /// What it is, and what it should be or why that matters.
    pub what: String,
    /// What makes it as it should be.
    pub remedy: Remedy,
    /// Whether the topic cannot be used as it is.
    pub unusable: bool,
}

/// What makes a topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The topic has to be created.
    Create,
    /// A setting has to be changed. Nothing is lost by it.
    Set {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// A command of Kafka's own tools. A person has to decide on it, because records or counts may be lost by it, or
    /// many records have to be moved.
    ByHand(String),
}

/// What Kafka says about a topic that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partitions: usize,
    /// The replicas of the partition that has the fewest; 0 if it has no partitions.
    pub(super) replicas: usize,
    /// The settings in force. One that is not known is absent, and is not held against the topic.
    pub(super) settings: BTreeMap<String, String>,
    /// Those of them that are the topic's own, and not the broker's defaults.
    pub(super) own: BTreeMap<String, String>,
    /// Why the settings could not be read; then they are empty.
    pub(super) unread: Option<String>,
}

impl Difference {
    /// The setting that has to be changed, if that is the remedy.
    pub(super) fn change(&self) -> Option<(&str, &str)> {
        match &self.remedy {
            Remedy::Set { key, value } => Some((key, value)),
            Remedy::Create | Remedy::ByHand(_) => None,
        }
    }
}

/// Settings of which more is as good: the topic then takes more than it must.
const AT_LEAST: [&str; 2] = ["max.message.bytes", "message.timestamp.after.max.ms"];
/// Settings that delete records when they are lowered; -1 means that nothing is deleted.
const RETENTION: [&str; 2] = ["retention.bytes", "retention.ms"];

impl Kafka {
    /// How the topic differs from what it should be; with `None` it does not exist.
    pub(super) fn differences(&self, topic: Topic, found: Option<&Found>) -> Vec<Difference> {
        let Some(found) = found else {
            let what = "it does not exist".to_owned();
            return vec![Difference { topic, what, remedy: Remedy::Create, unusable: true }];
        };
        let flaws = self.flaws(topic, found).into_iter().map(|flaw| Difference {
            topic,
            what: flaw.what,
            remedy: Remedy::ByHand(flaw.command),
            unusable: true,
        });
        flaws.chain(self.deviations(topic, found)).collect()
    }

    /// Why an existing topic cannot be used.
    pub(super) fn unsuitable(&self, topic: Topic, found: &Found) -> Option<Unsuitable> {
        self.flaws(topic, found).into_iter().next().or_else(|| self.forgetful(topic, found))
    }

    /// Why a topic deletes too early what others rely on. Unlike a flaw, it is repaired without a person's decision.
    fn forgetful(&self, topic: Topic, found: &Found) -> Option<Unsuitable> {
        let least = topic.least_retention_ms()?;
        let deletes = found.settings.get("cleanup.policy").is_some_and(|it| it.contains("delete"));
        let is = found.settings.get("retention.ms").filter(|_| deletes)?;
        if amount("retention.ms", is)? >= i128::from(least) {
            return None;
        }
        let what = format!(
            "it has retention.ms={is}, so that acknowledgements may be said to have no dead letters whose records are deleted"
        );
        let command = self.configure(topic, "retention.ms", &least.to_string());
        Some(Unsuitable { topic: self.name(topic).to_owned(), what, command })
    }

    /// What makes an existing topic unusable.
    fn flaws(&self, topic: Topic, found: &Found) -> Vec<Unsuitable> {
        let flaw = |what: String, command: String| Unsuitable {
            topic: self.name(topic).to_owned(),
            what,
            command,
        };
        let (name, brokers) = (self.name(topic), &self.brokers);
        let mut flaws = Vec::new();
        let policy = found.settings.get("cleanup.policy");
        if let (Some(policy), Some(is_compacted)) = (policy, topic.is_compacted()) {
            let is = |wanted: &str| policy.split(',').any(|part| part.trim() == wanted);
            let (wanted, other, why) = if is_compacted {
                ("compact", "delete", "what is older than its retention would be forgotten")
            } else {
                ("delete", "compact", "records with one key would replace each other")
            };
            if !is(wanted) || is(other) {
                let what = format!("it has cleanup.policy={policy}, so that {why}");
                flaws.push(flaw(what, self.configure(topic, "cleanup.policy", wanted)));
            }
        }
        let in_sync = found.settings.get("min.insync.replicas");
        let in_sync = in_sync.and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        if in_sync > found.replicas && found.replicas > 0 {
            let replicas = found.replicas.to_string();
            let what = format!(
                "it has min.insync.replicas={in_sync} but {replicas} replica(s), so that nothing can be written"
            );
            flaws.push(flaw(what, self.configure(topic, "min.insync.replicas", &replicas)));
        }
        if topic == Topic::Results && found.partitions != 1 {
            let what = format!(
                "it has {} partitions, but results need one, so that they have one order; the next start creates it again \
                 when it is deleted",
                found.partitions
            );
            let command =
                format!("kafka-topics.sh --bootstrap-server {brokers} --delete --topic {name}");
            flaws.push(flaw(what, command));
        }
        flaws
    }

    /// What is otherwise than configured, and can be used all the same.
    fn deviations(&self, topic: Topic, found: &Found) -> Vec<Difference> {
        let deviation =
            |what: String, remedy: Remedy| Difference { topic, what, remedy, unusable: false };
        let (name, brokers) = (self.name(topic), &self.brokers);
        let mut deviations = Vec::new();
        let partitions = usize::try_from(topic.partitions(self)).unwrap_or(0);
        // The analyzer adds partitions to the topic of its state, and partials need no certain number.
        if topic == Topic::Raw && found.partitions < partitions {
            let what = format!(
                "it has {} partitions instead of {partitions}; after a change, copies of an event from before it count \
                 again",
                found.partitions
            );
            let command = format!(
                "kafka-topics.sh --bootstrap-server {brokers} --alter --topic {name} --partitions {partitions}"
            );
            deviations.push(deviation(what, Remedy::ByHand(command)));
        }
        let replicas = usize::try_from(self.replication).unwrap_or(0);
        if found.replicas < replicas {
            let what = format!(
                "it has {} replica(s) instead of {replicas}; a plan for {name} has to say where the others go",
                found.replicas
            );
            let command = format!(
                "kafka-reassign-partitions.sh --bootstrap-server {brokers} --reassignment-json-file PLAN --execute"
            );
            deviations.push(deviation(what, Remedy::ByHand(command)));
        }
        if let Some(why) = &found.unread {
            let what =
                format!("its settings cannot be read ({why}), so that they are not compared");
            let command = format!(
                "kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:NAME --operation DescribeConfigs \
                 --topic {name}"
            );
            deviations.push(deviation(what, Remedy::ByHand(command)));
            return deviations;
        }
        for key in self.settings.of(topic).keys().filter(|key| !found.settings.contains_key(*key)) {
            let what = format!("this Kafka has no setting {key}, which kafka.settings names");
            deviations.push(deviation(what, Remedy::ByHand("remove it there".to_owned())));
        }
        for (key, value) in self.settings_of(topic) {
            let Some(is) = found.settings.get(&key).filter(|is| **is != value) else { continue };
            let (is_more, is_less) = {
                let (is, wanted) = (amount(&key, is), amount(&key, &value));
                (is > wanted, is < wanted)
            };
            let (is_retention, is_in_sync) =
                (RETENTION.contains(&key.as_str()), key == "min.insync.replicas");
            // A policy that matters is judged above, and so are more replicas in sync than there are.
            let passed_over = key == "cleanup.policy" && topic.is_compacted().is_some()
                || AT_LEAST.contains(&key.as_str()) && is_more
                || is_in_sync && (found.replicas < 3 || !self.flaws(topic, found).is_empty());
            if passed_over {
                continue;
            }
            let what = format!("it has {key}={is} instead of {value}");
            let loses_nothing = if is_retention || is_in_sync {
                is_less
            } else {
                topic.needs().iter().any(|(needed, _)| *needed == key)
            };
            let remedy = if loses_nothing {
                Remedy::Set { key, value }
            } else {
                Remedy::ByHand(self.configure(topic, &key, &value))
            };
            deviations.push(deviation(what, remedy));
        }
        deviations
    }

    fn configure(&self, topic: Topic, key: &str, value: &str) -> String {
        format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {key}={value}",
            self.brokers,
            self.name(topic)
        )
    }
}

/// How much a setting is, to be compared with another value of the same setting; `None` if it is no number.
fn amount(key: &str, value: &str) -> Option<i128> {
    match value.trim().parse() {
        Ok(-1) if RETENTION.contains(&key) => Some(i128::MAX),
        number => number.ok(),
    }
}
