//! Encrypts a log that was written without a key, so that nothing plain stays on the volume.
//!
//! Sealing a value does not remove the plain one: it stays in RocksDB's table files until they are merged, and in files of the
//! write-ahead log, which are used again with what they hold. So everything is sealed, all families are flushed and merged, and
//! no file may be left that was there before. A value says that this is done, and a file beside the database, because a repair may
//! lose that value; without them it is done again. Deleted files are not overwritten: their blocks are free on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::ErrorKind;

use super::cipher::Keyring;
use super::key_uses::KeyUses;
use super::options::Options;
use super::sealed_file::SealedWriter;
use super::store::{Batch, Family, Store, TRANSIENT};
use super::{Error, Sequence, quarantine, recovery, reseal, sealing};
use crate::disk;

/// What the name of an encrypted copy of a file ends with.
const SEALED: &str = ".sealed";

/// Encrypts the log if it is to be and is not yet.
pub(super) fn encrypt(store: Store, options: &Options) -> Result<Store, Error> {
    let Some(keys) = &options.keys else { return Ok(store) };
    let path = store.path().to_owned();
    if !store.has_plain() {
        mark(&path)?;
        return Ok(store);
    }
    let is_new = recovery::epoch(&store)? == 0 && store.group_files()?.is_empty();
    if !is_new {
        tracing::info!(path = %path.display(), "the message log is being encrypted");
    }
    drop(store);
    let seal_error = |source| Error::Seal { path: path.clone(), source };
    let there = files(&path).map_err(seal_error)?;
    let before = there.into_iter().map(|(number, _)| number).max().unwrap_or_default();
    let sealed = seal_values(&Store::open_without_reuse(&path, options)?, keys, disk::free);
    let left = match sealed {
        Ok(()) => {
            let mut there = files(&path).map_err(seal_error)?.into_iter();
            there.find(|(number, _)| *number <= before).map(|(_, file)| file)
        }
        // A merge has met a damaged block.
        Err(Error::Write(source)) if source.kind() == ErrorKind::Corruption => Some(path.clone()),
        Err(error) => return Err(error),
    };
    if let Some(file) = left {
        return Err(Error::NotEncrypted { file });
    }
    for folder in [quarantine::FOLDER, quarantine::LOST].map(|name| path.join(name)) {
        seal_files(&folder, keys).map_err(|source| Error::Seal { path: folder, source })?;
    }
    let mut store = Store::open(&path, options)?;
    store.end_takeover(&KeyUses::of(keys.first()))?;
    mark(&path)?;
    if !is_new {
        tracing::info!(key = %keys.first(), "the message log is encrypted, and nothing plain is left in its directory");
    }
    Ok(store)
}

/// `free` tells how many bytes the disk has.
fn seal_values(
    store: &Store,
    keys: &Keyring,
    free: impl FnOnce(&Path) -> Option<u64>,
) -> Result<(), Error> {
    let low = store.settled()?.low();
    let mut batch = Batch::default();
    store.delete_groups(&mut batch, Sequence::ZERO, low);
    store.write(batch, true)?;
    store.delete_files(Sequence::ZERO, low)?;
    let known = store.key_uses()?;
    // Once it has begun, a part of what is there is sealed already, and there is no way back to a log without keys: it goes on
    // for as long as the disk has room.
    if known.is_none() {
        // A merge would end at a damaged block.
        if !store.is_readable() {
            return Err(Error::NotEncrypted { file: store.path().to_owned() });
        }
        // What is sealed and what is plain is there at the same time, and once more while it is merged.
        let files = store.group_files()?.into_iter().filter(|(last, _)| *last >= low);
        let bytes = 2 * files.map(|(_, bytes)| bytes).sum::<u64>();
        if free(store.path()).is_some_and(|free| free < bytes) {
            return Err(Error::NoRoomToEncrypt { path: store.path().to_owned(), bytes });
        }
    }
    let mut uses = known.unwrap_or_default();
    uses.has_plain = true;
    uses.begin(keys.first(), Sequence::ZERO);
    let mut batch = Batch::default();
    store.put_key_uses(&mut batch, &uses);
    store.write(batch, true)?;
    recovery::migrate(store)?;
    for family in [TRANSIENT, Family::Deferred.name(), Family::Failed.name()] {
        reseal::reseal(store, family)?;
    }
    reseal::reseal_sources(store)?;
    store.rewrite_files()
}

