//! Finding files that were renamed or copied when a log was rotated: they are in the same folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::content::Format;
use super::place::Place;

/// How many files of a folder are looked at.
const LOOKED_AT: usize = 4096;

/// The file of this place, which has another name than `path` now; also a copy that holds the place.
pub(super) fn find(path: &Path, place: &Place) -> Option<PathBuf> {
    siblings(path).into_iter().find(|sibling| {
        let holds = || {
            let file = File::open(sibling).ok()?;
            // A packed file has no size that could be compared.
            let is_long = file.metadata().ok()?.len() >= place.offset
                || Format::of_file(&file).ok()? != Format::Plain;
            Some(is_long && place.file.is(&file).ok()?)
        };
        holds() == Some(true)
    })
}

/// The file that was rotated next after one that was last written to at `modified`: of those that have the name of `path` and
/// a number or a date, the oldest one that was written to later. `None` if that is the one at `path` itself.
pub(super) fn after(path: &Path, modified: SystemTime, current: &Place) -> Option<PathBuf> {
    let name = path.file_name()?;
    let mut later: Vec<(SystemTime, PathBuf)> = siblings(path)
        .into_iter()
        .filter(|sibling| sibling.file_name().is_some_and(|other| is_rotation(name, other)))
        .filter_map(|sibling| Some((fs::metadata(&sibling).ok()?.modified().ok()?, sibling)))
        .filter(|(written, _)| *written > modified)
        .collect();
    later.sort();
    later.into_iter().map(|(_, sibling)| sibling).find(|sibling| {
        let is_next = || {
            let file = File::open(sibling).ok()?;
            Some(Format::of_file(&file).ok()? == Format::Plain && !current.file.is(&file).ok()?)
        };
        is_next() == Some(true)
    })
}

/// The other regular files in the folder of `path`.
fn siblings(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(folder.unwrap_or(Path::new("."))) else { return Vec::new() };
    let files =
        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files
        .map(|entry| entry.path())
        .filter(|other| other.file_name() != path.file_name())
        .take(LOOKED_AT)
        .collect()
}

/// Whether `other` is `name` and a number or a date, as `app.log.1` and `app.log-20260101` are.
fn is_rotation(name: &OsStr, other: &OsStr) -> bool {
    let rest = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
    rest.is_some_and(|rest| {
        rest.len() > 1
            && matches!(rest[0], b'.' | b'-' | b'_')
            && rest.iter().all(|byte| byte.is_ascii_digit() || b".-_:TZ".contains(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_or_a_date_makes_a_rotation() {
        let is = |other: &str| is_rotation(OsStr::new("app.log"), OsStr::new(other));
        for other in ["app.log.1", "app.log-20260101", "app.log.2026-01-01T10:00"] {
            assert!(is(other), "{other}");
        }
        for other in ["app.log.bak", "app.log", "app.log1", "other.log.1", "app.log.swp"] {
            assert!(!is(other), "{other}");
        }
    }
}
