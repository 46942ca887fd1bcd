//! Sequences, and the database keys made from them.

use std::fmt;
use std::str::FromStr;

/// The place of an entry in the log. Later entries have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

const FORMAT: u8 = 1;
/// Bits of a sequence that count within an epoch.
const COUNT_BITS: u32 = 40;

pub(super) const KEY_BYTES: usize = 9;
const _: () = assert!(
    KEY_BYTES == size_of::<u8>() + size_of::<u64>(),
    "a key is the format byte and a sequence"
);

impl Sequence {
    /// The smallest sequence.
    pub const ZERO: Self = Self(0);

    /// The first sequence of an epoch; `None` above the last epoch.
    pub(super) const fn first_of(epoch: u64) -> Option<Self> {
        if epoch >> (u64::BITS - COUNT_BITS) == 0 { Some(Self(epoch << COUNT_BITS)) } else { None }
    }

    pub(super) const fn epoch(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) const fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// Big-endian, so that the order of keys is the order of sequences.
    pub(super) fn key(self) -> [u8; KEY_BYTES] {
        let mut key = [FORMAT; KEY_BYTES];
        key[1..].copy_from_slice(&self.to_be_bytes());
        key
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (&FORMAT, sequence) => Some(Self::from_be_bytes(sequence.try_into().ok()?)),
            _ => None,
        }
    }

    /// The sequence as the opaque value that librdkafka returns with a record's delivery report.
    pub const fn to_opaque(self) -> usize {
        const _: () = assert!(usize::BITS == u64::BITS, "a sequence fits into a pointer");
        self.0 as usize
    }

    /// The sequence of such an opaque value, see [`to_opaque`](Self::to_opaque).
    pub const fn from_opaque(opaque: usize) -> Self {
        Self(opaque as u64)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Sequence {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
