//! Finds out whether an object has a name twice, at any depth, without sorting the names of every object: those names
//! that its [shape](super::shape) does not tell apart.
//!
//! The names of all open objects are on one stack, as positions in the text. Each object has a set of 64 bits,
//! of which a name sets one, chosen by its [`fingerprint`]. Only if that bit is set already can
//! the object have the name, and only then is the name compared with the others. The names of an object with
//! more than [`FEW`] names, or with escapes in one, are sorted when the object ends, so that no payload makes
//! this quadratic.

use common::event::json::Raw;

use super::escapes::resolve;

/// Up to this many names of an object are compared one by one.
const FEW: usize = 32;

/// The names of all open objects, outermost first.
#[derive(Debug, Default)]
pub(super) struct Names {
    open: Vec<Raw>,
    /// Whether an object of the event had a name twice.
    pub(super) duplicate: bool,
}

/// An open object.
#[derive(Debug)]
pub(super) struct Object {
    /// Where its names begin on the stack.
    outer: usize,
    set: u64,
    is_sorted_later: bool,
}

impl Names {
    /// Prepares for the next event.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.duplicate = false;
    }

    /// Begins an object.
    #[inline]
    pub(super) fn enter(&self) -> Object {
        Object { outer: self.open.len(), set: 0, is_sorted_later: false }
    }

    /// Adds a name of the innermost open object.
    #[inline]
    pub(super) fn add(&mut self, object: &mut Object, text: &str, name: Raw) {
        let bytes = text.as_bytes();
        let written = |raw: &Raw| &bytes[raw.start..raw.end];
        if name.escaped || self.open.len() - object.outer >= FEW {
            object.is_sorted_later = true;
        }
        if !object.is_sorted_later {
            let bit = bit(written(&name));
            if object.set & bit != 0 {
                let own = &self.open[object.outer..];
                self.duplicate |= own.iter().any(|other| written(other) == written(&name));
            }
            object.set |= bit;
        }
        self.open.push(name);
    }

    /// Ends the innermost open object.
    #[inline]
    pub(super) fn leave(&mut self, object: &Object, text: &str) {
        if object.is_sorted_later {
            let mut own: Vec<_> =
                self.open[object.outer..].iter().map(|&name| resolve(text, name)).collect();
            own.sort_unstable();
            self.duplicate |= own.windows(2).any(|pair| pair[0] == pair[1]);
        }
        self.open.truncate(object.outer);
    }
}

/// One of 64 bits, chosen by the fingerprint of a name.
#[inline]
fn bit(name: &[u8]) -> u64 {
    1 << (fingerprint(name).wrapping_mul(0x9e37_79b9) >> 26)
}

/// A number made of the length and three bytes of a name. Different names may have the same.
#[inline]
pub(super) fn fingerprint(name: &[u8]) -> u32 {
    let byte = |place: usize| u32::from(name.get(place).copied().unwrap_or(0));
    let length = name.len();
    byte(0)
        ^ (byte(length / 2) << 8)
        ^ (byte(length.wrapping_sub(1)) << 16)
        ^ ((length as u32) << 24)
}
