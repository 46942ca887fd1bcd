//! A binary tree of summaries: a leaf that changes costs one merge a level.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::packable::Packable;
use crate::core::summary::Frozen;

/// The tree; its shape depends on nothing but the number of leaves.
#[derive(Debug)]
pub(super) struct Tree {
    /// Node i has the children 2i and 2i + 1; the root is node 1, the leaves are the second half.
    nodes: Vec<Option<Packable>>,
}

impl Tree {
    /// With empty leaves, at least as many as asked for.
    pub(super) fn new(leaves: usize) -> Self {
        Self { nodes: (0..2 * leaves.next_power_of_two()).map(|_| None).collect() }
    }

    /// Replaces leaves.
    pub(super) fn update(&mut self, leaves: Vec<(usize, Option<Arc<Frozen>>)>) {
        let first = self.nodes.len() / 2;
        let mut stale = BTreeSet::new();
        for (leaf, counts) in leaves {
            self.nodes[first + leaf] = counts.map(Packable::new);
            stale.insert(first + leaf);
        }
        loop {
            stale = stale.into_iter().map(|node| node / 2).filter(|&node| node > 0).collect();
            if stale.is_empty() {
                return;
            }
            for &node in &stale {
                let merged = match (self.counts(2 * node), self.counts(2 * node + 1)) {
                    (Some(left), Some(right)) => Some(Arc::new(left.merge(&right))),
                    (left, right) => left.or(right),
                };
                self.nodes[node] = merged.map(Packable::new);
            }
        }
    }

    /// Packs what was not used since this was last called.
    pub(super) fn pack_unused(&mut self) {
        self.nodes.iter_mut().flatten().for_each(Packable::pack_if_unused);
    }

    /// All leaves together; `None` if they are empty.
    pub(super) fn root(&mut self) -> Option<Arc<Frozen>> {
        self.counts(1)
    }

    fn counts(&mut self, node: usize) -> Option<Arc<Frozen>> {
        self.nodes[node].as_mut().map(|counts| Arc::clone(counts.open()))
    }
}
