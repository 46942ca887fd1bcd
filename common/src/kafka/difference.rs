//! Whether an existing topic can be used for its purpose. Pure: does no I/O.

use super::Topic;

/// A topic that would lose events or counts, or could not be written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic {topic} cannot be used: {fault}; repair it with: {command}")]
pub struct Unsuitable {
    /// Its name.
    pub topic: String,
    /// What is wrong.
    pub fault: String,
    /// The command of Kafka's own tools that repairs it.
    pub command: String,
}

/// What Kafka's list of topics says about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partitions: usize,
    /// The replicas of the partition that has the fewest; 0 if it has no partitions.
    pub(super) replicas: usize,
}

impl Found {
    /// Checks what matters for `topic`, whose configured name is `name`. `setting` returns the value of a
    /// setting, or `None` where it is not known, which is not held against the topic.
    pub(super) fn check<'s>(
        self,
        topic: Topic,
        name: &str,
        brokers: &str,
        setting: impl Fn(&str) -> Option<&'s str>,
    ) -> Result<(), Unsuitable> {
        let unsuitable = |fault: String, command: String| {
            Err(Unsuitable { topic: name.to_owned(), fault, command })
        };
        let configure = |key: &str, value: &str| {
            format!(
                "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {name} --add-config {key}={value}"
            )
        };
        if let Some(policy) = setting("cleanup.policy") {
            let is = |wanted: &str| policy.split(',').any(|part| part.trim() == wanted);
            let (wanted, why) = match topic {
                Topic::Raw | Topic::DeadLetters => {
                    ("delete", "records with one key would replace each other")
                }
                Topic::Partials | Topic::State | Topic::Results => {
                    ("compact", "what is older than its retention would be forgotten")
                }
            };
            let other = if wanted == "delete" { "compact" } else { "delete" };
            if !is(wanted) || is(other) {
                let fault = format!("it has cleanup.policy={policy}, so that {why}");
                return unsuitable(fault, configure("cleanup.policy", wanted));
            }
        }
        let in_sync = setting("min.insync.replicas").and_then(|value| value.parse::<usize>().ok());
        if let Some(in_sync) =
            in_sync.filter(|&in_sync| in_sync > self.replicas && self.replicas > 0)
        {
            let fault = format!(
                "it has min.insync.replicas={in_sync} but {} replica(s), so that nothing can be written",
                self.replicas
            );
            return unsuitable(fault, configure("min.insync.replicas", &self.replicas.to_string()));
        }
        if topic == Topic::Results && self.partitions != 1 {
            let fault = format!(
                "it has {} partitions, but results need one, so that they have one order",
                self.partitions
            );
            let command = format!(
                "kafka-topics.sh --bootstrap-server {brokers} --delete --topic {name} (the next start creates it again)"
            );
            return unsuitable(fault, command);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: Topic, partitions: usize, settings: &[(&str, &str)]) -> Result<(), String> {
        let found = Found { partitions, replicas: 1 };
        let setting = |key: &str| Some(settings.iter().find(|(name, _)| *name == key)?.1);
        found.check(topic, "name", "kafka:9092", setting).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_with_the_wrong_policy_is_refused_with_the_command_that_repairs_it() {
        for topic in [Topic::Partials, Topic::State, Topic::Results] {
            assert_eq!(check(topic, 1, &[("cleanup.policy", "compact")]), Ok(()));
            for wrong in ["delete", "compact,delete"] {
                let error = check(topic, 1, &[("cleanup.policy", wrong)]).unwrap_err();
                assert!(
                    error.contains("--entity-name name --add-config cleanup.policy=compact"),
                    "{error}"
                );
            }
        }
        for topic in [Topic::Raw, Topic::DeadLetters] {
            assert_eq!(check(topic, 4, &[("cleanup.policy", "delete")]), Ok(()));
            let error = check(topic, 4, &[("cleanup.policy", "compact")]).unwrap_err();
            assert!(error.contains("cleanup.policy=delete"), "{error}");
        }
    }

    #[test]
    fn a_topic_that_cannot_be_written_to_is_refused() {
        let error = check(Topic::Raw, 4, &[("min.insync.replicas", "2")]).unwrap_err();
        assert!(error.contains("min.insync.replicas=1"), "{error}");
        assert_eq!(check(Topic::Raw, 4, &[("min.insync.replicas", "1")]), Ok(()));
    }

    #[test]
    fn results_need_one_partition_and_others_do_not() {
        assert!(check(Topic::Results, 2, &[]).unwrap_err().contains("--delete --topic name"));
        assert_eq!(check(Topic::Raw, 2, &[]), Ok(()));
        assert_eq!(
            check(Topic::Results, 1, &[]),
            Ok(()),
            "a setting that is not known is not held against it"
        );
    }
}
