//! How much is free on a disk, and how large files are.

use std::path::Path;

use nix::libc;
use nix::sys::statvfs::{Statvfs, statvfs};

/// How many bytes a user may still write at `path`, or at the nearest directory above it that exists.
pub fn free(path: &Path) -> Option<u64> {
    in_bytes(path, Statvfs::blocks_available)
}

/// How many bytes the disk has on which `path` is, or the nearest directory above it that exists.
pub fn total(path: &Path) -> Option<u64> {
    in_bytes(path, Statvfs::blocks)
}

fn in_bytes(path: &Path, blocks: impl Fn(&Statvfs) -> libc::fsblkcnt_t) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = statvfs(if there.as_os_str().is_empty() { Path::new(".") } else { there }).ok()?;
    #[expect(clippy::useless_conversion, reason = "the types differ between systems")]
    Some(u64::from(blocks(&stat)) * u64::from(stat.fragment_size()))
}

/// The total size of the files at `path`, in bytes.
pub fn size(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = path.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_s_size_is_that_of_its_files() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("a")).unwrap();
        std::fs::write(place.path().join("a/b"), [0; 1_000]).unwrap();
        std::fs::write(place.path().join("c"), [0; 24]).unwrap();
        assert_eq!(size(place.path()), 1_024);
        assert!(free(place.path()).unwrap() > 0);
    }
}
