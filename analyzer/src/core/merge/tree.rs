//! A binary tree of summaries: a leaf that changes costs one merge a level.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::summary::Frozen;

/// The tree; its shape depends on nothing but the number of leaves.
#[derive(Debug)]
pub(super) struct Tree {
    /// Node i has the children 2i and 2i + 1; the root is node 1, the leaves are the second half.
    nodes: Vec<Option<Arc<Frozen>>>,
}

impl Tree {
    /// With empty leaves, at least as many as asked for.
    pub(super) fn new(leaves: usize) -> Self {
        Self { nodes: vec![None; 2 * leaves.next_power_of_two()] }
    }

    /// Replaces leaves.
    pub(super) fn update(&mut self, leaves: Vec<(usize, Option<Arc<Frozen>>)>) {
        let first = self.nodes.len() / 2;
        let mut stale = BTreeSet::new();
        for (leaf, counts) in leaves {
            self.nodes[first + leaf] = counts;
            stale.insert(first + leaf);
        }
        loop {
            stale = stale.into_iter().map(|node| node / 2).filter(|&node| node > 0).collect();
            if stale.is_empty() {
                return;
            }
            for &node in &stale {
                self.nodes[node] = match (&self.nodes[2 * node], &self.nodes[2 * node + 1]) {
                    (Some(left), Some(right)) => Some(Arc::new(left.merge(right))),
                    (left, right) => left.as_ref().or(right.as_ref()).map(Arc::clone),
                };
            }
        }
    }

    /// All leaves together; `None` if they are empty.
    pub(super) fn root(&self) -> Option<&Frozen> {
        self.nodes[1].as_deref()
    }
}
