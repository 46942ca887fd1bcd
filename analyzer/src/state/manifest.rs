//! What a stored snapshot is made of.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::core::snapshot::SliceName;

/// The version that is written.
const VERSION: u32 = 1;

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
    /// Names of the slices that it needs.
    slices: Vec<String>,
}

impl Manifest {
    /// Describes the snapshot `bytes`, cut into `chunks`.
    pub fn new(next_offset: i64, chunks: u32, bytes: &[u8], slices: &[SliceName]) -> Self {
        Self {
            v: VERSION,
            next_offset,
            chunks,
            bytes: bytes.len(),
            checksum: checksum(bytes),
            slices: slices.iter().map(ToString::to_string).collect(),
        }
    }

    /// The bytes to store.
    #[expect(clippy::expect_used, reason = "a struct of numbers and strings is always valid JSON")]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }

    /// Reads a manifest; `None` when it is damaged or of a version that is not known.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|manifest: &Self| manifest.v == VERSION)
    }

    /// The slices that the snapshot needs; `None` when one of the names is damaged.
    pub fn slices(&self) -> Option<Vec<SliceName>> {
        self.slices.iter().map(|name| name.parse().ok()).collect()
    }

    /// Whether `bytes` are the ones that were described.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() && self.checksum == checksum(bytes)
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}
