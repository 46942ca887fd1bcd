//! Unpacks an answer while it arrives, a little at a time, so that what is packed very small cannot fill the memory.

use std::io::Write;

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// How much is unpacked at once; at the highest ratio of the format, 1,032, that becomes 1 MiB.
const STEP_BYTES: usize = 1024;

/// Unpacks one answer.
pub(super) struct Unpacker {
    packed: Bytes,
    decoder: Decoder,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
}

impl Unpacker {
    /// `None` if there is no such way of packing.
    pub(super) fn new(name: &[u8]) -> Option<Self> {
        let decoder = match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            b"deflate" => Decoder::Deflate(Box::new(ZlibDecoder::new(Vec::new()))),
            _ => return None,
        };
        Some(Self { packed: Bytes::new(), decoder })
    }

    /// Takes what has arrived. Everything before must have been unpacked.
    pub(super) fn push(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    /// The next bytes, `None` if more has to arrive.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        while !self.packed.is_empty() {
            let step = self.packed.split_to(self.packed.len().min(STEP_BYTES));
            let unpacked = match &mut self.decoder {
                Decoder::Gzip(decoder) => step_of(&mut **decoder, &step, MultiGzDecoder::get_mut)?,
                Decoder::Deflate(decoder) => step_of(&mut **decoder, &step, ZlibDecoder::get_mut)?,
            };
            if !unpacked.is_empty() {
                return Ok(Some(unpacked.into()));
            }
        }
        Ok(None)
    }

    /// Whether what has arrived ends where something packed ends.
    pub(super) fn is_complete(&mut self) -> bool {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish().is_ok(),
            // After its end it takes nothing any more.
            Decoder::Deflate(decoder) => matches!(decoder.write(&[0]), Ok(0)),
        }
    }
}

fn step_of<D: Write>(
    decoder: &mut D,
    step: &[u8],
    unpacked: impl Fn(&mut D) -> &mut Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    decoder.write_all(step)?;
    // Without this the last bytes stay inside until more comes.
    decoder.flush()?;
    Ok(std::mem::take(unpacked(decoder)))
}
