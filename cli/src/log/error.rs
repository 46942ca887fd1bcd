//! Errors of `millrace log`.

use std::io;
use std::path::PathBuf;

use common::message_log;

use crate::exit;
use crate::run::Failure;

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] message_log::Error),
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
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.retryable(),
            Self::Interrupted => true,
            Self::Exists { .. } | Self::Write { .. } | Self::Stdout(_) | Self::Json(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Log(message_log::Error::Absent { .. }) => exit::NO_INPUT,
            Self::Log(error) if error.is_damage() => exit::DATA,
            Self::Exists { .. } => exit::USAGE,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Log(_) | Self::Write { .. } | Self::Stdout(_) | Self::Json(_) => 1,
        }
    }
}
