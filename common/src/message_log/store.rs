//! The database under the log, RocksDB. No other module writes to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamilyDescriptor, CompactOptions,
    DB, DBCompressionType, DBIterator, DBRecoveryMode, Direction, ErrorKind, FlushOptions,
    IteratorMode, WriteBatch, WriteOptions,
};

use super::cipher::Keyring;
use super::key::Span;
use super::key_uses::KeyUses;
use super::options::Options;
use super::{Entry, Error, Ranges, Sequence};

const POSITION_PREFIX: &str = "position:";
const WATERMARK: &str = "watermark";
const SETTLED: &str = "settled";
/// The key with the family's name; it is before all others.
const NAME: &[u8] = &[0];

/// Where an entry is that is not in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Waiting for Kafka for so long that it was taken out of its group.
    Deferred,
    /// Refused by Kafka for good, waiting for the acknowledgement of the dead letter.
    Failed,
}

/// The family of the groups.
pub(super) const TRANSIENT: &str = "transient";

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Deferred, Self::Failed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Failed => "failed",
        }
    }
}

/// The family of the log's own values.
pub(super) const OWN: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
/// The names of all families.
const FAMILIES: [&str; 4] = [OWN, TRANSIENT, Family::Deferred.name(), Family::Failed.name()];
/// How many files of the write-ahead log are used again.
const REUSED_FILES: usize = 4;

/// Changes that are written together or not at all.
#[derive(Default)]
pub(super) struct Batch(WriteBatch);

impl Batch {
    /// How large it is.
    pub(super) fn bytes(&self) -> usize {
        self.0.size_in_bytes()
    }
}

pub(super) struct Store {
    db: DB,
    read_only: bool,
    keys: Option<Arc<Keyring>>,
    /// Whether values are taken that are not sealed.
    has_plain: bool,
    /// Has the counters of RocksDB.
    #[cfg(test)]
    database: rocksdb::Options,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.db.path()).finish()
    }
}

