//! The lines of a recording, which is a file or a pipe, plain or packed with gzip or zstd.
//!
//! A feed must be able to serve again what it has sent. A plain file can be read at any position. Everything
//! else (a pipe, a FIFO, `/dev/stdin`, a packed file) can be read only once or only from its beginning. Therefore it
//! is **copied**, unpacked, to a file without a name while it is served, never more than 64 MiB ahead of what
//! was read of the copy. The copy disappears with the process.
//!
//! | module | question |
//! |---|---|
//! | `format` | what is it, by its first bytes? |
//! | `file` | the file as it was when it was opened, or an error |
//! | `copy` | the copy, and how far it has come |
//! | `content` | the bytes at a position, from the file or from its copy |
//! | `offsets` | where does a line begin? |

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use common::event::Schema;
use common::event::identity::identify;

use super::Error;
use super::line::{Line, Next};

mod content;
mod copy;
mod file;
mod format;
mod offsets;
#[cfg(test)]
mod tests;
mod unpack;

use content::{Content, Cursor};
use copy::Copy;
use file::Snapshot;
use offsets::Offsets;
use unpack::Fault;

pub use format::Foreign;

/// The longest line that is served, in bytes, so that a file without newlines is not read into memory as a whole.
const MAX_LINE: u64 = 64 << 20;

const BUFFER: usize = 64 << 10;

/// The name of the standard input.
const STDIN: &str = "-";

/// A recording that can be read from any line, by several readers at the same time.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    path: PathBuf,
    schema: Arc<Schema>,
    content: Arc<Content>,
    offsets: Arc<Mutex<Offsets>>,
}

/// Reads a recording's lines in order.
pub(super) struct Reader {
    recording: Recording,
    input: BufReader<Cursor>,
    /// The part of the next line that was read already.
    begun: Vec<u8>,
    /// How many lines were read; `offset` is their size in bytes.
    position: u64,
    offset: u64,
}

/// The lines of `input`, unpacked if necessary, for a reader that needs each only once. `path` is shown in errors.
///
/// # Errors
/// If it does not consist of lines.
pub fn lines(input: File, path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    unpack::lines(input).map_err(|fault| fault.at(path, Path::new(""), 1))
}

