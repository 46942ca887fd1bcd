//! What are the lines? A timeline can be read from any position any number of times, and gives the same lines each time.

use std::path::Path;
use std::sync::Arc;

use common::event::Schema;
use common::event::identity::identify;
use common::expr::{Condition, Slots};

use super::line::Next;
use super::recording::Recording;
use super::synthetic::{self, SyntheticOptions};
use super::{Error, Pace, recording};

/// What to serve: synthetic events or a recording.
#[derive(Debug, Clone)]
pub struct Feed {
    source: Source,
    break_every: Option<u64>,
    max_message_bytes: usize,
    kept: Kept,
}

/// Which of the lines that are sent the client takes. It takes those that are no events, too, to tell what they are.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    schema: Schema,
    keep: Option<Condition>,
}

#[derive(Debug, Clone)]
enum Source {
    Recording(Recording),
    Synthetic(SyntheticOptions),
}

/// An opened feed.
#[derive(Debug, Clone)]
pub(super) enum Timeline {
    Recording(Recording),
    Synthetic(Arc<synthetic::Generator>),
}

/// Reads a timeline in order. Reading may block on the disk, but never waits for a pipe.
#[derive(Debug)]
pub(super) enum Reader {
    Recording(recording::Reader),
    Synthetic { generator: Arc<synthetic::Generator>, position: u64 },
}

impl Feed {
    /// Serves the lines of a file or a pipe as they are, bad ones included. Lines end at `\n` only. gzip and zstd
    /// are recognised by their first bytes and not by the name; `-` is the standard input. A pipe or
    /// a packed file is copied into the directory `scratch` while it is served.
    ///
    /// # Errors
    /// If the file cannot be opened, or does not consist of lines.
    pub fn recording(path: &Path, scratch: &Path) -> Result<Self, Error> {
        Ok(Self::of(Source::Recording(Recording::open(path, scratch)?)))
    }

    /// Serves generated RSVPs; the same options and pace give the same bytes.
    ///
    /// # Errors
    /// If the options are not valid.
    pub fn synthetic(options: SyntheticOptions) -> Result<Self, Error> {
        Ok(Self::of(Source::Synthetic(options.check()?)))
    }

    fn of(source: Source) -> Self {
        Self { source, break_every: None, max_message_bytes: usize::MAX, kept: Kept::default() }
    }

    /// Cuts the connection in the middle of every `lines`-th message when that is sent for the first time,
    /// as if the connection broke. A resume gets the message completely.
    #[must_use]
    pub const fn break_every(mut self, lines: Option<std::num::NonZeroU64>) -> Self {
        self.break_every = match lines {
            Some(lines) => Some(lines.get()),
            None => None,
        };
        self
    }

    /// Leaves out, and counts, lines that are longer than the client accepts. A client that closed the connection
    /// because of such a message would get it again after each resume.
    #[must_use]
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Reads the event times of a recording, by which clients resume, where `schema` says.
    #[must_use]
    pub fn event(mut self, schema: Schema) -> Self {
        self.kept.schema = schema.clone();
        if let Source::Recording(recording) = self.source {
            self.source = Source::Recording(recording.with_schema(schema));
        }
        self
    }

    /// Says which events the client takes, all by default. The others are sent to it too.
    #[must_use]
    pub fn keep(mut self, keep: Option<Condition>) -> Self {
        self.kept.keep = keep;
        self
    }

    /// The directory of the copy of a recording, if it has to be copied.
    pub fn scratch(&self) -> Option<&Path> {
        match &self.source {
            Source::Recording(recording) => recording.scratch(),
            Source::Synthetic(_) => None,
        }
    }

    /// The name of the recording, as it was given.
    pub fn recorded(&self) -> Option<&Path> {
        match &self.source {
            Source::Recording(recording) => Some(recording.path()),
            Source::Synthetic(_) => None,
        }
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    pub(super) const fn breaks(&self) -> Option<u64> {
        self.break_every
    }

    /// The longest line that is served, in bytes; a longer one is left out.
    pub const fn longest_message(&self) -> usize {
        self.max_message_bytes
    }

    pub(super) fn open(self, pace: Pace) -> Timeline {
        match self.source {
            Source::Recording(recording) => Timeline::Recording(recording),
            Source::Synthetic(options) => {
                Timeline::Synthetic(Arc::new(synthetic::Generator::new(&options, pace)))
            }
        }
    }
}

impl Kept {
    /// Whether the client takes this line.
    pub(super) fn has(&self, line: &[u8], slots: &mut Slots) -> bool {
        self.keep.as_ref().is_none_or(|keep| {
            identify(line, &self.schema).is_err() || keep.holds(line, slots) == Some(true)
        })
    }
}

impl Timeline {
    /// A reader whose next line is the one at `position` (from 0). All lines before it must have been read before.
    pub(super) fn reader(&self, position: u64) -> Result<Reader, Error> {
        match self {
            Self::Recording(recording) => Ok(Reader::Recording(recording.reader(position)?)),
            Self::Synthetic(generator) => {
                Ok(Reader::Synthetic { generator: Arc::clone(generator), position })
            }
        }
    }

    /// How many lines there are, if that is known without reading them.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Recording(_) => None,
            Self::Synthetic(generator) => generator.events(),
        }
    }

    /// Checks that reading again would give the same lines.
    pub(super) fn check_unchanged(&self) -> Result<(), Error> {
        match self {
            Self::Recording(recording) => recording.check_unchanged(),
            Self::Synthetic(_) => Ok(()),
        }
    }
}

impl Reader {
    /// The next line, if it is available.
    pub(super) fn next_line(&mut self) -> Result<Next, Error> {
        match self {
            Self::Recording(reader) => reader.next_line(),
            Self::Synthetic { generator, position } => {
                let Some(line) = generator.line(*position) else { return Ok(Next::End) };
                *position += 1;
                Ok(Next::Line(line))
            }
        }
    }

    /// Waits until there may be more after [`Next::Later`].
    pub(super) async fn grown(&self) {
        match self {
            Self::Recording(reader) => reader.grown().await,
            Self::Synthetic { .. } => {}
        }
    }

    /// How many lines are before the next one.
    pub(super) const fn position(&self) -> u64 {
        match self {
            Self::Recording(reader) => reader.position(),
            Self::Synthetic { position, .. } => *position,
        }
    }
}
