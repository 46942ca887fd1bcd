//! What are the lines? A timeline can be read from any position, again and again, with the same answer.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::synthetic::{self, SyntheticOptions};
use super::{Error, Pace, recording};

/// What to serve: synthetic events or a recording.
#[derive(Debug, Clone)]
pub struct Feed {
    source: Source,
    break_every: Option<u64>,
}

#[derive(Debug, Clone)]
enum Source {
    Recording(PathBuf),
    Synthetic(SyntheticOptions),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As it stands in the recording, without its `\n`.
    pub bytes: Bytes,
    /// Its event time as the collector reads it; `None` if it is no event or has none.
    pub mtime_ms: Option<i64>,
}

/// An opened feed.
#[derive(Debug, Clone)]
pub(super) enum Timeline {
    Recording(PathBuf),
    Synthetic(Arc<synthetic::Generator>),
}

/// Reads a timeline in order. Reading blocks for as long as the disk does.
#[derive(Debug)]
pub(super) enum Reader {
    Recording(recording::Reader),
    Synthetic { generator: Arc<synthetic::Generator>, position: u64 },
}

impl Feed {
    /// Serves the lines of a file as they are, bad ones too: split at `\n` only; gzip is recognised by
    /// its first bytes, whatever the name says. The file must not change while it is served.
    ///
    /// # Errors
    /// If the file cannot be opened and read.
    pub fn recording(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        recording::Reader::open(&path)?;
        Ok(Self { source: Source::Recording(path), break_every: None })
    }

    /// Serves generated RSVPs; the same options and pace give the same bytes.
    ///
    /// # Errors
    /// If the options cannot be met.
    pub fn synthetic(options: SyntheticOptions) -> Result<Self, Error> {
        Ok(Self { source: Source::Synthetic(options.check()?), break_every: None })
    }

    /// Cuts the connection in the middle of every `lines`-th message when it is sent for the first time,
    /// as a broken connection does. What was cut comes whole on a resume.
    #[must_use]
    pub const fn break_every(mut self, lines: Option<std::num::NonZeroU64>) -> Self {
        self.break_every = match lines {
            Some(lines) => Some(lines.get()),
            None => None,
        };
        self
    }

    pub(super) const fn breaks(&self) -> Option<u64> {
        self.break_every
    }

    pub(super) fn open(self, pace: Pace) -> Timeline {
        match self.source {
            Source::Recording(path) => Timeline::Recording(path),
            Source::Synthetic(options) => {
                Timeline::Synthetic(Arc::new(synthetic::Generator::new(&options, pace)))
            }
        }
    }
}

impl Timeline {
    /// A reader whose next line is the one at `position` (from 0).
    pub(super) fn reader(&self, position: u64) -> Result<Reader, Error> {
        match self {
            Self::Recording(path) => {
                let mut reader = recording::Reader::open(path)?;
                reader.skip_to(position)?;
                Ok(Reader::Recording(reader))
            }
            Self::Synthetic(generator) => {
                Ok(Reader::Synthetic { generator: Arc::clone(generator), position })
            }
        }
    }

    /// How many lines there are, where that is known without reading them.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Recording(_) => None,
            Self::Synthetic(generator) => generator.events(),
        }
    }
}

impl Reader {
    /// The next line; `None` after the last one.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, Error> {
        match self {
            Self::Recording(reader) => reader.next_line(),
            Self::Synthetic { generator, position } => {
                let line = generator.line(*position);
                *position += u64::from(line.is_some());
                Ok(line)
            }
        }
    }

    /// How many lines stand before the next one.
    pub(super) const fn position(&self) -> u64 {
        match self {
            Self::Recording(reader) => reader.position(),
            Self::Synthetic { position, .. } => *position,
        }
    }
}
