//! Which file systems are in memory, and where large temporary data goes. How much is free, and how large files are:
//! [`common::disk`].

use std::path::{Path, PathBuf};

/// A directory for large temporary data: the system's directory for temporary files if that is on a disk, else
/// `/var/tmp`, else the user's cache. On some systems `/tmp` is in memory, which Kafka's data would fill.
pub fn temporary_root() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let places = [Some(std::env::temp_dir()), Some(PathBuf::from("/var/tmp")), cache];
    let usable = |place: &PathBuf| place.is_dir() && !is_memory(place);
    places.into_iter().flatten().find(usable).unwrap_or_else(std::env::temp_dir)
}

/// Whether files at `path` are kept in memory. `false` if the system does not say.
pub fn is_memory(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    file_system(&mounts, &path).is_some_and(|kind| matches!(kind, "tmpfs" | "ramfs"))
}

/// The type of the file system that holds `path`: that of the longest mount point above it, and of several mounts there
/// the newest.
fn file_system<'m>(mounts: &'m str, path: &Path) -> Option<&'m str> {
    let mut found = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else { continue };
        let point = point.replace("\\040", " ");
        if path.starts_with(&point) && found.is_none_or(|(length, _)| point.len() >= length) {
            found = Some((point.len(), kind));
        }
    }
    found.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_says_what_a_place_is() {
        let mounts =
            "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/on\\040disk ext4 rw 0 0\n";
        let kind = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmpx"), "ext4");
        assert_eq!(kind("/tmp/on disk/x"), "ext4");
        assert_eq!(kind("/var/tmp"), "ext4");
    }
}
