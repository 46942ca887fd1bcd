//! The bytes of a recording at a position, from the file itself or from its copy.

use std::io::{self, Read};
use std::sync::Arc;

use super::copy::Copy;
use super::file::Snapshot;
use super::unpack::Fault;

/// Bytes that can be read at any position, as often as is asked.
#[derive(Debug)]
pub(super) enum Content {
    /// A plain file.
    File(Arc<Snapshot>),
    /// What can be read but once.
    Copied(Copy),
}

/// Reads content from one position on. Reads nothing at the end, also where more may come later.
#[derive(Debug)]
pub(super) struct Cursor {
    content: Arc<Content>,
    offset: u64,
}

impl Cursor {
    pub(super) fn new(content: &Arc<Content>, offset: u64) -> Self {
        Self { content: Arc::clone(content), offset }
    }

    /// Whether nothing will ever follow what was read.
    pub(super) fn ended(&self) -> Result<bool, Fault> {
        match &*self.content {
            Content::File(file) => Ok(self.offset >= file.length()),
            Content::Copied(copy) => copy.ended(self.offset),
        }
    }

    /// Waits until that may have changed.
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
