//! Sequences, and the database keys made from them.

use std::fmt;
use std::str::FromStr;

/// The place of an entry in the log. Later entries have larger ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

/// The first byte of the key of a single entry, in the families `deferred` and `failed`. Logs of the format before
/// have such keys in `transient` too.
const ENTRY: u8 = 1;
/// The first byte of the key of a group.
const GROUP: u8 = 2;
/// Bits of a sequence that count within an epoch.
const COUNT_BITS: u32 = 40;

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

    /// The smallest sequence of its epoch.
    pub(super) const fn first_of_epoch(self) -> Self {
        Self(self.epoch() << COUNT_BITS)
    }

    /// The largest sequence of its epoch.
    pub(super) const fn last_of_epoch(self) -> Self {
        Self(self.0 | ((1 << COUNT_BITS) - 1))
    }

    /// The sequence after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// How many sequences there are from `start` up to this one, without this one; 0 if `start` is not before it.
    pub const fn since(self, start: Self) -> u64 {
        self.0.saturating_sub(start.0)
    }

    pub(super) const fn after(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    pub(super) fn checked_after(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    pub(super) const fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) const fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The key of a single entry. Big-endian, so that the order of keys is the order of sequences.
    pub(super) fn key(self) -> [u8; 9] {
        self.with_prefix(ENTRY)
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (&ENTRY, sequence) => Some(Self::from_be_bytes(sequence.try_into().ok()?)),
            _ => None,
        }
    }

    /// A key that is not above that of any group that ends at this sequence or later, and above all others.
    pub(super) fn groups_from(self) -> [u8; 9] {
        self.with_prefix(GROUP)
    }

    fn with_prefix(self, prefix: u8) -> [u8; 9] {
        let mut key = [prefix; 9];
        key[1..].copy_from_slice(&self.to_be_bytes());
        key
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

/// The first and the last sequence of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
}

impl Span {
    /// The last sequence comes first in the key, so that the first key from a sequence on is that of the group that
    /// holds it.
    pub(super) fn key(self) -> [u8; 17] {
        let mut key = [GROUP; 17];
        key[1..9].copy_from_slice(&self.last.to_be_bytes());
        key[9..].copy_from_slice(&self.first.to_be_bytes());
        key
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (&GROUP, rest) = key.split_first()? else { return None };
        let (last, first) = rest.split_first_chunk::<8>()?;
        let first = Sequence::from_be_bytes(first.try_into().ok()?);
        Some(Self { first, last: Sequence::from_be_bytes(*last) })
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
