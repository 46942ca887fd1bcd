//! What can go wrong with a feed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recording::Foreign;

#[cfg(test)]
mod tests;

/// Why a feed cannot be served. `Clone`, since every client of a feed that fails is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The recording is not there or may not be read.
    #[error("cannot open the recording {}: {source}; name a file of lines (plain, gzip or zstd), or - for the standard input", path.display())]
    Open {
        /// The recording.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The recording is a folder.
    #[error("the recording {} is a folder; name one file, or join its files: cat {}/* | millrace up --recording -", path.display(), quoted(path))]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The recording is something else than lines.
    #[error("the recording {} is {}; {}", path.display(), foreign.what, remedy(path, *foreign))]
    NoLines {
        /// The recording.
        path: PathBuf,
        /// What it is.
        foreign: Foreign,
    },
    /// A copy of a pipe or of what is packed cannot be written.
    #[error("cannot copy the recording {} to {}: {source}; a pipe or a packed file is copied while it is served: make room, or choose a place on another disk (up: --data-dir, simulate: TMPDIR)", path.display(), scratch.display())]
    Copy {
        /// The recording.
        path: PathBuf,
        /// The directory of the copy.
        scratch: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The recording broke off: a disk error, a file that was cut off, one that was written to.
    #[error("cannot read line {line} of the recording {}: {source}{}", path.display(), cut_off(path, source))]
    Read {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What the system or the decompressor said.
        source: Arc<io::Error>,
    },
    /// What was served is not there any more.
    #[error(
        "{sent} lines were served, and then only {read} of them could be read again: the recording was changed meanwhile; run the command again"
    )]
    Fewer {
        /// Lines that were served.
        sent: u64,
        /// Lines that are there now.
        read: u64,
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
            Self::Listen { .. }
            | Self::WriteTruth { .. }
            | Self::Stopped(_)
            | Self::Copy { .. } => true,
            Self::Open { .. }
            | Self::Folder { .. }
            | Self::NoLines { .. }
            | Self::Read { .. }
            | Self::Fewer { .. }
            | Self::LineTooLong { .. }
            | Self::Redelivery { .. }
            | Self::Start { .. }
            | Self::Rate { .. } => false,
        }
    }

    /// Whether the command cannot work as it is, whatever is tried again.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::Folder { .. }
            | Self::NoLines { .. }
            | Self::Redelivery { .. }
            | Self::Start { .. }
            | Self::Rate { .. }
            | Self::Listen { .. } => true,
            Self::Copy { .. }
            | Self::Read { .. }
            | Self::Fewer { .. }
            | Self::LineTooLong { .. }
            | Self::WriteTruth { .. }
            | Self::Stopped(_) => false,
        }
    }
}

/// What makes lines of it.
fn remedy(path: &Path, foreign: Foreign) -> String {
    match foreign.command {
        Some(command) if path == Path::new("-") => {
            format!("make lines of it on the way: … | {command} | millrace up --recording -")
        }
        Some(command) => format!(
            "make lines of it on the way: {command} {} | millrace up --recording -",
            quoted(path)
        ),
        None => "make a file of it that has one JSON object a line".to_owned(),
    }
}

/// What to do about a packed file that is not whole.
fn cut_off(path: &Path, source: &io::Error) -> String {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let damaged = matches!(source.kind(), UnexpectedEof | InvalidData | InvalidInput);
    if !damaged || path == Path::new("-") {
        return String::new();
    }
    format!(
        "; is it whole? Fetch it again, or take what can be read of it: \
         zcat {} | millrace up --recording - (zstdcat for zstd)",
        quoted(path)
    )
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |sign: char| sign.is_alphanumeric() || "/._-+,:@%=".contains(sign);
    if path.chars().all(plain) && !path.is_empty() {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}
