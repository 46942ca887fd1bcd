//! A place in a file, and which file that is.
//!
//! A file is recognised by its device and inode, *and* by its first bytes: an inode is given to a new file when the former one
//! is deleted. With [`HEAD_BYTES`] equal first bytes it is the same content wherever it lies, such as a copy that was made
//! before the file was truncated, or on a disk that has another number after a restart.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// How many of a file's first bytes it is recognised by.
const HEAD_BYTES: usize = 1024;
/// How long a stored place is.
const STORED_BYTES: usize = 41;

/// Which file it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    /// How many first bytes are known, and their hash.
    head_bytes: u64,
    head: u64,
}

/// A place between two messages of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Identity,
    /// How many bytes are before it; of a packed file, how many after unpacking.
    pub offset: u64,
    /// Whether it is in a line that was cut, whose rest is dropped.
    pub is_cutting: bool,
}

// === impl Identity ===

impl Identity {
    /// Which file this is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let (device, inode) = inode(file)?;
        let head = head(file, HEAD_BYTES)?;
        Ok(Self { device, inode, head_bytes: head.len() as u64, head: xxh3_64(&head) })
    }

    /// Whether more bytes would tell it better from others.
    pub const fn may_grow(self) -> bool {
        self.head_bytes < HEAD_BYTES as u64
    }

    /// Whether `file` is this one, or a copy of it that is as long as it was at least.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is(self, file: &File) -> io::Result<bool> {
        let is_same = inode(file)? == (self.device, self.inode);
        Ok((is_same || !self.may_grow()) && self.begins(file)?)
    }

    /// Whether the file begins with the same bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begins(self, file: &File) -> io::Result<bool> {
        let head = head(file, usize::try_from(self.head_bytes).unwrap_or(HEAD_BYTES))?;
        Ok(head.len() as u64 == self.head_bytes && xxh3_64(&head) == self.head)
    }

    /// Whether `metadata` is that of the same inode.
    pub fn is_inode(self, metadata: &std::fs::Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }
}

fn inode(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The first bytes, no more than `at_most`.
fn head(file: &File, at_most: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; at_most.min(HEAD_BYTES)];
    let mut length = 0;
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(bytes) => length += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok(head)
}

// === impl Place ===

impl Place {
    /// As it is stored: whole numbers, big-endian.
    pub fn stored(&self) -> Bytes {
        let Identity { device, inode, head_bytes, head } = self.file;
        let mut stored = Vec::with_capacity(STORED_BYTES);
        for number in [device, inode, head_bytes, head, self.offset] {
            stored.extend_from_slice(&number.to_be_bytes());
        }
        stored.push(u8::from(self.is_cutting));
        stored.into()
    }

    /// Reads what was stored; `None` if nothing was.
    pub fn read(stored: &[u8]) -> Option<Self> {
        let stored: &[u8; STORED_BYTES] = stored.try_into().ok()?;
        let (numbers, _) = stored.as_chunks::<8>();
        let number = |at: usize| u64::from_be_bytes(numbers[at]);
        let file = Identity {
            device: number(0),
            inode: number(1),
            head_bytes: number(2),
            head: number(3),
        };
        Some(Self { file, offset: number(4), is_cutting: stored[STORED_BYTES - 1] != 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_recognised_after_it_has_grown_and_by_its_content_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("a"), folder.path().join("b"));
        let identity = |path| Identity::of(&File::open(path).unwrap()).unwrap();
        let is = |identity: Identity, path| identity.is(&File::open(path).unwrap()).unwrap();
        fs::write(&path, "short").unwrap();
        let short = identity(&path);
        fs::write(&path, format!("short{}", "x".repeat(2000))).unwrap();
        assert!(is(short, &path), "grown");
        fs::copy(&path, &copy).unwrap();
        assert!(!is(short, &copy), "few bytes may be equal by chance");
        let long = identity(&path);
        assert!(is(long, &copy) && !long.may_grow());
        fs::write(&path, "other").unwrap();
        assert!(!is(short, &path) && !is(long, &path), "the same inode with another content");
    }

    proptest! {
        #[test]
        fn a_place_is_read_as_it_was_stored(numbers in any::<[u64; 5]>(), is_cutting in any::<bool>()) {
            let [device, inode, head_bytes, head, offset] = numbers;
            let place = Place { file: Identity { device, inode, head_bytes, head }, offset, is_cutting };
            prop_assert_eq!(Place::read(&place.stored()), Some(place));
            prop_assert_eq!(Place::read(&place.stored()[1..]), None);
        }
    }
}
