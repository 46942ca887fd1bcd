//! The one hash of the analyzer: items and event ids are hashed once, and every table and sketch
//! uses that number.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Part of every stored state: with another seed, snapshots and partials would contradict each other.
const SEED: u64 = 0x6d69_6c6c_7261_6365;

/// XXH3, 64 bits, with a fixed seed.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}