impl Recording {
    /// Opens the file at `path`, or the standard input for `-`. If it has to be copied, the copy is made in the
    /// directory `scratch`. Does not wait for the writer of a pipe, so that errors of a pipe are returned by the
    /// readers.
    ///
    /// # Errors
    /// If there is no such file, or it does not consist of lines.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, Error> {
        let recording = |content| Self {
            path: path.to_owned(),
            schema: Arc::default(),
            content: Arc::new(content),
            offsets: Arc::default(),
        };
        let failed = |fault: Fault| fault.at(path, scratch, 1);
        if path == Path::new(STDIN) {
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Fault::open);
            let stdin = stdin.map(File::from).map_err(failed)?;
            let copy = Copy::start(scratch, || unpack::lines(stdin)).map_err(failed)?;
            return Ok(recording(Content::Copied(copy)));
        }
        let metadata = fs::metadata(path).map_err(|error| failed(Fault::open(error)))?;
        if metadata.is_dir() {
            return Err(Error::Folder { path: path.to_owned() });
        }
        if !metadata.is_file() {
            let pipe = path.to_owned();
            // Opening a FIFO waits for its writer, so that the thread of the copy does it.
            let open = move || unpack::lines(File::open(pipe).map_err(Fault::open)?);
            let copy = Copy::start(scratch, open).map_err(failed)?;
            return Ok(recording(Content::Copied(copy)));
        }
        let file = Snapshot::open(path).map_err(|error| failed(Fault::open(error)))?;
        let file = Arc::new(file);
        if unpack::is_packed(file.reader()).map_err(failed)? {
            // The content is checked here, so that a wrong one is refused before anything is started.
            let lines = unpack::lines(file.reader()).map_err(failed)?;
            let copy = Copy::start(scratch, || Ok(lines)).map_err(failed)?;
            return Ok(recording(Content::Copied(copy)));
        }
        Ok(recording(Content::File(file)))
    }

    /// Reads event times where `schema` says.
    pub(super) fn with_schema(mut self, schema: Schema) -> Self {
        self.schema = Arc::new(schema);
        self
    }

    /// The directory of its copy, if it has to be copied.
    pub(super) fn scratch(&self) -> Option<&Path> {
        match &*self.content {
            Content::File(_) => None,
            Content::Copied(copy) => Some(copy.scratch()),
        }
    }

    /// Its name as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A reader whose next line is the one at `position` (from 0). All lines before it must have been read before.
    pub(super) fn reader(&self, position: u64) -> Result<Reader, Error> {
        let (line, offset) = self.offsets().before(position);
        let mut reader = Reader {
            recording: self.clone(),
            input: BufReader::with_capacity(BUFFER, Cursor::new(&self.content, offset)),
            begun: Vec::new(),
            position: line,
            offset,
        };
        reader.skip_to(position)?;
        Ok(reader)
    }

    /// Checks that the content is still the one that was read. A copy never changes.
    pub(super) fn check_unchanged(&self) -> Result<(), Error> {
        match &*self.content {
            Content::File(file) => file.check().map_err(|error| self.failed(Fault::read(error), 1)),
            Content::Copied(_) => Ok(()),
        }
    }

    fn failed(&self, fault: Fault, line: u64) -> Error {
        fault.at(&self.path, self.scratch().unwrap_or(Path::new("")), line)
    }

    fn offsets(&self) -> std::sync::MutexGuard<'_, Offsets> {
        // A poisoned lock is harmless: each change is complete before anything can panic.
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The next line, if it is available.
    pub(super) fn next_line(&mut self) -> Result<Next, Error> {
        let room = (MAX_LINE + 1).saturating_sub(self.begun.len() as u64);
        let read = (&mut self.input).take(room).read_until(b'\n', &mut self.begun);
        read.map_err(|source| self.failed(Fault::read(source)))?;
        let length = self.begun.len() as u64;
        if self.begun.last() == Some(&b'\n') {
            self.begun.pop();
        } else if length > MAX_LINE {
            return Err(Error::LineTooLong {
                path: self.recording.path.clone(),
                line: self.position + 1,
                limit: MAX_LINE,
            });
        } else {
            match self.input.get_ref().ended().map_err(|fault| self.failed(fault))? {
                false => return Ok(Next::Later),
                true if self.begun.is_empty() => return Ok(Next::End),
                true => {}
            }
        }
        let bytes = std::mem::take(&mut self.begun);
        self.passed(length);
        let identity = identify(&bytes, &self.recording.schema).ok();
        let mtime_ms = identity.and_then(|identity| identity.time_ms);
        Ok(Next::Line(Line { bytes: bytes.into(), mtime_ms }))
    }

    /// Waits until there is more to read, or until the end is known.
    pub(super) async fn grown(&self) {
        self.input.get_ref().grown().await;
    }

    /// Skips lines until `position`.
    fn skip_to(&mut self, position: u64) -> Result<(), Error> {
        while self.position < position {
            let skipped = self.input.skip_until(b'\n');
            match skipped.map_err(|source| self.failed(Fault::read(source)))? {
                0 => return Err(self.failed(Fault::read(file::shortened()))),
                length => self.passed(length as u64),
            }
        }
        Ok(())
    }

    fn passed(&mut self, length: u64) {
        self.position += 1;
        self.offset += length;
        if self.position.is_multiple_of(offsets::STRIDE) {
            self.recording.offsets().add(self.position, self.offset);
        }
    }

    fn failed(&self, fault: Fault) -> Error {
        self.recording.failed(fault, self.position + 1)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.recording.path)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
