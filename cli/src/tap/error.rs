//! Why `tap` cannot go on, and its exit codes.

use std::io;
use std::time::Duration;

use crate::run::Failure;
use crate::{client, exit};

/// Why `tap` cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not a WebSocket address.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// No connection was made.
    #[error("no connection for {} s: {why}", waited.as_secs())]
    Unreachable {
        /// For how long.
        waited: Duration,
        /// The newest reason.
        why: String,
    },
    /// The server does not have the query.
    #[error("there is no query {asked}; there are: {known}")]
    UnknownQuery {
        /// The queries that do not exist.
        asked: String,
        /// The queries that exist.
        known: String,
    },
    /// No result came in time.
    #[error("no result for {} s (--timeout)", waited.as_secs_f64())]
    TimedOut {
        /// For how long.
        waited: Duration,
    },
    /// The output cannot be written.
    #[error("cannot write a result: {0}; results go to stdout")]
    Output(#[from] io::Error),
}

impl Error {
    /// Whether the same command may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.retryable(),
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::UnknownQuery { .. } | Self::Output(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(_) => exit::USAGE,
            Self::UnknownQuery { .. } => exit::NO_INPUT,
            Self::Unreachable { .. } => exit::UNAVAILABLE,
            Self::TimedOut { .. } => exit::TIMED_OUT,
            Self::Output(_) => 1,
        }
    }
}
