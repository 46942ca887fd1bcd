//! Encrypted files: exports, and damaged files that are kept.
//!
//! Such a file begins with a line that names the format and 16 random bytes. Then come the parts of the text, 64 KiB each, every one
//! after a byte, which is 1 for the last part and 0 for others, and its length (u32, little-endian). A part is sealed for this
//! file, its number and that byte, so that none can be changed, moved, left out or added.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::cipher::{Fault, KeyId, Keyring};

const FIRST_LINE: &[u8] = b"millrace sealed 1\n";
/// What stands for the family of a value.
const FAMILY: &str = "file";
const NAME_BYTES: usize = 16;
const PART_BYTES: usize = 64 << 10;
/// A sealed part is no larger.
const MAX_SEALED_BYTES: usize = PART_BYTES + 256;

/// Why an encrypted file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SealedFileError {
    /// It is something else.
    #[error("this is no encrypted file of `millrace log export`")]
    OtherFormat,
    /// It was encrypted with a key that is not there.
    #[error("it needs the key {0}, which the key file does not have")]
    KeyMissing(KeyId),
    /// It was changed, or its end is missing.
    #[error("it is damaged or cut off behind {0} bytes")]
    Damaged(u64),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[source] io::Error),
    /// What was in it cannot be written.
    #[error("cannot write what was in it: {0}")]
    Write(#[source] io::Error),
}

/// Encrypts what is written. The file is whole only after [`finish`](Self::finish).
#[derive(Debug)]
pub struct SealedWriter<W> {
    out: W,
    keys: Arc<Keyring>,
    parts: Parts,
    /// The text of the next part.
    text: Vec<u8>,
}

/// What the parts of a file are sealed for.
#[derive(Debug)]
struct Parts {
    file: [u8; NAME_BYTES],
    number: u64,
}

impl Parts {
    /// The place of the next part.
    fn next(&mut self, is_last: bool) -> Vec<u8> {
        let place = [&self.file[..], &self.number.to_be_bytes(), &[is_last.into()]].concat();
        self.number += 1;
        place
    }
}

impl<W: Write> SealedWriter<W> {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written, or the system has no random numbers.
    pub fn new(mut out: W, keys: Arc<Keyring>) -> io::Result<Self> {
        let mut file = [0; NAME_BYTES];
        SystemRandom::new()
            .fill(&mut file)
            .map_err(|_| io::Error::other("the system has no random numbers"))?;
        out.write_all(FIRST_LINE)?;
        out.write_all(&file)?;
        Ok(Self { out, keys, parts: Parts { file, number: 0 }, text: Vec::new() })
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, is_last: bool) -> io::Result<()> {
        let sealed = self.keys.seal(FAMILY, &self.parts.next(is_last), &self.text);
        self.text.clear();
        self.out.write_all(&[is_last.into()])?;
        self.out.write_all(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.out.write_all(&sealed)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() == PART_BYTES {
            self.put(false)?;
        }
        let taken = bytes.len().min(PART_BYTES - self.text.len());
        self.text.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: a part is written when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what is in an encrypted file to `out`, each part after it was found to be whole.
///
/// # Errors
/// When the file is not whole or of another kind, needs another key, or cannot be read; or `out` cannot be written.
pub fn unseal(
    mut file: impl Read,
    keys: &Keyring,
    out: &mut impl Write,
) -> Result<(), SealedFileError> {
    let mut head = [0; FIRST_LINE.len() + NAME_BYTES];
    read(&mut file, &mut head, SealedFileError::OtherFormat)?;
    let Some(name) = head.strip_prefix(FIRST_LINE).and_then(<[u8]>::first_chunk) else {
        return Err(SealedFileError::OtherFormat);
    };
    let (mut parts, mut written) = (Parts { file: *name, number: 0 }, 0);
    loop {
        let damaged = || SealedFileError::Damaged(written);
        let mut head = [0; 5];
        read(&mut file, &mut head, damaged())?;
        let [is_last @ (0 | 1), length @ ..] = head else { return Err(damaged()) };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_SEALED_BYTES {
            return Err(damaged());
        }
        let mut sealed = vec![0; length];
        read(&mut file, &mut sealed, damaged())?;
        let place = parts.next(is_last == 1);
        let text = keys.open(FAMILY, &place, &sealed).map_err(|fault| match fault {
            Fault::OtherKey(id) => SealedFileError::KeyMissing(id),
            Fault::Damaged => damaged(),
        })?;
        if is_last == 1 && file.read(&mut [0]).map_err(SealedFileError::Read)? > 0 {
            return Err(damaged());
        }
        out.write_all(&text).map_err(SealedFileError::Write)?;
        written += text.len() as u64;
        if is_last == 1 {
            return out.flush().map_err(SealedFileError::Write);
        }
    }
}

fn read(
    file: &mut impl Read,
    bytes: &mut [u8],
    if_it_ends: SealedFileError,
) -> Result<(), SealedFileError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => if_it_ends,
        _ => SealedFileError::Read(error),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(byte: u8) -> Arc<Keyring> {
        Arc::new(Keyring::new(&[byte; 32], &[]))
    }

    fn sealed(text: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::new(Vec::new(), keys(1)).unwrap();
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn opened(file: &[u8]) -> Result<Vec<u8>, SealedFileError> {
        let mut out = Vec::new();
        unseal(file, &keys(1), &mut out).map(|()| out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_is_read_as_it_was_written_and_no_change_goes_unnoticed(
            length in prop_oneof![0..100_usize, PART_BYTES - 2..PART_BYTES + 2, 2 * PART_BYTES - 1..2 * PART_BYTES + 2],
            bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        ) {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let file = sealed(&text);
            prop_assert_eq!(opened(&file).unwrap(), text);
            let bit = bit.index(8 * file.len());
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(opened(&changed).is_err());
            prop_assert!(opened(&file[..cut.index(file.len())]).is_err());
            prop_assert!(opened(&[&file[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn the_parts_of_a_file_cannot_change_places_or_be_left_out() {
        let text = vec![7; 3 * PART_BYTES];
        let (file, head) = (sealed(&text), FIRST_LINE.len() + NAME_BYTES);
        let part = 5 + keys(1).seal("", b"", &text[..PART_BYTES]).len();
        let at = |number: usize| &file[head + number * part..head + (number + 1) * part];
        let (start, [a, b, c]) = (&file[..head], [0, 1, 2].map(at));
        assert_eq!(opened(&[start, a, b, c].concat()).unwrap(), text);
        for parts in [[b, a, c].concat(), [a, c].concat(), [a, b].concat(), [a, a, b, c].concat()] {
            let error = opened(&[start, &parts].concat()).unwrap_err();
            assert!(matches!(error, SealedFileError::Damaged(_)), "{error}");
        }
        let other = sealed(&text);
        assert!(opened(&[&other[..head], a, b, c].concat()).is_err(), "they are another file's");
    }

    #[test]
    fn a_file_of_another_key_or_another_kind_is_told_apart_from_damage() {
        let mut out = Vec::new();
        let error = unseal(&sealed(b"text")[..], &keys(2), &mut out).unwrap_err();
        assert!(matches!(error, SealedFileError::KeyMissing(id) if id == keys(1).first()));
        for other in [&b""[..], b"{}\n", &[0; 99]] {
            assert!(matches!(opened(other), Err(SealedFileError::OtherFormat)));
        }
        assert!(out.is_empty());
    }
}
