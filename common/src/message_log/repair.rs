//! Opens a database whose files are damaged.
//!
//! RocksDB needs the files `CURRENT` and `MANIFEST`, and the end of every table file, to open a database. If one of them is
//! damaged, its own repair puts together what is whole, and moves the rest to the folder `lost`. It first writes an empty
//! manifest and adds the tables to it at the end, so that a repair that was interrupted leaves a sound and empty database.
//! A file says that a repair has begun; while it is there, the repair is done again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rocksdb::{DB, ErrorKind};

use super::options::Options;
use super::quarantine::LOST;
use super::store::{Store, is_lock};
use super::{Error, takeover};
use crate::disk;

/// The file in the log's directory that is there during a repair.
const MARK: &str = "repairing";

/// How many files an earlier repair could not use.
pub(super) fn lost(path: &Path) -> usize {
    fs::read_dir(path.join(LOST)).map_or(0, Iterator::count)
}

/// Opens the database and reads what `recover` reads, which gets whether there was a repair.
pub(super) fn open<T>(
    path: &Path,
    options: &Options,
    recover: impl Fn(&Store, bool) -> Result<T, Error>,
) -> Result<(Store, T), Error> {
    let open = |is_repaired| {
        let store = takeover::encrypt(Store::open(path, options)?, options)?;
        let recovered = recover(&store, is_repaired)?;
        Ok((store, recovered))
    };
    let mark = path.join(MARK);
    if mark.exists() {
        tracing::error!("the repair of the message log was interrupted, and is done again");
    } else if is_headless(path) {
        tracing::error!("the file CURRENT of the message log is missing, and is repaired");
    } else {
        match open(false) {
            Err(error) if is_damage(&error, path) => {
                tracing::error!(%error, "the files of the message log are damaged, and are repaired");
            }
            outcome => return outcome,
        }
    }
    repair(path, &mark)?;
    tracing::error!(
        lost = %path.join(LOST).display(),
        "the message log is repaired; what could not be read is in the folder `lost`"
    );
    open(true)
}

/// Whether RocksDB's files are damaged, and not only entries in them.
fn is_damage(error: &Error, path: &Path) -> bool {
    match error {
        Error::Open { source, .. } | Error::Read(source) => {
            source.kind() == ErrorKind::Corruption || has_no_manifest(path)
        }
        _ => false,
    }
}

/// Whether there is a manifest, but not the file that names it. RocksDB would begin an empty database.
fn is_headless(path: &Path) -> bool {
    let files = path.read_dir().into_iter().flatten().flatten();
    let mut names = files.map(|file| file.file_name());
    !path.join("CURRENT").exists()
        && names.any(|name| name.as_encoded_bytes().starts_with(b"MANIFEST"))
}

/// Whether the file `CURRENT` names a manifest that is not there.
fn has_no_manifest(path: &Path) -> bool {
    fs::read_to_string(path.join("CURRENT")).is_ok_and(|name| !path.join(name.trim_end()).is_file())
}

fn repair(path: &Path, mark: &Path) -> Result<(), Error> {
    // It writes the write-ahead log to table files, and gives up what it has no room for.
    let bytes = write_ahead_bytes(path);
    if disk::free(path).is_some_and(|free| free < bytes) {
        return Err(Error::NoRoomToRepair { path: path.to_owned(), bytes });
    }
    let marked = |done: io::Result<()>| {
        done.and_then(|()| File::open(path)?.sync_all())
            .map_err(|source| Error::Mark { path: mark.to_owned(), source })
    };
    marked(File::create(mark).and_then(|file| file.sync_all()))?;
    DB::repair(&rocksdb::Options::default(), path).map_err(|source| {
        let path = path.to_owned();
        if is_lock(&source) { Error::Locked { path } } else { Error::Open { path, source } }
    })?;
    marked(fs::remove_file(mark))
}

/// How large the write-ahead log is.
fn write_ahead_bytes(path: &Path) -> u64 {
    let files = path.read_dir().into_iter().flatten().flatten().map(|file| file.path());
    let logs = files.filter(|file| file.extension().is_some_and(|kind| kind == "log"));
    logs.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}
