//! Where does a line begin?
//!
//! Every n-th line's place is kept, so that a reader begins there and not at the first byte. At most
//! [`MAX_PLACES`] are kept: when they are full, every other one goes, and n doubles.

#[cfg(test)]
mod tests;

/// 512 KiB of places.
const MAX_PLACES: usize = 65_536;

/// Lines between two places at first; always a divisor of what it is later.
pub(super) const STRIDE: u64 = 64;

/// The places of lines, sampled.
#[derive(Debug)]
pub(super) struct Offsets {
    stride: u64,
    /// `places[i]` is where line `i * stride` (from 0) begins, in bytes.
    places: Vec<u64>,
    max_places: usize,
}

impl Default for Offsets {
    fn default() -> Self {
        Self::with_places(MAX_PLACES)
    }
}

impl Offsets {
    fn with_places(max_places: usize) -> Self {
        Self { stride: STRIDE, places: vec![0], max_places }
    }

    /// The line at `position` begins at `offset`. Every [`STRIDE`]-th line must be added, in order; one
    /// that was added before changes nothing.
    pub(super) fn add(&mut self, position: u64, offset: u64) {
        if position != self.places.len() as u64 * self.stride {
            return;
        }
        self.places.push(offset);
        if self.places.len() >= self.max_places {
            self.places = self.places.iter().step_by(2).copied().collect();
            self.stride *= 2;
        }
    }

    /// The nearest known line at or before `position`, and where it begins.
    pub(super) fn before(&self, position: u64) -> (u64, u64) {
        let known = self.places.len() as u64 - 1;
        let nearest = (position / self.stride).min(known);
        // `nearest` is at most the index of the last place.
        let place = usize::try_from(nearest).ok().and_then(|nearest| self.places.get(nearest));
        (nearest * self.stride, place.copied().unwrap_or(0))
    }
}
