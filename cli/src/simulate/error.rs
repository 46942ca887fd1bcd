//! Errors of a feed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recording::Foreign;

#[cfg(test)]
mod tests;

/// Why a feed cannot be served. It is `Clone` because every client of a feed that fails is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The recording does not exist or must not be read.
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
    /// The recording does not consist of lines.
    #[error("the recording {} is {}; {}", path.display(), foreign.what, remedy(path, *foreign))]
    NoLines {
        /// The recording.
        path: PathBuf,
        /// What it is.
        foreign: Foreign,
    },
    /// The copy of a pipe or of a packed file cannot be written.
    #[error("cannot copy the recording {} to {}: {source}; a pipe or a packed file is copied while it is served: make room, or choose a directory on another disk (up: --data-dir, simulate: TMPDIR)", path.display(), scratch.display())]
    Copy {
        /// The recording.
        path: PathBuf,
        /// The directory of the copy.
        scratch: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The recording cannot be read on: a disk error, a truncated file, or a file that was written to meanwhile.
    #[error("cannot read line {line} of the recording {}: {source}{}", path.display(), cut_off(path, source))]
    Read {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What the system or the decompressor said.
        source: Arc<io::Error>,
    },
    /// Lines that were served cannot be read again.
    #[error(
        "{sent} lines were served, and then only {read} of them could be read again: the recording was changed meanwhile; run the command again"
    )]
    Fewer {
        /// How many lines were served.
        sent: u64,
        /// How many lines could be read again.
        read: u64,
    },
    /// A line is so long that it would take too much memory.
    #[error("line {line} of the recording {} is longer than {limit} bytes; split the recording at newlines", path.display())]
    LineTooLong {
        /// The recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The longest line that is served.
        limit: u64,
    },
    /// The share of re-deliveries cannot be generated.
    #[error(
        "redelivery must be from 0 to {max}, not {given}; 0.2 is what was measured on Meetup's feed"
    )]
    Redelivery {
        /// The value given.
        given: f64,
        /// The largest share.
        max: f64,
    },
    /// The start is too early or too late.
    #[error(
        "the start must be from 0 to {latest} milliseconds since 1970, not {given}; leave it out to start now"
    )]
    Start {
        /// The value given.
        given: i64,
        /// The latest start.
        latest: i64,
    },
    /// The rate is not valid.
    #[error(
        "the rate must be above 0 and at most {max} lines a second, not {given}; for no limit use --max instead"
    )]
    Rate {
        /// The value given.
        given: f64,
        /// The highest rate.
        max: f64,
    },
    /// The address is in use, or does not belong to this machine.
    #[error(
        "cannot listen on {address}: {source}; choose another with --listen, where port 0 takes any free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The truth file cannot be written.
    #[error("cannot write the truth to {}: {source}; name with --truth a file in a directory that can be written to", path.display())]
    WriteTruth {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A task of the feed panicked or was cancelled.
    #[error("the feed was stopped while it was being read: {0}; run the command again")]
    Stopped(Arc<tokio::task::JoinError>),
}

impl Error {
    /// Whether the same command may succeed later without any change.
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

    /// Whether the command itself has to be changed.
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

/// How to convert the recording to lines.
fn remedy(path: &Path, foreign: Foreign) -> String {
    match foreign.command {
        Some(command) if path == Path::new("-") => {
            format!("convert it to lines: … | {command} | millrace up --recording -")
        }
        Some(command) => {
            format!("convert it to lines: {command} {} | millrace up --recording -", quoted(path))
        }
        None => "convert it to a file with one JSON object a line".to_owned(),
    }
}

/// What to do about a packed file that is not complete.
fn cut_off(path: &Path, source: &io::Error) -> String {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let damaged = matches!(source.kind(), UnexpectedEof | InvalidData | InvalidInput);
    if !damaged || path == Path::new("-") {
        return String::new();
    }
    format!(
        "; is it whole? Fetch it again, or use what can be read of it: \
         zcat {} | millrace up --recording - (zstdcat for zstd)",
        quoted(path)
    )
}

/// The path, quoted so that a shell reads it as one word.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |sign: char| sign.is_alphanumeric() || "/._-+,:@%=".contains(sign);
    if path.chars().all(plain) && !path.is_empty() {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}
