//! Keys of the state topic.

use std::fmt;
use std::str::FromStr;

use crate::core::block::BlockName;
use crate::core::owner::Owner;

/// One of an owner's two places for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one to fill after this one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// What a record of the state topic is, within its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Says what the snapshot in the slot is made of.
    Manifest(Owner, Slot),
    /// A piece of the snapshot in the slot.
    Chunk(Owner, Slot, u32),
    /// A piece of a block.
    Block(BlockName, u32),
}

impl Key {
    /// The text of the key of this record in `partition`.
    pub fn of(self, partition: i32) -> String {
        match self {
            Self::Manifest(owner, slot) => format!("{partition}/{owner}/{slot}"),
            Self::Chunk(owner, slot, chunk) => format!("{partition}/{owner}/{slot}/{chunk}"),
            Self::Block(name, piece) => format!("{partition}/block/{name}/{piece}"),
        }
    }

    /// Reads the key of a record in `partition`; `None` when it is no key of ours.
    pub fn parse(partition: i32, bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (of, rest) = text.split_once('/')?;
        if of.parse() != Ok(partition) {
            return None;
        }
        if let Some(rest) = rest.strip_prefix("block/") {
            let (name, piece) = rest.split_once('/')?;
            return Some(Self::Block(BlockName::from_str(name).ok()?, piece.parse().ok()?));
        }
        let mut parts = rest.split('/');
        let owner = parts.next()?.parse().ok()?;
        let slot = match parts.next()? {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => return None,
        };
        let key = match parts.next() {
            None => Self::Manifest(owner, slot),
            Some(chunk) => Self::Chunk(owner, slot, chunk.parse().ok()?),
        };
        parts.next().is_none().then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_what_it_was() {
        let owner = Owner::new(0xbeef);
        let block = BlockName { index: 17, checksum: 0x00c0_ffee };
        for key in
            [Key::Manifest(owner, Slot::A), Key::Chunk(owner, Slot::B, 12), Key::Block(block, 1)]
        {
            let text = key.of(3);
            assert_eq!(Key::parse(3, text.as_bytes()), Some(key), "{text}");
            assert_eq!(Key::parse(4, text.as_bytes()), None, "{text} is of another partition");
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_not_read() {
        for text in [
            "",
            "3",
            "3/",
            "3/block/",
            "3/block/17-0000000000c0ffee",
            "3/block/17-0000000000c0ffee/x",
            "3/xyz/a",
            "3/beef/a",
            "3/000000000000beef/c",
            "3/000000000000beef/a/b",
            "3/000000000000beef/a/1/2",
            "x/000000000000beef/a",
        ] {
            assert_eq!(Key::parse(3, text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Key::parse(3, b"3/\xff/a"), None);
    }
}
