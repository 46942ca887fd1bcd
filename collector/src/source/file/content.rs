//! The bytes of a file or a stream, unpacked if they are packed, which their first bytes say.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt as _;

use flate2::bufread::MultiGzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What begins a text of 16 bits a character.
const WIDE: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];
/// How far a packed file may refer back: 128 MiB, which is what the decoder keeps in memory at most.
const WINDOW_LOG: u32 = 27;

/// Where the bytes of a source come from.
pub(super) enum Content {
    /// A file that is not packed, and the place in it.
    Plain(File, u64),
    /// A stream, or a file that is unpacked while it is read.
    Stream(Box<dyn Read + Send>),
}

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

impl Format {
    /// What begins like this.
    ///
    /// # Errors
    /// When it is nothing that can be read.
    pub(super) fn of(head: &[u8]) -> io::Result<Self> {
        if WIDE.iter().any(|mark| head.starts_with(mark)) {
            let why = "it is a text in UTF-16; convert it to UTF-8 (iconv -f utf-16 -t utf-8)";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(if head.starts_with(GZIP) {
            Self::Gzip
        } else if head.starts_with(ZSTD) {
            Self::Zstd
        } else {
            Self::Plain
        })
    }

    /// What a file is.
    ///
    /// # Errors
    /// When it cannot be read, or is nothing that can be.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let mut head = [0; 4];
        let length = file.read_at(&mut head, 0)?;
        Self::of(&head[..length])
    }

    fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let packed = BufReader::with_capacity(64 << 10, packed);
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

impl Content {
    /// A file from this offset on, which counts unpacked bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of_file(file: File, format: Format, offset: u64) -> io::Result<Self> {
        if format == Format::Plain {
            return Ok(Self::Plain(file, offset));
        }
        let mut stream = format.unpack(file)?;
        io::copy(&mut stream.by_ref().take(offset), &mut io::sink())?;
        Ok(Self::Stream(stream))
    }

    /// A stream. Blocks until its first bytes are there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of_stream(mut stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut head = Vec::new();
        stream.by_ref().take(4).read_to_end(&mut head)?;
        let format = Format::of(&head)?;
        let whole = Cursor::new(head).chain(stream);
        Ok(Self::Stream(format.unpack(whole)?))
    }

    /// Reads what is there, a part at a time; 0 at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Plain(file, offset) => file.read_at(buffer, *offset),
                Self::Stream(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(bytes) => {
                    if let Self::Plain(_, offset) = self {
                        *offset += bytes as u64;
                    }
                    return Ok(bytes);
                }
                failed @ Err(_) => return failed,
            }
        }
    }

    /// Whether it is unpacked while it is read.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}
