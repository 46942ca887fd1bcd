//! Snapshots of tallies in the compacted topic `topn-rsvps-state`, the analyzer's only storage.
//!
//! Partition `p` of the topic holds the state of partition `p` of `raw-rsvps`; records are placed
//! there explicitly. Keys are text ([`Key`]):
//!
//! | key | value |
//! |---|---|
//! | `partition/owner/slot/chunk` | up to 900 kB of an encoded [`Snapshot`](crate::core::snapshot::Snapshot) |
//! | `partition/owner/slot` | the [`Manifest`] of the snapshot in this slot |
//! | `partition/slice/name` | a sealed dedupe slice |
//!
//! Compaction keeps what was written last, which is not what is newest: a process that was thought
//! dead may write late. Therefore:
//!
//! - Each taking-over draws an [`Owner`] at random and writes under it alone, so that nobody
//!   overwrites another's snapshot.
//! - An owner has two slots and fills them in turn: while one is being rewritten, the other stands.
//! - Chunks and slices come before the manifest that names them, and a manifest counts only when
//!   all of them are there and the checksum fits ([`Log::candidates`]).
//! - What older owners left is deleted after the first own snapshot was acknowledged; a slice only
//!   when no manifest has named it for several snapshots ([`Store`]).
//!
//! Every record is written by an idempotent producer, so the partition's log is in the order of the
//! calls, and a crash leaves a prefix of them.

mod key;
mod log;
mod manifest;
mod reader;
mod store;

pub use key::{Key, Owner, Slot};
pub use log::{Candidate, Log};
pub use manifest::Manifest;
pub use reader::read;
pub use store::Store;
