//! The bytes of a recording at a position, from the file itself or from its copy.

use std::io::{self, Read};
use std::sync::Arc;

use super::copy::Copy;
use super::file::Snapshot;
use super::unpack::Fault;

/// Bytes that can be read at any position, any number of times.
#[derive(Debug)]
pub(super) enum Content {
    /// A plain file.
    File(Arc<Snapshot>),
    /// The copy of something that can be read only once, or only from its beginning.
    Copied(Copy),
}

/// Reads content from one position on. At the end it reads 0 bytes, even if more may come later.
#[derive(Debug)]
pub(super) struct Cursor {
    content: Arc<Content>,
    offset: u64,
}

impl Cursor {
    pub(super) fn new(content: &Arc<Content>, offset: u64) -> Self {
        Self { content: Arc::clone(content), offset }
    }

    /// Whether the end was read, so that nothing will follow.
    pub(super) fn ended(&self) -> Result<bool, Fault> {
        match &*self.content {
            Content::File(file) => Ok(self.offset >= file.length()),
            Content::Copied(copy) => copy.ended(self.offset),
        }
    }

    /// Waits until there is more to read, or until the end is known.
    pub(super) async fn grown(&self) {
        match &*self.content {
            Content::File(_) => {}
            Content::Copied(copy) => copy.grown(self.offset).await,
        }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &*self.content {
            Content::File(file) => file.read_at(buffer, self.offset)?,
            Content::Copied(copy) => copy.read_at(buffer, self.offset)?,
        };
        self.offset += read as u64;
        Ok(read)
    }
}
