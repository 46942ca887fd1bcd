//! What can go wrong with a feed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a feed cannot be served. `Clone`, since every client of a feed that fails is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The recording is not there or may not be read.
    #[error("cannot open the recording {}: {source}; name a file of lines, plain or gzip", path.display())]
    Open {
        /// The recording.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The recording broke off: a disk error or a damaged gzip.
    #[error("cannot read line {line} of the recording {}: {source}; the lines before it were served", path.display())]
    Read {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What the system or the decompressor said.
        source: Arc<io::Error>,
    },
    /// A line that would take too much memory.
    #[error("line {line} of the recording {} is longer than {limit} bytes; split the recording at newlines", path.display())]
    LineTooLong {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The longest line that is served.
        limit: u64,
    },
    /// A share of re-deliveries that cannot be generated.
    #[error(
        "redelivery must be from 0 to {max}, not {given}; 0.2 is what was measured on Meetup's feed"
    )]
    Redelivery {
        /// The value given.
        given: f64,
        /// The largest share.
        max: f64,
    },
    /// A start that is no time of our age.
    #[error(
        "the start must be from 0 to {latest} milliseconds since 1970, not {given}; leave it out to start now"
    )]
    Start {
        /// The value given.
        given: i64,
        /// The latest start.
        latest: i64,
    },
    /// A rate that is no rate.
    #[error(
        "the rate must be above 0 and at most {max} lines a second, not {given}; leave it out and say --max for no limit"
    )]
    Rate {
        /// The value given.
        given: f64,
        /// The highest rate.
        max: f64,
    },
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {address}: {source}; choose another with --listen, port 0 takes any free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The truth file cannot be written.
    #[error("cannot write the truth to {}: {source}; name a file in a directory that can be written with --truth", path.display())]
    WriteTruth {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A task of the feed was ended from outside.
    #[error("the feed was stopped while it was being read: {0}; run the command again")]
    Stopped(Arc<tokio::task::JoinError>),
}

impl Error {
    /// Whether the same call may go well later without any change.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::WriteTruth { .. } | Self::Stopped(_) => true,
            Self::Open { .. }
            | Self::Read { .. }
            | Self::LineTooLong { .. }
            | Self::Redelivery { .. }
            | Self::Start { .. }
            | Self::Rate { .. } => false,
        }
    }
}
