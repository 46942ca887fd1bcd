//! What stands in one partition of the state topic.

use std::collections::HashMap;

use super::{Key, Manifest, Owner, Slot};
use crate::core::snapshot::{Slice, SliceName, Snapshot};

/// The newest value of every key in one partition, and the snapshots that they make.
#[derive(Debug)]
pub struct Log {
    partition: i32,
    manifests: HashMap<(Owner, Slot), Vec<u8>>,
    chunks: HashMap<(Owner, Slot, u32), Vec<u8>>,
    slices: HashMap<SliceName, Vec<u8>>,
}

/// A snapshot with all that it needs.
pub struct Candidate {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The slices it names, oldest first.
    pub slices: Vec<Slice>,
}

impl Log {
    /// The log of `partition`, with nothing in it.
    pub fn new(partition: i32) -> Self {
        Self {
            partition,
            manifests: HashMap::new(),
            chunks: HashMap::new(),
            slices: HashMap::new(),
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
            Some(Key::Slice(name)) => put(&mut self.slices, name, value),
            None => {
                let key = String::from_utf8_lossy(key);
                tracing::warn!(partition = self.partition, %key, "a record with an unknown key stands in the state topic");
            }
        }
    }

    /// The snapshots that are whole, the one with the highest offset first. Those that are not are
    /// skipped with a line in the log.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let mut manifests: Vec<_> = self
            .manifests
            .iter()
            .filter_map(|(&(owner, slot), bytes)| match Manifest::parse(bytes) {
                Some(manifest) => Some((manifest, owner, slot)),
                None => {
                    self.skip(owner, slot, "its manifest cannot be read");
                    None
                }
            })
            .collect();
        manifests
            .sort_unstable_by_key(|(manifest, owner, slot)| (-manifest.next_offset, *owner, *slot));
        manifests.into_iter().filter_map(|(manifest, owner, slot)| {
            self.assemble(&manifest, owner, slot).map_err(|why| self.skip(owner, slot, &why)).ok()
        })
    }

    /// Keys that make up snapshots, of whatever owner: manifests first, since a snapshot without its
    /// manifest is nothing, and a manifest without its chunks is a line in the log.
    pub fn snapshot_keys(&self) -> Vec<Key> {
        let manifests = self.manifests.keys().map(|&(owner, slot)| Key::Manifest(owner, slot));
        let chunks = self.chunks.keys().map(|&(owner, slot, chunk)| Key::Chunk(owner, slot, chunk));
        manifests.chain(chunks).collect()
    }

    /// The slices that stand there.
    pub fn slice_names(&self) -> impl Iterator<Item = SliceName> + '_ {
        self.slices.keys().copied()
    }

    fn assemble(&self, manifest: &Manifest, owner: Owner, slot: Slot) -> Result<Candidate, String> {
        let mut bytes = Vec::new();
        for chunk in 0..manifest.chunks {
            let piece = self
                .chunks
                .get(&(owner, slot, chunk))
                .ok_or(format!("chunk {chunk} is missing"))?;
            bytes.extend_from_slice(piece);
        }
        if !manifest.fits(&bytes) {
            return Err("its chunks are not those of its manifest".to_owned());
        }
        let snapshot = Snapshot::decode(&bytes).map_err(|error| error.to_string())?;
        let names = manifest.slices().ok_or("a slice has a damaged name")?;
        let slices = names.into_iter().map(|name| {
            let bytes = self.slices.get(&name).ok_or(format!("slice {name} is missing"))?;
            Slice::decode(name, bytes).map_err(|error| format!("slice {name}: {error}"))
        });
        Ok(Candidate { slices: slices.collect::<Result<_, _>>()?, snapshot })
    }

    fn skip(&self, owner: Owner, slot: Slot, why: &str) {
        tracing::warn!(partition = self.partition, %owner, %slot, why, "a stored snapshot is not whole and is skipped");
    }
}

fn put<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<u8>>, key: K, value: Option<&[u8]>) {
    match value {
        Some(value) => drop(map.insert(key, value.to_vec())),
        None => drop(map.remove(&key)),
    }
}

#[cfg(test)]
mod tests;
