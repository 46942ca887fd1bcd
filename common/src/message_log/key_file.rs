//! The file with the keys of the log: one a line, 32 bytes in base64.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, Keyring};

/// A key file is no larger. It has room for a thousand keys.
const MAX_BYTES: u64 = 64 << 10;
/// How to make a key.
const HOW: &str = "make a key by `openssl rand -base64 32`";

/// Why a key file cannot be used. The contents of the file are never shown.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}; check log.key_file, and that the user of this process may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large to be one of keys.
    #[error("{} is no key file: it has more than {MAX_BYTES} bytes", path.display())]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// The file has no key.
    #[error("the key file {} has no key; {HOW}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is no base64.
    #[error("line {line} of the key file {} is no base64; each line has one key of 32 bytes: {HOW}", path.display())]
    Base64 {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// A line has a key of another length.
    #[error("line {line} of the key file {} has a key of {bytes} bytes, and a key has 32; {HOW}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// How many bytes it has.
        bytes: usize,
    },
}

impl KeyFileError {
    /// Whether the same file may be usable later: never without somebody changing something.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Large { .. }
            | Self::Empty { .. }
            | Self::Base64 { .. }
            | Self::Length { .. } => false,
        }
    }
}

impl Keyring {
    /// Reads a key file. The first line is for writing, all are for reading. Empty lines, and those that begin with `#`, are
    /// left out. Warns if every user of the machine may read the file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o007 != 0 {
            tracing::warn!(
                path = %path.display(), mode = format!("{:03o}", mode & 0o777),
                "every user of this machine may use the key file; chmod 600 it, or mount it with defaultMode 0440"
            );
        }
        // It does not grow, which would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * MAX_BYTES as usize));
        file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(KeyFileError::Large { path: path.to_owned() });
        }
        Self::parse(&text, path)
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self, KeyFileError> {
        let mut keys = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line_text = line.trim_ascii();
            if line_text.is_empty() || line_text.starts_with(b"#") {
                continue;
            }
            let (path, line) = (path.to_owned(), number + 1);
            let Ok(decoded) = STANDARD.decode(line_text).map(Zeroizing::new) else {
                return Err(KeyFileError::Base64 { path, line });
            };
            let Ok(key) = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map(Zeroizing::new)
            else {
                return Err(KeyFileError::Length { path, line, bytes: decoded.len() });
            };
            keys.push(key);
        }
        let Some((first, others)) = keys.split_first() else {
            return Err(KeyFileError::Empty { path: path.to_owned() });
        };
        Ok(Self::new(first, &others.iter().map(|key| &**key).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_key_of_a_file_writes_and_all_read() {
        let keys: Vec<_> = (1..=3_u8).map(|byte| STANDARD.encode([byte; KEY_BYTES])).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, format!("# 2026\n{}\r\n\n  {}\n{}", keys[0], keys[1], keys[2])).unwrap();
        let ring = Keyring::read(&path).unwrap();
        let own = |byte| Keyring::new(&[byte; KEY_BYTES], &[]).first();
        assert_eq!(ring.first(), own(1));
        assert_eq!(ring.ids().collect::<Vec<_>>(), [own(1), own(2), own(3)]);
    }

    #[test]
    fn an_error_of_a_key_file_says_what_is_wrong_and_shows_no_key() {
        let key = STANDARD.encode([7; KEY_BYTES]);
        let short = STANDARD.encode([7; 16]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let cases = [
            (None, "cannot read"),
            (Some(String::new()), "has no key"),
            (Some("# none\n\n".to_owned()), "has no key"),
            (Some(format!("{key}\n{short}")), "line 2 of the key file"),
            (Some(format!("{key}\n\nkey: {key}")), "line 3 of the key file"),
            (Some("A".repeat(100 << 10)), "more than 65536 bytes"),
        ];
        for (text, told) in cases {
            if let Some(text) = &text {
                fs::write(&path, text).unwrap();
            }
            let error = Keyring::read(&path).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(told), "{shown}");
            assert!(!shown.contains(&key) && !shown.contains(&short), "{shown}");
            assert!(!error.retryable());
        }
    }
}
