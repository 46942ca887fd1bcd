//! Where does a line begin?
//!
//! The offset of every n-th line is kept, so that a reader can begin there instead of at the first byte. At most
//! [`MAX_PLACES`] offsets are kept. When there are so many, every other one is dropped, and n doubles.

#[cfg(test)]
mod tests;

/// These take 512 KiB.
const MAX_PLACES: usize = 65_536;

/// How many lines are between two offsets at first. Later strides are multiples of it.
pub(super) const STRIDE: u64 = 64;

/// The offsets of some of the lines.
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

    /// Adds that the line at `position` begins at `offset`. Every [`STRIDE`]-th line must be added, in order; adding
    /// one again changes nothing.
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

    /// The nearest line at or before `position` whose offset is known, and its offset.
    pub(super) fn before(&self, position: u64) -> (u64, u64) {
        let known = self.places.len() as u64 - 1;
        let nearest = (position / self.stride).min(known);
        // `nearest` is at most the index of the last place.
        let place = usize::try_from(nearest).ok().and_then(|nearest| self.places.get(nearest));
        (nearest * self.stride, place.copied().unwrap_or(0))
    }
}
