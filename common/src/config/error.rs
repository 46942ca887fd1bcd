//! Why a configuration cannot be used.

use std::path::PathBuf;

use super::Invalid;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not exist or cannot be read.
    #[error(
        "cannot read the configuration file {path}: {source}; check the path given by --config"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A layer cannot be parsed, or has a key or a value that the configuration does not allow.
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
    /// The check of [`TierConfig::validate`](super::TierConfig::validate) failed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}
