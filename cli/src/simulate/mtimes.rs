//! Where was the first line with an `mtime` of at least T?
//!
//! The first line at or above T is the first one that raises the *running maximum* to T or above. So a
//! maximum for each block of lines is enough: a binary search finds the block, and a scan of that block the line.
//! At most [`MAX_BLOCKS`] blocks are kept. When there are so many, pairs of them are joined, which doubles the scan.

#[cfg(test)]
mod tests;

/// 512 KiB of maxima.
const MAX_BLOCKS: usize = 65_536;

/// Lines per block at first.
const STRIDE: u64 = 64;

/// The running maximum of `mtime`, sampled. Lines are added in order, each once.
#[derive(Debug)]
pub(super) struct Mtimes {
    stride: u64,
    /// `maxima[b]` is the newest `mtime` among the first `(b + 1) * stride` lines.
    maxima: Vec<i64>,
    newest: i64,
    lines: u64,
    max_blocks: usize,
}

impl Mtimes {
    pub(super) const fn new() -> Self {
        Self::with_blocks(MAX_BLOCKS)
    }

    const fn with_blocks(max_blocks: usize) -> Self {
        Self { stride: STRIDE, maxima: Vec::new(), newest: i64::MIN, lines: 0, max_blocks }
    }

    /// Adds the next line; `None` for one without an `mtime`.
    pub(super) fn push(&mut self, mtime_ms: Option<i64>) {
        self.newest = self.newest.max(mtime_ms.unwrap_or(i64::MIN));
        self.lines += 1;
        if self.lines.is_multiple_of(self.stride) {
            self.maxima.push(self.newest);
            if self.maxima.len() == self.max_blocks {
                self.maxima = self.maxima.chunks_exact(2).map(|pair| pair[1]).collect();
                self.stride *= 2;
            }
        }
    }

    /// The position at which to begin a search for the first line with `mtime >= since_ms`: that line is there or
    /// less than a block later. `None` if there is no such line yet.
    pub(super) fn look_from(&self, since_ms: i64) -> Option<u64> {
        let block = self.maxima.partition_point(|&newest| newest < since_ms);
        (self.newest >= since_ms).then(|| block as u64 * self.stride)
    }
}
