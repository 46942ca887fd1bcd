//! The database under the log, RocksDB. No other module uses it, apart from its error type.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Direction, IteratorMode, WriteBatch, WriteOptions,
};

use super::{Entry, Error, Sequence};

const CURSOR_PREFIX: &str = "cursor:";
const FEED_PREFIX: &str = "feed:";
const WATERMARK: &str = "watermark";

/// Bounds of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many bytes of entries stay in memory before they are written to a table file. Entries that are
    /// removed before that are never written to one.
    pub write_buffer_bytes: usize,
    /// The size of the write-ahead log, in bytes, above which RocksDB writes what its oldest file holds to
    /// table files, so that it can delete or reuse that file.
    pub write_ahead_bytes: u64,
    /// How many bytes of table files are cached.
    pub block_cache_bytes: usize,
    /// How many refused entries are kept; if there are more, the oldest is removed.
    pub max_failed: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 64 << 20,
            write_ahead_bytes: 256 << 20,
            block_cache_bytes: 8 << 20,
            max_failed: 10_000,
        }
    }
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Waiting for Kafka.
    Transient,
    /// Refused by Kafka for good, waiting for the acknowledgement of the dead letter.
    Failed,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Failed => "failed",
        }
    }
}

/// Changes that are written together or not at all.
#[derive(Default)]
pub(super) struct Batch(WriteBatch);

/// A record that was found: its sequence, and the entry unless it is damaged.
pub(super) type Found = (Sequence, Option<Entry>);

pub(super) struct Store {
    db: DB,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.db.path()).finish()
    }
}

impl Store {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let mut database = rocksdb::Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // Reusing an old file makes a synced write cheaper: its blocks are allocated already, while a file
        // that grows must have its metadata written too.
        database.set_recycle_log_file_num(4);
        database.set_max_total_wal_size(options.write_ahead_bytes);
        database.set_max_open_files(256);
        database.set_keep_log_file_num(4);
        database.set_max_log_file_size(4 << 20);

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
        let families = [
            family(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, 1 << 20, DBCompressionType::None),
            family(Family::Transient.name(), options.write_buffer_bytes, DBCompressionType::None),
            family(Family::Failed.name(), 4 << 20, DBCompressionType::Lz4),
        ];
        DB::open_cf_descriptors(&database, path, families).map(|db| Self { db }).map_err(|source| {
            let path = path.to_owned();
            if is_lock(&source) { Error::Locked { path } } else { Error::Open { path, source } }
        })
    }

    fn family(&self, family: Family) -> impl rocksdb::AsColumnFamilyRef {
        #[expect(clippy::expect_used, reason = "opening creates every family")]
        self.db.cf_handle(family.name()).expect("the family was opened")
    }

    pub(super) fn put(&self, batch: &mut Batch, family: Family, sequence: Sequence, record: &[u8]) {
        batch.0.put_cf(&self.family(family), sequence.key(), record);
    }

    pub(super) fn delete(&self, batch: &mut Batch, family: Family, sequence: Sequence) {
        batch.0.delete_cf(&self.family(family), sequence.key());
    }

    /// Deletes the entries from `from` up to `to`, without `to` itself.
    pub(super) fn delete_range(
        &self,
        batch: &mut Batch,
        family: Family,
        from: Sequence,
        to: Sequence,
    ) {
        if from < to {
            batch.0.delete_range_cf(&self.family(family), from.key(), to.key());
        }
    }

    pub(super) fn put_cursor(&self, batch: &mut Batch, source: &str, time_ms: i64) {
        batch.0.put(format!("{CURSOR_PREFIX}{source}"), time_ms.to_be_bytes());
    }

    pub(super) fn put_feed(&self, batch: &mut Batch, source: &str, feed: &str) {
        batch.0.put(format!("{FEED_PREFIX}{source}"), feed);
    }

    /// The feed that the source's cursor belongs to; empty if it is not known.
    pub(super) fn feed(&self, source: &str) -> Result<String, Error> {
        let bytes = self.db.get(format!("{FEED_PREFIX}{source}")).map_err(Error::Read)?;
        String::from_utf8(bytes.unwrap_or_default()).map_err(|_| Error::Metadata { name: "feed" })
    }

    pub(super) fn put_watermark(&self, batch: &mut Batch, watermark: Sequence) {
        batch.0.put(WATERMARK, watermark.to_be_bytes());
    }

    pub(super) fn write(&self, batch: Batch, sync: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch.0, &options).map_err(Error::Write)
    }

    pub(super) fn get(&self, family: Family, sequence: Sequence) -> Result<Entry, Error> {
        let record = self.db.get_cf(&self.family(family), sequence.key()).map_err(Error::Read)?;
        record.and_then(|bytes| Entry::decode(bytes.into())).ok_or(Error::Damaged { sequence })
    }

    /// The entries of a family from `from` on, in order. Keys of another format are skipped.
    pub(super) fn scan(
        &self,
        family: Family,
        from: Sequence,
    ) -> impl Iterator<Item = Result<Found, Error>> {
        let start = from.key();
        let records = self
            .db
            .iterator_cf(&self.family(family), IteratorMode::From(&start, Direction::Forward));
        records.filter_map(|record| match record {
            Ok((key, value)) => Sequence::from_key(&key)
                .map(|sequence| Ok((sequence, Entry::decode(Bytes::from(value))))),
            Err(error) => Some(Err(Error::Read(error))),
        })
    }

    pub(super) fn watermark(&self) -> Result<Sequence, Error> {
        Ok(Sequence::from_be_bytes(self.number(WATERMARK)?.unwrap_or_default()))
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
    /// write-ahead log.
    pub(super) fn put_for_good(&self, name: &'static str, value: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.0.put(name, value);
        self.write(batch, true)?;
        self.db.flush().map_err(Error::Write)
    }

    pub(super) fn cursors(&self) -> Result<Vec<(String, i64)>, Error> {
        let records =
            self.db.iterator(IteratorMode::From(CURSOR_PREFIX.as_bytes(), Direction::Forward));
        let mut cursors = Vec::new();
        for record in records {
            let (key, value) = record.map_err(Error::Read)?;
            let Some(source) = key.strip_prefix(CURSOR_PREFIX.as_bytes()) else { break };
            let damaged = Error::Metadata { name: "cursor" };
            match (std::str::from_utf8(source), <[u8; 8]>::try_from(&*value)) {
                (Ok(source), Ok(time)) => {
                    cursors.push((source.to_owned(), i64::from_be_bytes(time)))
                }
                _ => return Err(damaged),
            }
        }
        Ok(cursors)
    }
}

/// Whether the database is open already, in another process or in this one. RocksDB has no code for it.
fn is_lock(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    let is_held = ["Resource temporarily unavailable", "Permission denied"];
    text.contains("While lock file") && is_held.iter().any(|why| text.contains(why))
        || text.contains("lock hold by current process")
}
