//! Errors of the collector.

use common::{kafka, message_log, tls};

/// Why the collector stopped, or why a step of its work did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message log failed.
    #[error(transparent)]
    Log(#[from] message_log::Error),
    /// The keys of the log cannot be read.
    #[error("log.key_file: {0}")]
    Keys(#[from] message_log::KeyFileError),
    /// Topics could not be made ready.
    #[error(transparent)]
    Topics(#[from] kafka::Error),
    /// The producer could not be made.
    #[error(transparent)]
    Producer(#[from] kafka::ClientError),
    /// The end of a topic could not be read back.
    #[error("cannot read back what reached Kafka: {0}")]
    ReadBack(#[from] kafka::reader::Error),
    /// A file of certificates cannot be used.
    #[error("source.NAME.ca_file, certificate_file or key_file: {0}")]
    Certificates(#[from] tls::Unusable),
    /// The source's address cannot be used.
    #[error("source.NAME.url: {0}")]
    Address(String),
    /// The address of a source that is sent to cannot be bound.
    #[error("source.NAME.listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of a source of kind `file` cannot be read.
    #[error("source.NAME.path: cannot read {path}: {why}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A file of a source that is sent to cannot be used.
    #[error("source.NAME: {0}")]
    Push(String),
    /// The source's headers cannot be used.
    #[error("source.NAME: {0}")]
    Headers(String),
    /// A metric is registered twice.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The operating system could not start a thread.
    #[error("cannot start a thread of the pipeline: {0}")]
    Thread(#[source] std::io::Error),
    /// A thread or a source panicked.
    #[error(
        "a thread of the pipeline or a source ended unexpectedly; its panic is in the log above"
    )]
    Panicked,
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.retryable(),
            Self::Keys(error) => error.retryable(),
            Self::Topics(error) => error.retryable(),
            Self::ReadBack(error) => error.retryable(),
            Self::Producer(_)
            | Self::Certificates(_)
            | Self::Address(_)
            | Self::Listen { .. }
            | Self::File { .. }
            | Self::Push(_)
            | Self::Headers(_)
            | Self::Metrics(_)
            | Self::Thread(_)
            | Self::Panicked => false,
        }
    }
}
