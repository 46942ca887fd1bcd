//! Makes the log's directory so that it is there after a power cut.

use std::fs::{self, File};
use std::path::Path;

/// Makes the directory `path` if it is not there, and syncs the names of it and of those above it: whoever made them may not have
/// done so. RocksDB syncs what is inside, which is lost together with a name that is not on disk.
pub(super) fn make(path: &Path) {
    if let Err(error) = fs::create_dir_all(path) {
        // Opening the log will fail, and tell it as well.
        tracing::warn!(%error, path = %path.display(), "the directory of the message log cannot be made");
        return;
    }
    for above in path.canonicalize().iter().flat_map(|path| path.ancestors().skip(1)) {
        let synced = File::open(above).and_then(|directory| directory.sync_all());
        if let Err(error) = synced {
            // Those that belong to others need not be readable, and some file systems sync no directories.
            tracing::debug!(%error, path = %above.display(), "a directory cannot be synced");
        }
    }
}
