//! The shared history: encoded frames in the order of their sequence.
//!
//! **Invariants.** Everything in `[floor, end)` that there was to show is in the ring: a sequence in
//! that range without a frame held nothing to show. Never more frames, nor more bytes of them, than
//! the limits say. The oldest go first, and `floor` moves on.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use common::protocol::{Cursor, ServerFrame, Update};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How every result frame begins; a snapshot frame differs in nothing else.
const RESULT_HEAD: &str = r#"{"type":"result""#;
const SNAPSHOT_HEAD: &str = r#"{"type":"snapshot""#;

/// A result, encoded for clients.
#[derive(Debug)]
pub struct Frame {
    /// Its place in the stream.
    pub cursor: Cursor,
    /// Which query, see [`State`](super::State).
    pub query: usize,
    /// Its place among the results of its query, from 1.
    pub nth: u64,
    result: Utf8Bytes,
    snapshot: OnceLock<Utf8Bytes>,
}

impl Frame {
    /// Encodes a result.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn encode<T: serde::Serialize>(
        update: Update<T>,
        query: usize,
        nth: u64,
    ) -> serde_json::Result<Self> {
        let cursor = update.cursor;
        let text = serde_json::to_string(&ServerFrame::Result(update))?;
        Ok(Self { cursor, query, nth, result: text.into(), snapshot: OnceLock::new() })
    }

    /// The text of the `result` frame.
    pub fn result(&self) -> Utf8Bytes {
        self.result.clone()
    }

    /// The text of the `snapshot` frame; made when it is wanted first, then `encoded` is called.
    pub fn snapshot(&self, encoded: impl FnOnce()) -> Utf8Bytes {
        let text = self.snapshot.get_or_init(|| {
            encoded();
            let tail = self.result.strip_prefix(RESULT_HEAD).unwrap_or_default();
            format!("{SNAPSHOT_HEAD}{tail}").into()
        });
        text.clone()
    }

    /// What it takes of the ring's bytes.
    pub fn bytes(&self) -> usize {
        self.result.len()
    }
}

/// The history; see the head of the module.
#[derive(Debug)]
pub struct Ring {
    limits: crate::config::Ring,
    entries: VecDeque<Entry>,
    floor: u64,
    end: u64,
    /// Bytes of all frames ever, so that the bytes from any frame on are one subtraction.
    written: u64,
}

#[derive(Debug)]
struct Entry {
    frame: Arc<Frame>,
    /// `written` before this frame.
    start: u64,
}

impl Ring {
    /// An empty history that begins at sequence 0.
    pub const fn new(limits: crate::config::Ring) -> Self {
        Self { limits, entries: VecDeque::new(), floor: 0, end: 0, written: 0 }
    }

    /// The first sequence from which nothing is missing.
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// The sequence that comes next.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Forgets everything; the next sequence is `end`.
    pub fn clear(&mut self, end: u64) {
        self.entries.clear();
        self.floor = end;
        self.end = end;
    }

    /// Sequence `seq` is there. Those between `end` and it are not to be had any more (compaction,
    /// retention), so that the history can only begin here.
    pub fn advance(&mut self, seq: u64) {
        if seq > self.end {
            self.clear(seq);
        }
        self.end = self.end.max(seq + 1);
    }

    /// Adds a frame; those that are too many go.
    pub fn push(&mut self, frame: Arc<Frame>) {
        debug_assert!(frame.cursor.seq >= self.end, "sequences only grow");
        self.advance(frame.cursor.seq);
        let start = self.written;
        self.written += frame.bytes() as u64;
        self.entries.push_back(Entry { frame, start });
        while self.entries.len() > self.limits.frames || self.bytes() > self.limits.bytes as u64 {
            let Some(evicted) = self.entries.pop_front() else { break };
            self.floor = evicted.frame.cursor.seq + 1;
        }
    }

    /// The frames from sequence `next` on.
    pub fn from(&self, next: u64) -> impl Iterator<Item = &Arc<Frame>> {
        self.entries.range(self.index(next)..).map(|entry| &entry.frame)
    }

    /// How much of the ring lies between `next` and its end, in percent of its limits; 100 when
    /// `next` is no longer there.
    pub fn percent_behind(&self, next: u64) -> u8 {
        if next >= self.end {
            return 0;
        }
        if next < self.floor {
            return 100;
        }
        let index = self.index(next);
        let frames = (self.entries.len() - index) * 100 / self.limits.frames;
        let bytes = self
            .entries
            .get(index)
            .map_or(0, |entry| (self.written - entry.start) * 100 / self.limits.bytes as u64);
        u8::try_from((frames as u64).max(bytes).min(100)).unwrap_or(100)
    }

    /// Bytes of the frames in the ring.
    pub fn bytes(&self) -> u64 {
        self.entries.front().map_or(0, |first| self.written - first.start)
    }

    fn index(&self, next: u64) -> usize {
        self.entries.partition_point(|entry| entry.frame.cursor.seq < next)
    }
}

#[cfg(test)]
mod tests;
