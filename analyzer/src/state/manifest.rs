//! What a stored snapshot is made of.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::plan::QueryId;
use crate::core::snapshot::Snapshot;
use crate::core::versioned::{Error, Format};

const FORMAT: Format = Format::new("a manifest", 3, 3);

/// Says what the snapshot in a slot is made of; JSON, so that it can be looked at with any tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    v: u32,
    /// First offset of `raw-rsvps` that the snapshot does not reflect.
    pub next_offset: i64,
    /// How many chunks it is cut into.
    pub chunks: u32,
    /// How many bytes they have together.
    bytes: usize,
    /// XXH3-64 of these bytes, in hexadecimal digits.
    checksum: String,
    /// The queries that it holds, each as `name:fingerprint`.
    queries: Vec<String>,
}

/// What every version of a manifest has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl Manifest {
    /// Describes `snapshot`, which is `bytes` when encoded, cut into `chunks`.
    pub fn new(snapshot: &Snapshot<'_>, bytes: &[u8], chunks: u32) -> Self {
        Self {
            v: FORMAT.version().into(),
            next_offset: snapshot.next_offset(),
            chunks,
            bytes: bytes.len(),
            checksum: checksum(bytes),
            queries: snapshot.queries().map(|query| query.to_string()).collect(),
        }
    }

    /// The bytes to store.
    #[expect(clippy::expect_used, reason = "a struct of numbers and strings is always valid JSON")]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Version`] for one that another build wrote, and [`Error::Damaged`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |error: serde_json::Error| FORMAT.damaged(error.to_string());
        let Versioned { v } = serde_json::from_slice(bytes).map_err(damaged)?;
        FORMAT.accept(v)?;
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// The queries that the snapshot holds.
    pub fn queries(&self) -> Vec<QueryId> {
        // What cannot be read is no query that anybody asks for.
        self.queries.iter().filter_map(|query| query.parse().ok()).collect()
    }

    /// Whether `bytes` are the ones that were described.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() && self.checksum == checksum(bytes)
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}
