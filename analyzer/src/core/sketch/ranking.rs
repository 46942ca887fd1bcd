//! Which of two counted items comes first.

use std::cmp::{Ordering, Reverse};

use super::Counted;

impl Counted {
    /// By rank: the larger count first, and of equal counts the smaller text.
    pub(super) fn rank(&self, other: &Self) -> Ordering {
        (Reverse(self.count), &self.item).cmp(&(Reverse(other.count), &other.item))
    }

    /// By hash and text, which depends on nothing but the item.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.item.cmp(&other.item))
    }
}
