//! Keeps damaged files for whoever wants to look what can be saved of them.

use std::fs;
use std::path::Path;

use super::Sequence;

/// The folder in the log's directory. RocksDB does not look into it.
pub(super) const FOLDER: &str = "damaged";
/// The folder there to which RocksDB's repair moves what it cannot use.
pub(super) const LOST: &str = "lost";
/// How many files are kept; they are no larger than a write buffer or a table file of RocksDB, 64 MiB.
const MAX_FILES: usize = 4;

/// How many files of the log in `path` are kept.
pub(super) fn kept(path: &Path) -> usize {
    fs::read_dir(path.join(FOLDER)).map_or(0, Iterator::count)
}

/// Keeps these files of the log in `path`, some of whose records from `from` up to `to` cannot be read, as links: RocksDB
/// deletes its own later. Beyond the limit nothing is kept, because the first damage tells most.
pub(super) fn keep(path: &Path, files: &[String], from: Sequence, to: Sequence) {
    let folder = path.join(FOLDER);
    let kept = kept(path);
    let room = MAX_FILES.saturating_sub(kept);
    for file in files.iter().map(|name| name.trim_start_matches('/')).take(room) {
        let link = folder.join(format!("{from}-{to}-{file}"));
        if link.exists() {
            continue;
        }
        let linked =
            fs::create_dir_all(&folder).and_then(|()| fs::hard_link(path.join(file), &link));
        match linked {
            Ok(()) => {
                tracing::error!(link = %link.display(), "a damaged file of the message log is kept")
            }
            Err(error) => {
                tracing::warn!(%error, file, "a damaged file of the message log cannot be kept")
            }
        }
    }
}
