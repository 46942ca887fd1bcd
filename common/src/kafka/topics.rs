//! The topics, how many partitions each has, and the settings it is created with.

use super::Kafka;

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
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] =
        [Self::Raw, Self::DeadLetters, Self::Partials, Self::State, Self::Results];

    /// How many partitions it is created with.
    pub const fn partitions(self, kafka: &Kafka) -> i32 {
        match self {
            Self::Raw | Self::Partials | Self::State => kafka.partitions,
            Self::DeadLetters | Self::Results => 1,
        }
    }

    /// The settings that it is created with. Compacted topics roll their segments early, because Kafka never
    /// compacts the newest segment: this keeps small what a reader must read that starts at the beginning.
    pub(super) const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Raw => &[("cleanup.policy", "delete")],
            Self::DeadLetters => &[("cleanup.policy", "delete"), ("max.message.bytes", "25165824")],
            Self::Partials | Self::State | Self::Results => &[
                ("cleanup.policy", "compact"),
                ("segment.bytes", "33554432"),
                ("segment.ms", "600000"),
                ("min.cleanable.dirty.ratio", "0.1"),
                ("delete.retention.ms", "600000"),
                ("max.message.bytes", "8388608"),
            ],
        }
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
        }
    }
}
