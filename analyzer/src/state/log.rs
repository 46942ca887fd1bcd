//! What stands in one partition of the state topic.

use std::collections::BTreeMap;

use super::{Key, Manifest, Slot};
use crate::core::block::{Block, BlockName};
use crate::core::owner::Owner;
use crate::core::plan::QueryId;
use crate::core::snapshot::{Blocks, Snapshot};
use crate::core::versioned;

/// The newest value of every key in one partition, and the snapshots that they make.
#[derive(Debug)]
pub struct Log {
    partition: i32,
    manifests: BTreeMap<(Owner, Slot), Vec<u8>>,
    chunks: BTreeMap<(Owner, Slot, u32), Vec<u8>>,
    blocks: BTreeMap<(BlockName, u32), Vec<u8>>,
}

/// A snapshot as its manifest describes it.
#[derive(Debug)]
pub struct Stored<'a> {
    log: &'a Log,
    owner: Owner,
    slot: Slot,
    manifest: Manifest,
}

/// What another owner left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remainder {
    /// Its keys, the manifest first: a snapshot without its manifest is nothing, while a manifest without
    /// its chunks is a line in the log.
    pub keys: Vec<Key>,
    /// The queries that it holds; none when it is of no use to anybody.
    pub queries: Vec<QueryId>,
    /// The blocks that it needs.
    pub blocks: Vec<BlockName>,
}

impl Log {
    /// The log of `partition`, with nothing in it.
    pub fn new(partition: i32) -> Self {
        Self {
            partition,
            manifests: BTreeMap::new(),
            chunks: BTreeMap::new(),
            blocks: BTreeMap::new(),
        }
    }

    /// Whether nobody has stored anything.
    pub fn is_empty(&self) -> bool {
        self.manifests.is_empty()
    }

    /// Takes the next record in; without a value it deletes its key. What has no key of ours is
    /// logged and left alone.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) {
        match Key::parse(self.partition, key) {
            Some(Key::Manifest(owner, slot)) => put(&mut self.manifests, (owner, slot), value),
            Some(Key::Chunk(owner, slot, chunk)) => {
                put(&mut self.chunks, (owner, slot, chunk), value)
            }
            Some(Key::Block(name, piece)) => put(&mut self.blocks, (name, piece), value),
            None => {
                let key = String::from_utf8_lossy(key);
                tracing::warn!(partition = self.partition, %key, "a record with an unknown key stands in the state topic");
            }
        }
    }

    /// The snapshots that stand there, the one with the highest offset first. Those whose manifest cannot
    /// be read are skipped with a line in the log.
    pub fn snapshots(&self) -> impl Iterator<Item = Stored<'_>> + '_ {
        let mut stored: Vec<_> = self
            .manifests
            .iter()
            .filter_map(|(&(owner, slot), bytes)| match Manifest::parse(bytes) {
                Ok(manifest) => Some(Stored { log: self, owner, slot, manifest }),
                Err(error) => {
                    let partition = self.partition;
                    tracing::warn!(partition, %owner, %slot, %error, "a stored snapshot is skipped");
                    None
                }
            })
            .collect();
        stored.sort_by_key(|stored| -stored.manifest.next_offset);
        stored.into_iter()
    }

    /// What stands there of any owner, the snapshot with the highest offset first. What another build
    /// wrote is not among it: only that build can say what it is worth.
    pub fn remainders(&self) -> Vec<Remainder> {
        let mut remainders: Vec<_> = self
            .snapshots()
            .map(|stored| {
                let keys = self.keys(stored.owner, stored.slot);
                let (queries, blocks) = match stored.load() {
                    Ok((snapshot, _)) => (stored.queries(), snapshot.blocks().collect()),
                    Err(_) => (Vec::new(), Vec::new()),
                };
                Remainder { keys, queries, blocks }
            })
            .collect();
        // Pieces of a snapshot that was never finished, and what is no manifest.
        let places = self.manifests.keys().copied();
        let pieces = self.chunks.keys().map(|&(owner, slot, _)| (owner, slot));
        let mut places: Vec<_> = places.chain(pieces).collect();
        places.sort_unstable();
        places.dedup();
        for (owner, slot) in places {
            let useless = match self.manifests.get(&(owner, slot)).map(|m| Manifest::parse(m)) {
                None | Some(Err(versioned::Error::Damaged { .. })) => true,
                Some(Ok(_) | Err(versioned::Error::Version { .. })) => false,
            };
            if useless {
                let keys = self.keys(owner, slot);
                remainders.push(Remainder { keys, queries: Vec::new(), blocks: Vec::new() });
            }
        }
        remainders
    }

    /// Whether another build wrote something, so that nobody here can say which blocks it needs.
    pub fn has_foreign(&self) -> bool {
        let foreign = |bytes: &Vec<u8>| {
            matches!(Manifest::parse(bytes), Err(versioned::Error::Version { .. }))
        };
        self.manifests.values().any(foreign)
    }

    /// The blocks of which pieces stand there, each with the number of the last piece.
    pub fn blocks(&self) -> BTreeMap<BlockName, u32> {
        // Sorted: of one block, the last piece comes last.
        self.blocks.keys().copied().collect()
    }

    fn block(&self, name: BlockName) -> Option<Block> {
        let pieces = self.blocks.range((name, 0)..=(name, u32::MAX));
        Block::read(name, pieces.flat_map(|(_, piece)| piece).copied().collect())
    }

    fn keys(&self, owner: Owner, slot: Slot) -> Vec<Key> {
        let manifest = self.manifests.contains_key(&(owner, slot));
        let manifest = manifest.then_some(Key::Manifest(owner, slot));
        let chunks = self.chunks.range((owner, slot, 0)..=(owner, slot, u32::MAX));
        let chunks = chunks.map(|(&(owner, slot, chunk), _)| Key::Chunk(owner, slot, chunk));
        manifest.into_iter().chain(chunks).collect()
    }
}

impl Stored<'_> {
    /// The first offset that it does not reflect.
    pub fn next_offset(&self) -> i64 {
        self.manifest.next_offset
    }

    /// The queries that it holds.
    pub fn queries(&self) -> Vec<QueryId> {
        self.manifest.queries()
    }

    /// The snapshot, and the blocks that it names.
    ///
    /// # Errors
    /// Why it is not whole.
    pub fn load(&self) -> Result<(Snapshot<'static>, Blocks), String> {
        let Self { log, owner, slot, manifest } = self;
        let mut bytes = Vec::new();
        for chunk in 0..manifest.chunks {
            let piece = log.chunks.get(&(*owner, *slot, chunk));
            bytes.extend_from_slice(piece.ok_or(format!("chunk {chunk} is missing"))?);
        }
        if !manifest.fits(&bytes) {
            return Err("its chunks are not those of its manifest".to_owned());
        }
        let snapshot = Snapshot::decode(&bytes).map_err(|error| error.to_string())?;
        let whole = |name| log.block(name).ok_or(format!("block {name} is missing, or not whole"));
        let blocks = snapshot.blocks().map(whole).collect::<Result<_, _>>()?;
        Ok((snapshot, blocks))
    }
}

fn put<K: Ord>(map: &mut BTreeMap<K, Vec<u8>>, key: K, value: Option<&[u8]>) {
    match value {
        Some(value) => drop(map.insert(key, value.to_vec())),
        None => drop(map.remove(&key)),
    }
}

#[cfg(test)]
mod tests;
