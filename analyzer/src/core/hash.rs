//! The hash function of the analyzer. Items and event ids are hashed once, and every table and sketch uses
//! that number.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Must never change, because stored snapshots and partials hold hashes that were computed with it.
const SEED: u64 = 0x6d69_6c6c_7261_6365;

/// XXH3, 64 bits, with a fixed seed.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}
