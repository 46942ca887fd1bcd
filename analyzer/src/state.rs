//! Snapshots of tallies in the compacted topic `topn-rsvps-state`, the analyzer's only storage.
//!
//! Partition `p` of the topic holds the state of partition `p` of `raw-rsvps`; records are placed
//! there explicitly. Keys are text ([`Key`]):
//!
//! | key | value |
//! |---|---|
//! | `partition/owner/slot/chunk` | up to 900 kB of an encoded [`Snapshot`](crate::core::snapshot::Snapshot) |
//! | `partition/owner/slot` | the [`Manifest`] of the snapshot in this slot |
//! | `partition/block/name/piece` | up to 900 kB of a [`Block`](crate::core::block::Block) |
//!
//! Compaction keeps what was written last, which is not what is newest: a process that was thought
//! dead may write late. Therefore:
//!
//! - Each taking-over draws an [`Owner`](crate::core::owner::Owner) at random and writes under it alone,
//!   so that nobody overwrites another's snapshot.
//! - An owner has two slots and fills them in turn: while one is being rewritten, the other stands.
//! - Chunks and blocks come before the manifest that names them, and a manifest counts only when
//!   all of them are there and the checksum fits ([`Stored::load`]).
//! - A manifest lists the queries that its snapshot holds. Each query is restored from its own newest
//!   snapshot, so that an owner that knew fewer queries costs the others nothing.
//! - What former owners left is deleted once own snapshots that were acknowledged hold every query of
//!   it. What holds a query that this owner does not know, it never deletes; of several such snapshots
//!   the newest stays. A block goes when no manifest has named it for several snapshots ([`Store`]).
//!
//! Every record is written by an idempotent producer, so the partition's log is in the order of the
//! calls, and a crash leaves a prefix of them.

use std::collections::BTreeMap;

use common::kafka::Kafka;
use common::kafka::reader::Error;
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;

use crate::reader;

mod key;
mod log;
mod manifest;
mod store;

pub use key::{Key, Slot};
pub use log::{Log, Remainder, Stored};
pub use manifest::Manifest;
pub use store::Store;

/// Reads what stands in `partitions` of the state topic.
///
/// # Errors
/// When the client cannot be made, or the stage is told to stop.
pub fn read(
    kafka: &Kafka,
    partitions: &[i32],
    stop: &CancellationToken,
) -> Result<BTreeMap<i32, Log>, Error> {
    let empty = || -> BTreeMap<i32, Log> {
        partitions.iter().map(|&partition| (partition, Log::new(partition))).collect()
    };
    reader::read(kafka, &kafka.topics.state, partitions, stop, empty, |logs, message| {
        if let (Some(log), Some(key)) = (logs.get_mut(&message.partition()), message.key()) {
            log.replay(key, message.payload());
        }
    })
}
