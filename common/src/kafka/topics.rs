//! Which topics there are, how many partitions each has, and what it is created with.

use super::Kafka;

/// One of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Events as received.
    Raw,
    /// What is no event.
    DeadLetters,
    /// Partial results.
    Partials,
    /// Snapshots.
    State,
    /// Published results: one partition, so that an offset is a position in the story.
    Results,
}

impl Topic {
    /// Every topic there is.
    pub const ALL: [Self; 5] =
        [Self::Raw, Self::DeadLetters, Self::Partials, Self::State, Self::Results];

    /// How many partitions it is created with.
    pub const fn partitions(self, kafka: &Kafka) -> i32 {
        match self {
            Self::Raw | Self::Partials | Self::State => kafka.partitions,
            Self::DeadLetters | Self::Results => 1,
        }
    }

    /// Compacted topics roll their segments early, because the newest one is never compacted: what
    /// a reader that starts anew must go through stays small.
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
