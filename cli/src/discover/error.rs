//! Errors of `discover`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::run::Failure;
use crate::{exit, simulate};

/// Why a feed cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command cannot work as it was given.
    #[error("{0}")]
    Usage(String),
    /// The file cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// Its name.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// It is no recording.
    #[error(transparent)]
    Recording(#[from] simulate::Error),
    /// The server cannot be reached, or refuses.
    #[error("cannot watch {url}: {why}")]
    Unreachable {
        /// Where, without secrets.
        url: String,
        /// What happened.
        why: String,
    },
    /// The feed ended.
    #[error("{url}: {why}")]
    Ended {
        /// Where, without secrets.
        url: String,
        /// What happened.
        why: String,
    },
    /// Nothing came.
    #[error("{0}")]
    Nothing(String),
    /// What came are no events.
    #[error(
        "no message of {what} is an event, which is a JSON object:\n{refused}the first one is `{first}`{hint}"
    )]
    Garbage {
        /// What was watched.
        what: String,
        /// How many messages, and why.
        refused: String,
        /// The beginning of the first one.
        first: String,
        /// What to do.
        hint: &'static str,
    },
    /// The events are the elements of an array that has no end.
    #[error(
        "the events are the elements of one array that does not end, which the collector cannot read; no preset is written"
    )]
    ArrayWithoutEnd,
    /// There is nothing to count.
    #[error("there is nothing that a query could count, so that no preset is written")]
    NoItems,
    /// The file exists already.
    #[error("{} exists already; remove it, or name another file with --write", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
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
    /// The reader panicked.
    #[error("the reader of the feed died: {0}")]
    Broken(#[source] tokio::task::JoinError),
}

impl Error {
    /// Whether the same command may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Ended { .. } | Self::Nothing(_) => true,
            Self::Recording(error) => error.retryable(),
            Self::Usage(_)
            | Self::Open { .. }
            | Self::Garbage { .. }
            | Self::ArrayWithoutEnd
            | Self::NoItems
            | Self::Exists { .. }
            | Self::Write { .. }
            | Self::Stdout(_)
            | Self::Json(_)
            | Self::Broken(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Exists { .. } => exit::USAGE,
            Self::Garbage { .. } | Self::ArrayWithoutEnd | Self::NoItems | Self::Recording(_) => {
                exit::DATA
            }
            Self::Open { .. } | Self::Nothing(_) => exit::NO_INPUT,
            Self::Unreachable { .. } | Self::Ended { .. } => exit::UNAVAILABLE,
            Self::Write { .. } | Self::Stdout(_) | Self::Json(_) | Self::Broken(_) => 1,
        }
    }
}