impl Store {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_with(path, options, REUSED_FILES)
    }

    /// Opens it so that old files of the write-ahead log are deleted, and none is used again with what it holds.
    pub(super) fn open_without_reuse(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_with(path, options, 0)
    }

    fn open_with(path: &Path, options: &Options, reused_files: usize) -> Result<Self, Error> {
        let mut database = rocksdb::Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // Reusing an old file makes a synced write cheaper: its blocks are allocated already, while a file
        // that grows must have its metadata written too.
        database.set_recycle_log_file_num(reused_files);
        database.set_max_total_wal_size(options.write_ahead_bytes);
        // No family is ahead of the others on disk. Otherwise RocksDB would not open a write-ahead log that is damaged before
        // what one of them has.
        database.set_atomic_flush(true);
        database.set_max_open_files(256);
        database.set_keep_log_file_num(4);
        database.set_max_log_file_size(4 << 20);
        #[cfg(test)]
        database.enable_statistics();

        let opened = DB::open_cf_descriptors(&database, path, families(options));
        let db = opened.map_err(|source| {
            let path = path.to_owned();
            if is_lock(&source) { Error::Locked { path } } else { Error::Open { path, source } }
        })?;
        let mut store = Self {
            db,
            read_only: false,
            keys: options.keys.clone(),
            has_plain: true,
            #[cfg(test)]
            database,
        };
        store.has_plain = store.check_keys()?;
        store.name_families()?;
        Ok(store)
    }

    /// Opens the database as it is now, also while another process writes to it, and changes nothing. What is in its
    /// write-ahead log is read into memory.
    pub(super) fn open_read_only(path: &Path, keys: Option<Arc<Keyring>>) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let mut database = rocksdb::Options::default();
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // All files are opened at once, so that it does no harm if the other process deletes them.
        database.set_max_open_files(-1);
        let there = DB::list_cf(&database, path).map_err(failed)?;
        if !FAMILIES.iter().all(|name| there.iter().any(|known| known == name)) {
            return Err(Error::OtherFormat { path: path.to_owned() });
        }
        let families = families(&Options::default());
        let db = DB::open_cf_descriptors_read_only(&database, path, families, false);
        let mut store = Self {
            db: db.map_err(failed)?,
            read_only: true,
            keys,
            has_plain: true,
            #[cfg(test)]
            database,
        };
        store.has_plain = store.check_keys()?;
        if !store.old_entries(Sequence::ZERO, 1)?.is_empty() {
            // A collector does not convert what is plain in an encrypted log.
            let other = Error::OtherFormat { path: path.to_owned() };
            return Err(if store.has_plain { other } else { store.plain() });
        }
        Ok(store)
    }

    /// Puts a key into each family that stays for good, in a table file. A repair knows a family by its table files alone; what
    /// the write-ahead log has of another one it would forget.
    fn name_families(&self) -> Result<(), Error> {
        let mut batch = Batch::default();
        for name in FAMILIES {
            let family = self.handle(name);
            // A block that cannot be read is in a table file.
            let is_absent = self.db.get_cf(&family, NAME).is_ok_and(|found| found.is_none());
            if is_absent {
                batch.0.put_cf(&family, NAME, name);
            }
        }
        if batch.0.is_empty() { Ok(()) } else { self.write_for_good(batch) }
    }

    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What the log is sealed with.
    pub(super) fn keys(&self) -> Option<&Keyring> {
        self.keys.as_deref()
    }

    /// Whether values are taken that are not sealed.
    pub(super) const fn has_plain(&self) -> bool {
        self.has_plain
    }

    /// From now on nothing is taken that is not sealed.
    pub(super) fn end_takeover(&mut self, uses: &KeyUses) -> Result<(), Error> {
        let mut batch = Batch::default();
        self.put_key_uses(&mut batch, uses);
        self.write_for_good(batch)?;
        self.has_plain = false;
        Ok(())
    }

    /// How often the write-ahead log was synced.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        self.database.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced)
    }

    fn handle(&self, name: &str) -> impl rocksdb::AsColumnFamilyRef {
        #[expect(clippy::expect_used, reason = "opening creates every family")]
        self.db.cf_handle(name).expect("the family was opened")
    }

    pub(super) fn put_group(&self, batch: &mut Batch, span: Span, record: &[u8]) {
        self.put_in(batch, TRANSIENT, &span.key(), record);
    }

    /// Puts a value into a family, sealed if the log has keys.
    pub(super) fn put_in(&self, batch: &mut Batch, family: &str, key: &[u8], value: &[u8]) {
        batch.0.put_cf(&self.handle(family), key, self.sealed(family, key, value));
    }

    /// Deletes the groups that end from `from` on and before `to`.
    pub(super) fn delete_groups(&self, batch: &mut Batch, from: Sequence, to: Sequence) {
        if from < to {
            let (from, to) = (from.groups_from(), to.groups_from());
            batch.0.delete_range_cf(&self.handle(TRANSIENT), from, to);
        }
    }

    /// Removes the files that hold nothing but groups which end from `from` on and before `to`. What is removed must
    /// have been deleted on disk before, because this is not undone by a crash.
    pub(super) fn delete_files(&self, from: Sequence, to: Sequence) -> Result<(), Error> {
        let (from, to) = (from.groups_from(), to.groups_from());
        self.db.delete_file_in_range_cf(&self.handle(TRANSIENT), from, to).map_err(Error::Write)
    }

    /// Merges the table files of the groups, which removes what was deleted. Returns whether it has: nothing is done while there
    /// is a group that ends from `from` on.
    pub(super) fn compact_unless_groups_from(&self, from: Sequence) -> Result<bool, Error> {
        let is_empty = self.groups(from).next().is_none();
        if is_empty {
            let wait = &mut rocksdb::WaitForCompactOptions::default();
            wait.set_flush(true);
            self.db.compact_range_cf(&self.handle(TRANSIENT), None::<&[u8]>, None::<&[u8]>);
            // The merge itself tells no error.
            self.db.wait_for_compact(wait).map_err(Error::Write)?;
        }
        Ok(is_empty)
    }

    /// Writes all table files anew, without what was deleted or replaced, and forgets the write-ahead log.
    pub(super) fn rewrite_files(&self) -> Result<(), Error> {
        self.flush()?;
        let mut merge = CompactOptions::default();
        merge.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for name in FAMILIES {
            let (all, family) = (None::<&[u8]>, self.handle(name));
            self.db.compact_range_cf_opt(&family, all, all, &merge);
        }
        // The merge itself tells no error.
        self.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).map_err(Error::Write)
    }

    /// The records of a family from this key on.
    pub(super) fn iterator(&self, family: &str, from: &[u8]) -> DBIterator<'_> {
        self.db.iterator_cf(&self.handle(family), IteratorMode::From(from, Direction::Forward))
    }

    pub(super) fn path(&self) -> &Path {
        self.db.path()
    }

    /// The names of the files of a family that may have keys between these two.
    pub(super) fn files_with(&self, family: &str, first: &[u8], last: &[u8]) -> Vec<String> {
        let files = self.db.live_files().unwrap_or_default().into_iter();
        files
            .filter(|file| {
                let starts = file.start_key.as_deref().is_some_and(|start| start <= last);
                let ends = file.end_key.as_deref().is_some_and(|end| end >= first);
                file.column_family_name == family && starts && ends
            })
            .map(|file| file.name)
            .collect()
    }

    /// Whether all that is in the database can be read.
    pub(super) fn is_readable(&self) -> bool {
        FAMILIES.iter().all(|name| {
            let mut records = self.db.iterator_cf(&self.handle(name), IteratorMode::Start);
            records.all(|record| record.is_ok())
        })
    }

    /// Whether what is at this key, or comes after it, can be read.
    pub(super) fn can_seek(&self, family: &str, to: &[u8]) -> bool {
        let mut records = self.db.raw_iterator_cf(&self.handle(family));
        records.seek(to);
        records.status().is_ok()
    }

    /// Where the last group ends that ends at `to` or before. If that group is on a damaged block, this is known only if
    /// it is the last one in its file.
    pub(super) fn last_group(&self, to: Sequence) -> Result<Option<Sequence>, Error> {
        let end = to.next().groups_from();
        let mut records = self
            .db
            .iterator_cf(&self.handle(TRANSIENT), IteratorMode::From(&end, Direction::Reverse));
        match records.next() {
            None => Ok(None),
            Some(Ok((key, _))) => Ok(Span::from_key(&key).map(|span| span.last)),
            Some(Err(error)) if error.kind() == ErrorKind::Corruption => {
                let ends = self.group_files()?.into_iter().map(|(last, _)| last);
                let mut known = ends.filter(|last| *last <= to).max();
                for group in self.groups(known.map_or(Sequence::ZERO, Sequence::next)) {
                    let (span, _) = group?;
                    if span.last > to {
                        break;
                    }
                    known = Some(span.last);
                }
                Ok(known)
            }
            Some(Err(error)) => Err(Error::Read(error)),
        }
    }

    /// How many bytes each file of groups has, by the last sequence in it.
    pub(super) fn group_files(&self) -> Result<Vec<(Sequence, u64)>, Error> {
        let files = self.db.live_files().map_err(Error::Read)?;
        let mut sizes: Vec<_> = files
            .iter()
            .filter(|file| file.column_family_name == TRANSIENT)
            .filter_map(|file| {
                let last = Span::from_key(file.end_key.as_deref()?)?.last;
                Some((last, file.size as u64))
            })
            .collect();
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// Deletes all entries of the format before.
    pub(super) fn delete_old_entries(&self, batch: &mut Batch) {
        let (from, to) = (Sequence::ZERO.key(), Sequence::ZERO.groups_from());
        batch.0.delete_range_cf(&self.handle(TRANSIENT), from, to);
    }

    pub(super) fn put(&self, batch: &mut Batch, family: Family, sequence: Sequence, record: &[u8]) {
        self.put_in(batch, family.name(), &sequence.key(), record);
    }

    pub(super) fn delete(&self, batch: &mut Batch, family: Family, sequence: Sequence) {
        batch.0.delete_cf(&self.handle(family.name()), sequence.key());
    }

    /// One of the log's own values as it is stored.
    pub(super) fn own(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.db.get(key).map_err(Error::Read)?.map(Bytes::from))
    }

    /// The log's own values whose keys begin like this, as they are stored.
    pub(super) fn own_values(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Box<[u8]>, Bytes), Error>> {
        let items = self.db.iterator(IteratorMode::From(prefix, Direction::Forward));
        items
            .map(|item| item.map(|(key, value)| (key, value.into())).map_err(Error::Read))
            .take_while(move |item| item.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
    }

    pub(super) fn put_own(&self, batch: &mut Batch, key: &[u8], value: &[u8]) {
        batch.0.put(key, value);
    }

    pub(super) fn delete_own(&self, batch: &mut Batch, key: &[u8]) {
        batch.0.delete(key);
    }

    /// Reads all of the log's own values, and returns how many there are.
    pub(super) fn read_metadata(&self) -> Result<u64, Error> {
        self.db
            .iterator(IteratorMode::Start)
            .try_fold(0, |count, item| item.map(|_| count + 1).map_err(Error::Read))
    }

    pub(super) fn put_position(&self, batch: &mut Batch, name: &str, position: i64) {
        batch.0.put(format!("{POSITION_PREFIX}{name}"), position.to_be_bytes());
    }

    pub(super) fn positions(&self) -> Result<BTreeMap<String, i64>, Error> {
        let mut positions = BTreeMap::new();
        for item in self.own_values(POSITION_PREFIX.as_bytes()) {
            let (key, value) = item?;
            let name = key.get(POSITION_PREFIX.len()..).unwrap_or_default();
            let invalid = Error::Metadata { name: "position" };
            let (Ok(name), Ok(value)) = (str::from_utf8(name), (*value).try_into()) else {
                return Err(invalid);
            };
            positions.insert(name.to_owned(), i64::from_be_bytes(value));
        }
        Ok(positions)
    }

    pub(super) fn put_settled(&self, batch: &mut Batch, settled: &Ranges) {
        batch.0.put(WATERMARK, settled.low().to_be_bytes());
        batch.0.put(SETTLED, settled.encode());
    }

    /// What is settled. The format before has a watermark alone.
    pub(super) fn settled(&self) -> Result<Ranges, Error> {
        let low = Sequence::from_be_bytes(self.number(WATERMARK)?.unwrap_or_default());
        match self.db.get(SETTLED).map_err(Error::Read)? {
            None => Ok(Ranges::below(low)),
            Some(bytes) => Ranges::decode(low, &bytes).ok_or(Error::Metadata { name: SETTLED }),
        }
    }

    pub(super) fn write(&self, batch: Batch, sync: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch.0, &options).map_err(Error::Write)
    }

    /// Returns when everything that was written is on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.db.flush_wal(true).map_err(Error::Write)
    }

    /// An entry outside of the groups; `None` if it is not there.
    pub(super) fn get(&self, family: Family, sequence: Sequence) -> Result<Option<Entry>, Error> {
        let record = self.db.get_cf(&self.handle(family.name()), sequence.key());
        let record = record.map_err(|error| match error.kind() {
            ErrorKind::Corruption => Error::Damaged { sequence },
            _ => Error::Read(error),
        })?;
        let Some(record) = record else { return Ok(None) };
        let record = self.opened(family.name(), &sequence.key(), record.into())?;
        record.and_then(Entry::decode).map(Some).ok_or(Error::Damaged { sequence })
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<[u8; 8]>, Error> {
        let Some(bytes) = self.db.get(name).map_err(Error::Read)? else { return Ok(None) };
        bytes.try_into().map(Some).map_err(|_| Error::Metadata { name })
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.db.get(name).map_err(Error::Read)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| Error::Metadata { name })
    }

    /// Writes one of the log's own values, and flushes it into a table file so that it survives damage to the
    /// write-ahead log. All families are flushed together, see [`open`](Self::open).
    pub(super) fn put_for_good(&self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.0.put(name, value);
        self.write_for_good(batch)
    }

    fn write_for_good(&self, batch: Batch) -> Result<(), Error> {
        self.write(batch, true)?;
        self.flush()
    }

    fn flush(&self) -> Result<(), Error> {
        let families: Vec<_> = FAMILIES.iter().map(|name| self.handle(name)).collect();
        let families: Vec<_> = families.iter().collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(Error::Write)
    }
}

/// How each family is kept.
fn families(options: &Options) -> [ColumnFamilyDescriptor; 4] {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&cache);
    let family = |name: &str, write_buffer_bytes: usize, compression: DBCompressionType| {
        let mut family = rocksdb::Options::default();
        family.set_block_based_table_factory(&tables);
        family.set_compression_type(compression);
        family.set_write_buffer_size(write_buffer_bytes);
        ColumnFamilyDescriptor::new(name, family)
    };
    // Most entries never reach a table file, and those that do are soon removed: compressing them costs
    // more than it saves.
    [
        family(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, 1 << 20, DBCompressionType::None),
        family(TRANSIENT, options.write_buffer_bytes, DBCompressionType::None),
        family(Family::Deferred.name(), 4 << 20, DBCompressionType::None),
        family(Family::Failed.name(), 4 << 20, DBCompressionType::Lz4),
    ]
}

/// Whether the database is open already, in another process or in this one. RocksDB has no code for it.
pub(super) fn is_lock(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    let is_held = ["Resource temporarily unavailable", "Permission denied"];
    text.contains("While lock file") && is_held.iter().any(|why| text.contains(why))
        || text.contains("lock hold by current process")
}
