//! The lines of a recording, plain or gzip, streamed.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::event::Schema;
use common::event::identity::identify;
use flate2::bufread::MultiGzDecoder;

use super::Error;
use super::timeline::Line;

#[cfg(test)]
mod tests;

/// The longest line that is served: a file without newlines must not end in memory.
const MAX_LINE: u64 = 64 << 20;

const BUFFER: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a recording from its first line on.
pub(super) struct Reader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    position: u64,
    schema: Schema,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| {
            let mut plain = BufReader::with_capacity(BUFFER, file);
            let input: Box<dyn BufRead + Send> = if plain.fill_buf()?.starts_with(&GZIP) {
                Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(plain)))
            } else {
                Box::new(plain)
            };
            Ok(input)
        });
        let input = opened
            .map_err(|source| Error::Open { path: path.to_owned(), source: Arc::new(source) })?;
        Ok(Self { path: path.to_owned(), input, position: 0, schema: Schema::default() })
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Passes over lines until `position`, or the end.
    pub(super) fn skip_to(&mut self, position: u64) -> Result<(), Error> {
        while self.position < position {
            let skipped = self.input.skip_until(b'\n').map_err(|source| self.failed(source))?;
            if skipped == 0 {
                break;
            }
            self.position += 1;
        }
        Ok(())
    }

    pub(super) fn next_line(&mut self) -> Result<Option<Line>, Error> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|source| self.failed(source))? == 0 {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() as u64 > MAX_LINE {
            return Err(Error::LineTooLong {
                path: self.path.clone(),
                line: self.position + 1,
                limit: MAX_LINE,
            });
        }
        self.position += 1;
        let mtime_ms = identify(&bytes, &self.schema).ok().and_then(|identity| identity.time_ms);
        Ok(Some(Line { bytes: bytes.into(), mtime_ms }))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Read { path: self.path.clone(), line: self.position + 1, source: Arc::new(source) }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
