//! Why a configuration cannot be used.

use std::path::PathBuf;

use super::Invalid;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there or not readable.
    #[error(
        "cannot read the configuration file {path}: {source}; check the path given by --config"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A layer does not parse, or does not fit the keys there are.
    #[error("{origin}: {message}; --dump-config prints every key with its value")]
    Misfit {
        /// The layer.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A `--set` without `=`.
    #[error("--set {0}: write KEY=VALUE, for example --set service.log_format=json")]
    MalformedFlag(String),
    /// What the types cannot say does not hold.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}
