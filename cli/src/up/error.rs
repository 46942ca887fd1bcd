//! What can go wrong with `up`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::first_line::FirstLine;
use super::{cluster, data_dir, ledger, process, programs, tiers};
use crate::{client, exit, simulate};

/// Why `up` ended without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--once` would never end.
    #[error(
        "--once needs a feed that ends: name a recording with --recording, or say how many events with --events"
    )]
    Endless,
    /// The file or a variable.
    #[error(transparent)]
    Config(#[from] common::config::Error),
    /// A topic is named, but no Kafka that has it.
    #[error(
        "--topic counts the records of a topic that is there already: say in which Kafka, by --brokers or by kafka.brokers in the file of --config"
    )]
    TopicWithoutBrokers,
    /// The topic is not there.
    #[error("there is no topic {topic} at {brokers}; {hint}")]
    NoTopic {
        /// As asked.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
        /// Which there are.
        hint: String,
    },
    /// A step of the start took too long.
    #[error("{what} is not ready after {} s ({why}); if it is only slow, give it longer with --start-timeout", waited.as_secs())]
    NotReady {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What it said last.
        why: String,
    },
    /// The answer took too long.
    #[error("no answer within {} s (--timeout)", waited.as_secs())]
    TimedOut {
        /// How long.
        waited: Duration,
    },
    /// No answer from a Kafka.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Something listens where the dashboard should be.
    #[error(
        "{address} cannot be used for the dashboard: {source}; stop what listens there, or choose another with --port or --listen"
    )]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No free ports for the processes.
    #[error("cannot find free ports on the loopback interface: {0}")]
    Ports(#[source] io::Error),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A tier's program.
    #[error(transparent)]
    Program(#[from] programs::Missing),
    /// The feed.
    #[error(transparent)]
    Feed(#[from] simulate::Error),
    /// The truth could not be written.
    #[error("cannot write the truth to {path}: {source}; name another file with --truth")]
    Truth {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The analyzer's configuration.
    #[error(transparent)]
    Analysis(#[from] tiers::Error),
    /// A process was given up.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// What is in Kafka cannot be told.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The access-api cannot be followed.
    #[error(transparent)]
    Results(#[from] client::Error),
    /// Kafka's files.
    #[error("cannot write what starts Kafka: {0}; choose another place with --data-dir")]
    KafkaFiles(#[source] io::Error),
    /// Nothing moves.
    #[error("nothing has moved for {seconds} s; waited for {awaited}")]
    Stalled {
        /// How long.
        seconds: u64,
        /// What for.
        awaited: String,
    },
    /// The broker forgot records before they were counted.
    #[error(
        "the answer is incomplete: the broker forgot records before they were counted, see the {gaps} gaps in the results; use Apache Kafka instead of --memory, or a slower --rate"
    )]
    Incomplete {
        /// How many runs of offsets are missing.
        gaps: usize,
    },
    /// A recording that holds no event.
    #[error("no line of the recording {} is an event: {first_line}", recording.display())]
    NoEvents {
        /// The recording.
        recording: PathBuf,
        /// What it begins with.
        first_line: FirstLine,
    },
    /// A recording that holds nothing.
    #[error("the recording {} is empty; name one that holds events, one JSON object a line", recording.display())]
    NoLines {
        /// The recording.
        recording: PathBuf,
    },
    /// The answer could not be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[source] io::Error),
    /// A thread could not be started, or broke.
    #[error("cannot run a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Whether the same command may go well later without any change.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::DataDir(error) => error.retryable(),
            Self::Feed(error) => error.retryable(),
            Self::Analysis(error) => error.retryable(),
            Self::Process(error) => error.retryable(),
            Self::Ledger(error) => error.retryable(),
            Self::Results(error) => error.retryable(),
            Self::Cluster(error) => error.retryable(),
            Self::Port { .. }
            | Self::Ports(_)
            | Self::Stalled { .. }
            | Self::NotReady { .. }
            | Self::TimedOut { .. }
            | Self::Thread(_) => true,
            Self::Endless
            | Self::Config(_)
            | Self::TopicWithoutBrokers
            | Self::NoTopic { .. }
            | Self::Program(_)
            | Self::Truth { .. }
            | Self::KafkaFiles(_)
            | Self::Incomplete { .. }
            | Self::NoEvents { .. }
            | Self::NoLines { .. }
            | Self::Stdout(_) => false,
        }
    }

    /// 64 when the command cannot work as it is, 124 when its time is over, 1 when something went wrong.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::TimedOut { .. } => ExitCode::from(exit::TIMED_OUT),
            Self::Endless
            | Self::Config(_)
            | Self::TopicWithoutBrokers
            | Self::NoTopic { .. }
            | Self::Port { .. }
            | Self::DataDir(_)
            | Self::Program(_)
            | Self::Analysis(_) => ExitCode::from(exit::USAGE),
            Self::Feed(error) if error.is_usage() => ExitCode::from(exit::USAGE),
            Self::Ports(_)
            | Self::Cluster(_)
            | Self::NotReady { .. }
            | Self::Feed(_)
            | Self::Truth { .. }
            | Self::Process(_)
            | Self::Ledger(_)
            | Self::Results(_)
            | Self::KafkaFiles(_)
            | Self::Stalled { .. }
            | Self::Incomplete { .. }
            | Self::NoEvents { .. }
            | Self::NoLines { .. }
            | Self::Stdout(_)
            | Self::Thread(_) => ExitCode::FAILURE,
        }
    }
}
