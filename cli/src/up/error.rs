//! Errors of `up`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::no_events::FirstLine;
use super::{cluster, data_dir, ledger, process, programs, tiers};
use crate::{client, exit, simulate};

/// Why `up` ended without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--once` would never end.
    #[error(
        "--once needs a feed that ends, or a limit: name a recording with --recording, or when to stop with --events, --for or --idle"
    )]
    Endless,
    /// The configuration file or a variable is not valid.
    #[error(transparent)]
    Config(#[from] common::config::Error),
    /// A topic is named, but no Kafka that has it.
    #[error(
        "--topic counts the records of an existing topic: name its Kafka with --brokers, or with kafka.brokers in the file of --config"
    )]
    TopicWithoutBrokers,
    /// The preset says what the events are, and not where.
    #[error("the preset {name} names no feed: name a recording of it with --recording FILE")]
    PresetWithoutFeed {
        /// The preset.
        name: String,
    },
    /// The topic does not exist.
    #[error("there is no topic {topic} at {brokers}; {hint}")]
    NoTopic {
        /// As asked.
        topic: String,
        /// The bootstrap servers.
        brokers: String,
        /// Which topics there are.
        hint: String,
    },
    /// A step of the start took too long.
    #[error("{what} is not ready after {} s ({why}); if it is only slow, allow more time with --start-timeout", waited.as_secs())]
    NotReady {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What it reported last.
        why: String,
    },
    /// The answer took too long.
    #[error("no answer within {} s (--timeout)", waited.as_secs())]
    TimedOut {
        /// How long.
        waited: Duration,
    },
    /// Kafka does not answer.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The address of the dashboard cannot be used.
    #[error(
        "{address} cannot be used for the dashboard: {source}; stop what listens there, or choose another with --port or --listen"
    )]
    Port {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// There are no free ports for the processes.
    #[error("cannot find free ports on the loopback interface: {0}")]
    Ports(#[source] io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A tier's program is missing.
    #[error(transparent)]
    Program(#[from] programs::Missing),
    /// The feed cannot be served.
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
    /// A tier's configuration is not known.
    #[error(transparent)]
    Analysis(#[from] tiers::Error),
    /// A process was given up.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// What the collector has written cannot be read from Kafka.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The access-api cannot be followed.
    #[error(transparent)]
    Results(#[from] client::Error),
    /// The files that start Kafka cannot be written.
    #[error(
        "cannot write the files that start Kafka: {0}; choose another directory with --data-dir"
    )]
    KafkaFiles(#[source] io::Error),
    /// There is no progress.
    #[error("there was no progress for {seconds} s; waited for {awaited}")]
    Stalled {
        /// How long.
        seconds: u64,
        /// What for.
        awaited: String,
    },
    /// The broker deleted records before they were counted.
    #[error(
        "the answer is incomplete: the broker deleted records before they were counted, see the {gaps} gaps in the results; use Apache Kafka instead of --memory, or a slower --rate"
    )]
    Incomplete {
        /// How many runs of offsets are missing.
        gaps: usize,
    },
    /// The recording has no event.
    #[error("no line of the recording {} is an event: {first_line}", recording.display())]
    NoEvents {
        /// The recording.
        recording: PathBuf,
        /// Its first line.
        first_line: FirstLine,
    },
    /// The recording is empty.
    #[error("the recording {} is empty; name one that holds events, one JSON object a line", recording.display())]
    NoLines {
        /// The recording.
        recording: PathBuf,
    },
    /// The answer could not be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[source] io::Error),
    /// A thread could not be started, or died.
    #[error("cannot run a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Whether the same command may succeed later without any change.
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
            | Self::PresetWithoutFeed { .. }
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

    /// 64 if the command has to be changed, 124 if `--timeout` has passed, 1 for all other errors.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::TimedOut { .. } => ExitCode::from(exit::TIMED_OUT),
            Self::Endless
            | Self::Config(_)
            | Self::TopicWithoutBrokers
            | Self::PresetWithoutFeed { .. }
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
