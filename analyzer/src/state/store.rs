//! Writing the snapshots of one partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Key, Log, Manifest, Remainder, Slot};
use crate::core::block::{Block, BlockName};
use crate::core::owner::Owner;
use crate::core::plan::QueryId;
use crate::core::snapshot::Snapshot;
use crate::publisher::{Error, Publisher, Record, Ticket};

/// Size of a chunk, and of a block's piece: with its key and headers below the 1 MB that brokers take by default.
const CHUNK_BYTES: usize = 900_000;

/// A block is deleted when so many snapshots were stored since one named it. At the default interval of
/// 5 s these take longer than the session timeout of 6 s, in which an owner learns that it was replaced, so
/// that it deletes nothing that its successor's snapshot names. Where snapshots are stored more often it may:
/// that snapshot is not whole then and is skipped, and an older one or the log is used.
const IDLE_SNAPSHOTS: u32 = 4;

/// The snapshots of one partition, as one owner writes them.
#[derive(Debug)]
pub struct Store {
    topic: Arc<str>,
    partition: i32,
    owner: Owner,
    next: Slot,
    slots: BTreeMap<Slot, Stored>,
    /// What former owners left, newest first.
    remainders: Vec<Remainder>,
    /// The blocks that stand in the topic.
    blocks: BTreeMap<BlockName, Standing>,
    /// Those that are never deleted, because another build may need them.
    kept: BTreeSet<BlockName>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Standing {
    /// The number of its last piece.
    last_piece: u32,
    /// For how many snapshots none has named it.
    idle: u32,
}

#[derive(Debug, Default)]
struct Stored {
    chunks: u32,
    blocks: Vec<BlockName>,
    queries: BTreeSet<QueryId>,
}

#[derive(Debug)]
struct Pending {
    ticket: Arc<Ticket>,
    since: Instant,
    slot: Slot,
    /// Chunks of the slot's earlier snapshot that the new one did not overwrite.
    leftover: Vec<Key>,
}

impl Store {
    /// The store of `owner` for `partition`, where `log` stands.
    pub fn take_over(topic: Arc<str>, partition: i32, owner: Owner, log: &Log) -> Self {
        let blocks = log.blocks();
        let kept =
            if log.has_foreign() { blocks.keys().copied().collect() } else { BTreeSet::new() };
        let standing = |(name, last_piece)| (name, Standing { last_piece, idle: 0 });
        Self {
            topic,
            partition,
            owner,
            kept,
            next: Slot::A,
            slots: BTreeMap::new(),
            remainders: log.remainders(),
            blocks: blocks.into_iter().map(standing).collect(),
            pending: None,
        }
    }

    /// Whether a snapshot is on its way; unless there will be no other occasion, the next one waits for it.
    pub fn busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Sends `snapshot`, before it those of its `blocks` that are not in the topic yet, and returns how
    /// many bytes the snapshot has. [`clean_up`](Self::clean_up) does what is left to do after it.
    ///
    /// # Errors
    /// When the records cannot be handed over.
    pub fn store<'b>(
        &mut self,
        out: &Publisher,
        snapshot: &Snapshot<'_>,
        blocks: impl Iterator<Item = &'b Block>,
    ) -> Result<usize, Error> {
        let ticket = Ticket::new();
        let since = Instant::now();
        for block in blocks {
            let name = block.name();
            if !self.blocks.contains_key(&name) {
                let mut last_piece = 0;
                for (number, piece) in (0..).zip(block.bytes().chunks(CHUNK_BYTES)) {
                    self.put(out, Key::Block(name, number), Some(piece), &ticket)?;
                    last_piece = number;
                }
                self.blocks.insert(name, Standing { last_piece, idle: 0 });
            }
        }
        let slot = self.next;
        let bytes = snapshot.encode();
        let mut chunks = 0;
        for piece in bytes.chunks(CHUNK_BYTES) {
            self.put(out, Key::Chunk(self.owner, slot, chunks), Some(piece), &ticket)?;
            chunks += 1;
        }
        let manifest = Manifest::new(snapshot, &bytes, chunks);
        self.put(out, Key::Manifest(self.owner, slot), Some(&manifest.encode()), &ticket)?;
        let stored = Stored {
            chunks,
            blocks: snapshot.blocks().collect(),
            queries: snapshot.queries().collect(),
        };
        let before = self.slots.insert(slot, stored).unwrap_or_default();
        let mut leftover = self.pending.take().map(|pending| pending.leftover).unwrap_or_default();
        leftover.extend((chunks..before.chunks).map(|chunk| Key::Chunk(self.owner, slot, chunk)));
        self.pending = Some(Pending { ticket, since, slot, leftover });
        self.next = slot.other();
        Ok(bytes.len())
    }

    /// Deletes what the last snapshot made needless, once it is acknowledged; says how long that
    /// took. `None` when there is nothing to do yet.
    ///
    /// # Errors
    /// When the records cannot be handed over.
    pub fn clean_up(&mut self, out: &Publisher) -> Result<Option<Duration>, Error> {
        let Some(pending) = self.pending.take_if(|pending| pending.ticket.acknowledged()) else {
            return Ok(None);
        };
        let deletions = Ticket::new();
        let held = self.slots.get(&pending.slot).map(|stored| stored.queries.clone());
        let needless = take_needless(&mut self.remainders, held.unwrap_or_default());
        for key in needless.into_iter().chain(pending.leftover) {
            self.put(out, key, None, &deletions)?;
        }
        let own = self.slots.values().flat_map(|stored| &stored.blocks);
        let others = self.remainders.iter().flat_map(|remainder| &remainder.blocks);
        let named: BTreeSet<BlockName> = own.chain(others).chain(&self.kept).copied().collect();
        for (name, standing) in &mut self.blocks {
            standing.idle = if named.contains(name) { 0 } else { standing.idle + 1 };
        }
        let gone = self.blocks.extract_if(.., |_, standing| standing.idle >= IDLE_SNAPSHOTS);
        for (name, Standing { last_piece, .. }) in gone.collect::<Vec<_>>() {
            for piece in 0..=last_piece {
                self.put(out, Key::Block(name, piece), None, &deletions)?;
            }
        }
        Ok(Some(pending.since.elapsed()))
    }

    fn put(
        &self,
        out: &Publisher,
        key: Key,
        value: Option<&[u8]>,
        ticket: &Arc<Ticket>,
    ) -> Result<(), Error> {
        let key = key.of(self.partition);
        let partition = Some(self.partition);
        let key = key.as_bytes();
        out.send(Record { topic: &self.topic, partition, key, value, header: None }, ticket)
    }
}

/// Takes off what is of no use beside a snapshot that holds the queries `held`, and gives its keys. Of
/// what holds a query that this owner does not know, the newest stays.
fn take_needless(remainders: &mut Vec<Remainder>, mut held: BTreeSet<QueryId>) -> Vec<Key> {
    let needless = remainders.extract_if(.., |remainder| {
        let needed = remainder.queries.iter().any(|query| !held.contains(query));
        held.extend(remainder.queries.iter().cloned());
        !needed
    });
    needless.flat_map(|remainder| remainder.keys).collect()
}

#[cfg(test)]
mod tests;
