//! From the bytes of a file or a pipe to lines: recognises the format, unpacks it, and checks what is inside.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::format::{self, Foreign, Packing};
use crate::simulate::Error;

const BUFFER: usize = 64 << 10;

/// How many bytes are enough to recognise a packed format.
const MAGIC: usize = 6;

/// The bytes that were read ahead, followed by the rest.
type Whole<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Why there are no lines, or no more lines.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Open(Arc<io::Error>),
    Read(Arc<io::Error>),
    /// The copy cannot be written.
    Write(Arc<io::Error>),
    Foreign(Foreign),
}

impl Fault {
    pub(super) fn open(error: io::Error) -> Self {
        Self::Open(Arc::new(error))
    }

    pub(super) fn read(error: io::Error) -> Self {
        Self::Read(Arc::new(error))
    }

    pub(super) fn write(error: io::Error) -> Self {
        Self::Write(Arc::new(error))
    }

    /// The error for the recording at `path`, whose copy is in `scratch`, if it happens while `line` is read (counted
    /// from 1).
    pub(super) fn at(self, path: &Path, scratch: &Path, line: u64) -> Error {
        let path = path.to_owned();
        match self {
            Self::Open(source) => Error::Open { path, source },
            Self::Read(source) => Error::Read { path, line, source },
            Self::Write(source) => Error::Copy { path, scratch: scratch.to_owned(), source },
            Self::Foreign(foreign) => Error::NoLines { path, foreign },
        }
    }
}

/// Whether `input` begins like a packed format that is read.
///
/// # Errors
/// If it is neither that nor lines, or cannot be read.
pub(super) fn is_packed(input: impl Read) -> Result<bool, Fault> {
    let (head, _) = peeked(input, holds_line).map_err(Fault::read)?;
    if format::packing(&head).is_some() {
        return Ok(true);
    }
    format::check_lines(&head).map(|()| false).map_err(Fault::Foreign)
}

/// The lines in `input`, unpacked if necessary.
pub(super) fn lines(input: impl Read + Send + 'static) -> Result<Box<dyn BufRead + Send>, Fault> {
    let tells = |head: &[u8]| head.len() >= MAGIC || head.contains(&b'\n');
    let (head, whole) = peeked(input, tells).map_err(Fault::read)?;
    let unpacked: Box<dyn Read + Send> = match format::packing(&head) {
        None => Box::new(whole),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(whole))),
        Some(Packing::Zstd) => {
            let input = BufReader::new(whole);
            Box::new(zstd::stream::read::Decoder::with_buffer(input).map_err(Fault::read)?)
        }
    };
    let (head, whole) = peeked(unpacked, holds_line).map_err(Fault::read)?;
    format::check_lines(&head).map_err(Fault::Foreign)?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, whole)))
}

fn holds_line(head: &[u8]) -> bool {
    head.contains(&b'\n')
}

/// Returns the first bytes of `input`, and the whole input again. It reads until the bytes are `enough`, until the end, or
/// until there are [`BUFFER`] bytes.
fn peeked<R: Read>(
    mut input: R,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<(Vec<u8>, Whole<R>)> {
    let mut head = vec![0; BUFFER];
    let mut length = 0;
    while length < BUFFER && !enough(&head[..length]) {
        match input.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok((head.clone(), Cursor::new(head).chain(input)))
}
