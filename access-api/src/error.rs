//! Errors that stop the access-api.

use std::net::SocketAddr;

use crate::consumer;

/// Why the access-api stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listen address cannot be bound.
    #[error("cannot listen on {address}: {source}; set listen to a free address")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A metric was registered twice.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The topic of results does not exist and cannot be created, or has unsuitable settings.
    #[error(transparent)]
    Topics(#[from] common::kafka::Error),
    /// The results cannot be read.
    #[error(transparent)]
    Consumer(#[from] consumer::Error),
}

impl Error {
    /// Whether trying again can help without anybody changing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Bind { .. } | Self::Metrics(_) => false,
            Self::Topics(error) => error.retryable(),
            Self::Consumer(error) => error.retryable(),
        }
    }
}
