//! Errors of making clients, and of administering topics.

use std::path::PathBuf;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Unsuitable;

/// Why a client cannot be made from the settings. Nothing was sent to Kafka yet.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// librdkafka does not take them, or cannot read one of their files.
    #[error("cannot set up a Kafka client: {0}; check kafka.brokers and kafka.properties")]
    Settings(#[from] KafkaError),
    /// The file with the value of a property cannot be read.
    #[error("kafka.property_files: cannot read the value of {property} from {path}: {source}", path = path.display())]
    File {
        /// The property.
        property: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why topics could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The broker does not answer, or refuses the connection.
    #[error("no answer from Kafka at {brokers}: {why}")]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// Why, and what to do.
        why: String,
    },
    /// The broker refused to create a topic.
    #[error(
        "Kafka refused to create the topic {topic}: {code}; {}",
        advice(*code)
    )]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// This client may not create the topic, and somebody else has to.
    #[error(
        "the topic {topic} does not exist, and Kafka does not allow this client to create it; create it with \
         `millrace topics apply` as a user who may"
    )]
    Forbidden {
        /// The topic.
        topic: String,
    },
    /// The broker refused to add partitions to a topic.
    #[error(
        "Kafka refused to add partitions to the topic {topic}: {code}; add some by hand until it has {partitions}, or \
         grant the right to"
    )]
    TooNarrow {
        /// The topic.
        topic: String,
        /// How many partitions it needs.
        partitions: i32,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// An existing topic cannot be used as it is.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// The broker refused to change a setting of a topic.
    #[error(
        "Kafka did not change the settings of the topic {topic}: grant this user the right to (AlterConfigs), or change \
         them by hand"
    )]
    Unchanged {
        /// The topic.
        topic: String,
    },
    /// The cluster cannot create a topic or partitions yet, because it is still starting.
    #[error("Kafka does not create the topic {topic} yet: {code}")]
    Unsettled {
        /// The topic.
        topic: String,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// The broker has confirmed that a topic was created, but does not list it yet.
    #[error("the topic {topic} is not listed yet")]
    NotListed {
        /// The topic.
        topic: String,
    },
    /// The runtime is going down.
    #[error("interrupted while asking Kafka for its topics")]
    Interrupted,
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Forbidden { .. }
            | Self::Unsettled { .. }
            | Self::NotListed { .. } => true,
            Self::Client(_)
            | Self::Refused { .. }
            | Self::TooNarrow { .. }
            | Self::Unsuitable(_)
            | Self::Unchanged { .. }
            | Self::Interrupted => false,
        }
    }
}

/// What to do about a topic that cannot be created.
const fn advice(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::InvalidConfig => "check [kafka.settings]",
        RDKafkaErrorCode::InvalidReplicationFactor => {
            "set kafka.replication to at most the number of brokers"
        }
        RDKafkaErrorCode::InvalidPartitions => "check kafka.partitions",
        _ => "create it by hand",
    }
}
