//! Errors of the analyzer.

use common::kafka::reader;
use rdkafka::error::RDKafkaErrorCode;

use crate::{group, publisher};

/// Why the analyzer ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] common::config::Invalid),
    /// A metric could not be registered: two have one name.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The topics could not be made ready.
    #[error(transparent)]
    Topics(#[from] common::kafka::Error),
    /// A consumer failed.
    #[error(transparent)]
    Group(#[from] group::Error),
    /// A client of Kafka could not be made.
    #[error(transparent)]
    Client(#[from] common::kafka::ClientError),
    /// A producer failed.
    #[error(transparent)]
    Publisher(#[from] publisher::Error),
    /// A topic could not be read.
    #[error(transparent)]
    Reader(#[from] reader::Error),
    /// The log ends before the offset that was counted up to: it is not the log that was counted.
    #[error(
        "{raw}/{partition} ends at offset {end}, but the stored results already reflect {next} records of it: the topic \
         was created anew or lost its end; to start from zero, stop all analyzers and delete the topics {raw_state}, \
         {partials} and {results}"
    )]
    LogShrank {
        /// The topic that is read.
        raw: String,
        /// Its partition.
        partition: i32,
        /// Its end.
        end: i64,
        /// The offset that would be read next.
        next: i64,
        /// The topic with the snapshots.
        raw_state: String,
        /// The topic with the partial results.
        partials: String,
        /// The topic with the results.
        results: String,
    },
    /// The log has another record in the place of the last one that was counted.
    #[error(
        "{raw}/{partition} has another record at offset {offset} than the one that was counted there: the topic was \
         created anew; to start from zero, stop all analyzers and delete the topics {state}, {partials} and {results}"
    )]
    OtherLog {
        /// The topic that is read.
        raw: String,
        /// Its partition.
        partition: i32,
        /// Where the other record is.
        offset: i64,
        /// The topic with the snapshots.
        state: String,
        /// The topic with the partial results.
        partials: String,
        /// The topic with the results.
        results: String,
    },
    /// The state topic has no partition for the snapshots of a new partition. The next start adds partitions to
    /// it.
    #[error(
        "{raw} has a partition {partition} now, but {state} only has {partitions} partitions; a new start adds some"
    )]
    StateTooNarrow {
        /// The topic that is read.
        raw: String,
        /// Its partition.
        partition: i32,
        /// The topic with the snapshots.
        state: String,
        /// How many partitions the state topic has.
        partitions: i32,
    },
    /// Partials were deleted before the merge read them, although the topic should be compacted and keep the last
    /// of each key. Their contents are lost.
    #[error(
        "records of {topic} were gone before they were read; a new start publishes all of them again; if this happens on \
         Apache Kafka, the topic's cleanup.policy must be compact"
    )]
    PartialsLost {
        /// The topic with the partial results.
        topic: String,
    },
    /// A stage's thread could not be started.
    #[error("cannot start the thread of stage {stage}: {source}")]
    Thread {
        /// The stage.
        stage: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A stage's thread panicked.
    #[error("stage {stage} panicked: {message}; this is a bug, please report it with the log")]
    Panicked {
        /// The stage.
        stage: &'static str,
        /// What the panic said.
        message: String,
    },
}

impl Error {
    /// Whether Kafka knows a newer member with this one's `instance_id`.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Group(group::Error::Fatal { source, .. })
            if source.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId))
    }

    /// Whether a client of Kafka could not be made.
    pub fn is_of_client(&self) -> bool {
        matches!(
            self,
            Self::Client(_)
                | Self::Group(group::Error::Client(_))
                | Self::Publisher(publisher::Error::Client(_))
                | Self::Reader(reader::Error::Client(_))
        )
    }

    /// Whether a new start may succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Group(error) => error.retryable(),
            Self::Publisher(error) => error.retryable(),
            Self::Reader(error) => error.retryable(),
            Self::Topics(error) => error.retryable(),
            Self::Panicked { .. }
            | Self::Thread { .. }
            | Self::PartialsLost { .. }
            | Self::StateTooNarrow { .. } => true,
            Self::Config(_)
            | Self::Metrics(_)
            | Self::Client(_)
            | Self::LogShrank { .. }
            | Self::OtherLog { .. } => false,
        }
    }
}
