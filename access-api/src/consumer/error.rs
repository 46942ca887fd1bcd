//! Why the results cannot be read.

use common::kafka::reader;

/// Why the results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka cannot be read.
    #[error(transparent)]
    Read(#[from] reader::Error),
    /// The system refuses a thread.
    #[error("cannot start the consumer's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The thread panicked, which is a defect.
    #[error("the consumer's thread died")]
    Died,
}

impl Error {
    /// Whether trying again can help without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.retryable(),
            Self::Thread(_) | Self::Died => false,
        }
    }
}
