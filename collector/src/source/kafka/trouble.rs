//! What Kafka refuses, in sentences that say what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::KafkaSource as Section;

/// What is wrong, and what to do.
pub(super) fn sentence(error: &KafkaError, section: &Section) -> String {
    let topics: Vec<_> = section.topics.iter().map(String::as_str).collect();
    let (topics, group) = (topics.join(", "), &section.group);
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            format!(
                "kafka knows no topic of this name ({topics}), or does not show it to this user; create it, or correct topics"
            )
        }
        Some(Code::TopicAuthorizationFailed) => format!(
            "kafka does not let this user read {topics}; allow it Read and Describe (kafka-acls --operation Read --topic …)"
        ),
        Some(Code::GroupAuthorizationFailed) => format!(
            "kafka does not let this user read as the group {group}; allow it Read (kafka-acls --operation Read --group {group}), \
             or set another group"
        ),
        Some(Code::InconsistentGroupProtocol) => format!(
            "the group {group} is used by another program in another way; set a group of this source's own"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_what_to_do() {
        let section = Section {
            topics: ["orders".to_owned()].into(),
            group: "millrace".to_owned(),
            ..Section::default()
        };
        for (code, says) in [
            (Code::UnknownTopicOrPartition, "create it"),
            (Code::TopicAuthorizationFailed, "--topic"),
            (Code::GroupAuthorizationFailed, "--group millrace"),
            (Code::InconsistentGroupProtocol, "of this source's own"),
        ] {
            let sentence = sentence(&KafkaError::MessageConsumption(code), &section);
            assert!(sentence.contains(says), "{sentence}");
        }
    }
}
