//! Errors of `millrace log`.

use std::io;
use std::path::PathBuf;

use common::kafka::{ClientError, reader};
use common::message_log::{self, SealedFileError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::exit;
use crate::run::Failure;

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] message_log::Error),
    /// The keys of an encrypted log cannot be read.
    #[error(transparent)]
    Keys(#[from] message_log::KeyFileError),
    /// An encrypted file cannot be read.
    #[error("cannot decrypt {}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: message_log::SealedFileError,
    },
    /// What is encrypted would go to a terminal.
    #[error(
        "the export of an encrypted log is encrypted, and no terminal can show it; name a file with --out, or have it decrypted with --decrypt"
    )]
    Terminal,
    /// The file exists already.
    #[error("{} exists already; remove it, or name another file with --out", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}; nothing is left of it", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error("bad configuration\n{0}")]
    Config(#[from] common::config::Error),
    /// The dead letters cannot be read.
    #[error("cannot read the dead letters: {0}")]
    Read(#[from] reader::Error),
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not take an event.
    #[error(
        "kafka does not take the event of the dead letter {partition}/{offset}: {source}; what was published is recognised by its id when it is \
         replayed again"
    )]
    Refused {
        /// The partition of the dead letter.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The output cannot be written.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] io::Error),
    /// The output has no JSON form.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The user stopped it.
    #[error("stopped before it was done")]
    Interrupted,
}

impl Error {
    /// Whether the same command may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.retryable(),
            Self::Read(error) => error.retryable(),
            Self::Refused { source, .. } => is_late(source),
            Self::Interrupted => true,
            Self::Keys(error) => error.retryable(),
            Self::Sealed { .. } | Self::Terminal => false,
            Self::Config(_) | Self::Client(_) => false,
            Self::Exists { .. } | Self::Write { .. } | Self::Stdout(_) | Self::Json(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Log(message_log::Error::Absent { .. }) => exit::NO_INPUT,
            Self::Log(error) if error.is_damage() => exit::DATA,
            Self::Log(
                message_log::Error::Encrypted { .. }
                | message_log::Error::KeyMissing { .. }
                | message_log::Error::Plain { .. },
            ) => exit::USAGE,
            Self::Sealed { source: SealedFileError::KeyMissing(_), .. } => exit::USAGE,
            Self::Sealed {
                source: SealedFileError::OtherFormat | SealedFileError::Damaged(_),
                ..
            } => exit::DATA,
            Self::Sealed { .. } => 1,
            Self::Keys(_) | Self::Terminal => exit::USAGE,
            Self::Exists { .. } | Self::Config(_) => exit::USAGE,
            Self::Read(error) if error.retryable() => exit::UNAVAILABLE,
            Self::Refused { source, .. } if is_late(source) => exit::UNAVAILABLE,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Log(_) | Self::Read(_) | Self::Client(_) | Self::Refused { .. } => 1,
            Self::Write { .. } | Self::Stdout(_) | Self::Json(_) => 1,
        }
    }
}

/// Whether Kafka did not answer in time.
fn is_late(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut)
}
