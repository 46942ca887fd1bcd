//! The shared history: encoded frames in the order of their sequence.
//!
//! **Invariants.** The ring holds every frame of the range `[floor, end)`: a sequence in that range
//! without a frame held nothing to show. There are never more frames, or more bytes of frames, than the
//! limits allow: the oldest frames are dropped first, and `floor` moves on.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::Frame;
use crate::limits::RingLimits;

/// Of the frames that were dropped, this many times `ring.frames` are remembered by their sequence and query,
/// so that a client that comes back too late is told how many results it missed.
const REMEMBERED: usize = 16;

/// The history; see the [module](self).
#[derive(Debug)]
pub struct Ring {
    limits: RingLimits,
    entries: VecDeque<Entry>,
    /// Sequence and query of frames that were dropped.
    gone: VecDeque<(u64, usize)>,
    /// From this sequence on every frame is in `entries` or `gone`.
    remembered_from: u64,
    floor: u64,
    end: u64,
    /// Bytes of all frames ever added, so that the bytes from any frame on are one subtraction.
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
    pub const fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            gone: VecDeque::new(),
            remembered_from: 0,
            floor: 0,
            end: 0,
            written: 0,
        }
    }

    /// The first sequence from which nothing is missing.
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// The sequence that the next record will have, at least.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Forgets everything; the next sequence is `end`.
    pub fn clear(&mut self, end: u64) {
        self.entries.clear();
        self.gone.clear();
        self.remembered_from = end;
        self.floor = end;
        self.end = end;
    }

    /// The record at sequence `seq` was read. If it lies beyond `end`, Kafka has removed the records between
    /// (compaction, retention), so the history is cleared and begins at `seq`.
    pub fn advance(&mut self, seq: u64) {
        if seq > self.end {
            self.clear(seq);
        }
        self.end = self.end.max(seq + 1);
    }

    /// Adds a frame, and drops the oldest ones that exceed the limits.
    pub fn push(&mut self, frame: Arc<Frame>) {
        debug_assert!(frame.cursor.seq >= self.end, "sequences only grow");
        self.advance(frame.cursor.seq);
        let start = self.written;
        self.written += frame.bytes() as u64;
        self.entries.push_back(Entry { frame, start });
        while self.entries.len() > self.limits.frames || self.bytes() > self.limits.bytes as u64 {
            let Some(evicted) = self.entries.pop_front() else { break };
            self.floor = evicted.frame.cursor.seq + 1;
            self.gone.push_back((evicted.frame.cursor.seq, evicted.frame.query));
            if self.gone.len() > REMEMBERED * self.limits.frames
                && let Some((seq, _)) = self.gone.pop_front()
            {
                self.remembered_from = seq + 1;
            }
        }
    }

    /// How many frames of the `wanted` queries there have been from sequence `next` on. `None` when some of
    /// them are no longer remembered.
    pub fn count_from(&self, next: u64, wanted: impl Fn(usize) -> bool) -> Option<u64> {
        if next < self.remembered_from {
            return None;
        }
        let first = self.gone.partition_point(|&(seq, _)| seq < next);
        let gone = self.gone.range(first..).filter(|&&(_, query)| wanted(query)).count();
        let here = self.from(next).filter(|frame| wanted(frame.query)).count();
        Some((gone + here) as u64)
    }

    /// Frames and bytes in percent of what the ring may hold: the larger of the two, at most 100.
    pub fn percent(&self, frames: u64, bytes: u64) -> u8 {
        let part = |value: u64, limit: usize| value.saturating_mul(100) / limit as u64;
        let percent = part(frames, self.limits.frames).max(part(bytes, self.limits.bytes));
        u8::try_from(percent.min(100)).unwrap_or(100)
    }

    /// The frames from sequence `next` on.
    pub fn from(&self, next: u64) -> impl Iterator<Item = &Arc<Frame>> {
        self.entries.range(self.index(next)..).map(|entry| &entry.frame)
    }

    /// How much lies between `next` and the ring's end, in percent of the ring's limits; 100 when `next`
    /// is below `floor`.
    pub fn percent_behind(&self, next: u64) -> u8 {
        if next >= self.end {
            return 0;
        }
        if next < self.floor {
            return 100;
        }
        let index = self.index(next);
        let bytes = self.entries.get(index).map_or(0, |entry| self.written - entry.start);
        self.percent((self.entries.len() - index) as u64, bytes)
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