/// Makes the file that says that all is encrypted.
fn mark(path: &Path) -> Result<(), Error> {
    if sealing::is_marked(path) {
        return Ok(());
    }
    let file = path.join(sealing::MARK);
    let written = File::create(&file)
        .and_then(|mut file| {
            file.write_all(b"All values of this message log are encrypted.\n")?;
            file.sync_all()
        })
        .and_then(|()| File::open(path)?.sync_all());
    written.map_err(|source| Error::Seal { path: file, source })
}

/// The files of the database that hold values, with their numbers. Newer ones have larger numbers.
fn files(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let numbered = |file: PathBuf| {
        let is_of_values = file.extension().is_some_and(|kind| kind == "sst" || kind == "log");
        let number = file.file_stem()?.to_str()?.parse().ok()?;
        is_of_values.then_some((number, file))
    };
    let files = path.read_dir()?.map(|file| Ok(numbered(file?.path())));
    files.filter_map(io::Result::transpose).collect()
}

/// Replaces the files of a folder with encrypted copies.
fn seal_files(folder: &Path, keys: &Arc<Keyring>) -> io::Result<()> {
    let files = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?.path();
        let is_sealed = file.as_os_str().as_encoded_bytes().ends_with(SEALED.as_bytes());
        if is_sealed || !file.is_file() {
            continue;
        }
        let mut name = file.clone().into_os_string();
        name.push(SEALED);
        let mut sealed = SealedWriter::new(File::create(name)?, Arc::clone(keys))?;
        io::copy(&mut File::open(&file)?, &mut sealed)?;
        sealed.finish()?.sync_all()?;
        fs::remove_file(file)?;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::{Entry, MessageLog, Ranges, Settlement};
    use super::*;

    fn options() -> Options {
        let keys = Arc::new(Keyring::new(&[1; 32], &[]));
        Options { keys: Some(keys), write_ahead_bytes: 8 << 20, ..Options::default() }
    }

    /// A plain log with one group, which is settled or not.
    fn plain(path: &Path, is_settled: bool) {
        let options = Options { keys: None, ..options() };
        let (log, mut appender, _) = MessageLog::open(path, options).unwrap();
        let sequence = appender.allot();
        let entry = Entry {
            source: "feed".into(),
            received_ms: 5,
            identity: None,
            reason: None,
            payload: "payload".into(),
        };
        appender.append(&[(sequence, entry)], &[]).unwrap();
        if is_settled {
            let settled = &Ranges::below(sequence.next());
            let change =
                Settlement { settled, moved: &[], removed: &[], cursors: &[], positions: &[] };
            log.settle(&change).unwrap();
        }
    }

    #[test]
    fn room_is_asked_for_before_a_plain_log_is_changed_and_never_again() {
        let directory = TempDir::new().unwrap();
        let (path, options) = (directory.path(), options());
        plain(path, false);
        let keys = options.keys.as_ref().unwrap();
        let store = Store::open_without_reuse(path, &options).unwrap();
        let error = seal_values(&store, keys, |_| Some(0)).unwrap_err();
        assert!(matches!(error, Error::NoRoomToEncrypt { bytes: 1.., .. }), "{error}");
        assert_eq!(store.key_uses().unwrap(), None, "it can be used without keys");
        drop(store);
        drop(MessageLog::open(path, Options { keys: None, ..options.clone() }).unwrap());

        // It was killed after it had begun.
        let store = Store::open_without_reuse(path, &options).unwrap();
        let mut uses = KeyUses::of(keys.first());
        uses.has_plain = true;
        let mut batch = Batch::default();
        store.put_key_uses(&mut batch, &uses);
        store.write(batch, true).unwrap();
        seal_values(&store, keys, |_| Some(0)).unwrap();
    }

    #[test]
    fn what_is_settled_needs_no_room() {
        let directory = TempDir::new().unwrap();
        let options = options();
        plain(directory.path(), true);
        let store = Store::open_without_reuse(directory.path(), &options).unwrap();
        seal_values(&store, options.keys.as_ref().unwrap(), |_| Some(0)).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let directory = TempDir::new().unwrap();
        let (path, options) = (directory.path(), options());
        assert!(files(&path.join("absent")).is_err());
        plain(path, false);
        let lost = path.join(quarantine::LOST);
        fs::write(&lost, "no folder").unwrap();
        let error = MessageLog::open(path, options.clone()).unwrap_err();
        assert!(matches!(error, Error::Seal { path, .. } if path == lost));
        assert!(!sealing::is_marked(path), "it is not said that nothing plain is left");
        fs::remove_file(lost).unwrap();
        drop(MessageLog::open(path, options).unwrap());
        assert!(sealing::is_marked(path));
    }
}
