//! What a log is opened with.

use std::sync::Arc;

use super::cipher::Keyring;

/// Bounds of a log, and its keys.
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
    /// What the log is encrypted with; `None` to write it plain.
    pub keys: Option<Arc<Keyring>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 64 << 20,
            write_ahead_bytes: 256 << 20,
            block_cache_bytes: 8 << 20,
            max_failed: 10_000,
            keys: None,
        }
    }
}
