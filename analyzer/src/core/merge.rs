//! One query's answer over all partitions.
//!
//! Partials replace each other per (pane, partition), the highest offset stays; nothing is ever added
//! to what came before. So the answer depends on the set of partials alone, not on their order, on
//! repetitions, or on who merges. A pane shows once the head of its partition reflects as much.
//!
//! A sliding window is the root of a binary tree over its slides. Slide number s has the leaf
//! s mod (size / slide): when the window moves on, the slide that enters takes the leaf of the one that
//! leaves. A pane that changes, a late one too, costs log2(slides) merges, whatever the window's length;
//! and unlike with two stacks, the shape of the tree, and with it the rounding of an overflowing
//! summary, does not depend on the history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::result::{self, Gap, Ranked, TopN};

use crate::core::partial::{Error, Head, Key, Part, Value};
use crate::core::plan::Planned;
use crate::core::query::Window;
use crate::core::sketch::Counted;
use crate::core::summary::Frozen;
use crate::core::window::span;

mod tree;

#[cfg(test)]
mod tests;

use tree::Tree;

/// The partials of one query, merged.
#[derive(Debug)]
pub struct Merge {
    planned: Planned,
    partitions: BTreeMap<i32, Partition>,
    tree: Tree,
    /// `[start, end)` of the slides that the tree holds; before the first result it is empty.
    window: (i64, i64),
    /// Starts of the panes whose leaf is out of date.
    stale: BTreeSet<i64>,
}

/// What came from one partition.
#[derive(Debug, Default)]
struct Partition {
    head: Option<Head>,
    /// By start.
    panes: BTreeMap<i64, Pane>,
    /// Newer panes than the head reflects.
    staged: BTreeMap<i64, Pane>,
}

#[derive(Debug)]
struct Pane {
    next_offset: i64,
    counts: Arc<Frozen>,
}

/// What a partial did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// A head, and with it the panes before it: the result is another one.
    Changed,
    /// A pane that will show with the next head.
    Staged,
    /// Older than what is known, a tombstone, or made by other settings: nothing changed.
    Ignored,
}

impl Merge {
    /// No partial yet.
    pub fn new(planned: &Planned) -> Self {
        let slides = planned.slides().map_or(1, |(slides, _)| slides);
        Self {
            planned: planned.clone(),
            partitions: BTreeMap::new(),
            tree: Tree::new(slides),
            window: (i64::MIN, i64::MIN),
            stale: BTreeSet::new(),
        }
    }

    /// Takes a record of `topn-rsvps-partials` in; its key names this query.
    ///
    /// # Errors
    /// A value that cannot be read; nothing changed.
    pub fn apply(&mut self, key: &Key, value: Option<&[u8]>) -> Result<Applied, Error> {
        let Some(value) = value else { return Ok(Applied::Ignored) };
        match key.part {
            Part::Pane { start_ms } => {
                let Value { fingerprint, next_offset, body } = Value::<Frozen>::decode(value)?;
                let closed = start_ms < self.window.0;
                if fingerprint != self.planned.fingerprint || closed {
                    return Ok(Applied::Ignored);
                }
                let pane = Pane { next_offset, counts: Arc::new(body) };
                Ok(self.partitions.entry(key.partition).or_default().stage(
                    start_ms,
                    pane,
                    &mut self.stale,
                ))
            }
            Part::Head => {
                let Value { fingerprint, body, .. } = Value::<Head>::decode(value)?;
                if fingerprint != self.planned.fingerprint {
                    return Ok(Applied::Ignored);
                }
                Ok(self.partitions.entry(key.partition).or_default().advance(body, &mut self.stale))
            }
        }
    }

    /// The version of [`result`](Self::result), without computing that.
    pub fn version(&self) -> u64 {
        TopN::version_of(&self.offsets())
    }

    fn offsets(&self) -> BTreeMap<i32, i64> {
        let read = self.heads().filter(|(_, head)| head.progress.next_offset > 0);
        read.map(|(partition, head)| (partition, head.progress.next_offset - 1)).collect()
    }

    fn heads(&self) -> impl Iterator<Item = (i32, &Head)> + Clone {
        self.partitions
            .iter()
            .filter_map(|(&partition, state)| Some((partition, state.head.as_ref()?)))
    }

    /// The answer to the newest partials; before any, that of an empty stream.
    pub fn result(&mut self) -> TopN {
        self.bring_up_to_date();
        let query = &self.planned.query;
        let window = match query.window {
            Window::Running => result::Window::Running {},
            Window::Sliding { size_ms, slide_ms } => {
                let (start_ms, end_ms) = self.window;
                result::Window::Sliding {
                    size_ms: size_ms as i64,
                    slide_ms: slide_ms as i64,
                    start_ms,
                    end_ms,
                }
            }
        };
        let empty = Frozen::new(self.planned.capacity);
        let counts = self.tree.root().unwrap_or(&empty);
        let (distinct, distinct_error) = counts.distinct();
        let top = counts.counters().top(query.n);
        let ranked = |counted: &Counted| Ranked {
            item: counted.item.as_str().to_owned(),
            count: counted.count,
            error: counted.error,
        };
        let progress = || self.heads().map(|(_, head)| &head.progress);
        let gaps = self.heads().flat_map(|(partition, head)| {
            head.progress.gaps.iter().map(move |&(from, to)| Gap { partition, from, to })
        });
        let offsets = self.offsets();
        TopN {
            v: result::SCHEMA_VERSION,
            query: query.name.clone(),
            // The core knows of no topic; whoever publishes the result says where.
            stream: String::new(),
            window,
            version: TopN::version_of(&offsets),
            // A window ends after the newest event, so that no watermark has passed its end.
            is_final: false,
            revised: false,
            as_of_ms: progress().filter_map(|progress| progress.watermark_ms).max().unwrap_or(0),
            ingested_ms: progress().filter_map(|progress| progress.ingested_ms).max().unwrap_or(0),
            offsets,
            events: progress().map(|progress| progress.events).sum(),
            duplicates: progress().map(|progress| progress.duplicates).sum(),
            total: counts.counters().total(),
            distinct,
            distinct_error,
            ceiling: counts.counters().ceiling(),
            late: self.heads().map(|(_, head)| head.late).sum(),
            future: progress().map(|progress| progress.future).sum(),
            shed_rate: 0.0,
            gaps: gaps.collect(),
            top: top.into_iter().map(ranked).collect(),
        }
    }

    /// Moves the window to the newest event and makes the leaves that changed anew.
    fn bring_up_to_date(&mut self) {
        let newest = self.heads().filter_map(|(_, head)| head.progress.watermark_ms).max();
        let (slides, slide_ms) = self.planned.slides().unwrap_or((1, 1));
        let window = match (self.planned.slides(), newest) {
            (None, _) => (0, 1),
            (Some(slides), Some(newest)) => span(slides, newest),
            (Some((slides, slide_ms)), None) => (-(slides as i64) * slide_ms, 0),
        };
        if window != self.window {
            // Each slide that enters takes the leaf of one that leaves.
            let held = self.window.1.clamp(window.0, window.1);
            self.stale
                .extend((0..(window.1 - held) / slide_ms).map(|slide| held + slide * slide_ms));
            self.window = window;
            self.partitions.values_mut().for_each(|partition| partition.close_before(window.0));
        }
        let stale = std::mem::take(&mut self.stale);
        let partitions = &self.partitions;
        let leaves = stale.range(window.0..window.1).map(|&start_ms| {
            let panes = partitions.values().filter_map(|partition| partition.panes.get(&start_ms));
            let leaf = panes
                .map(|pane| Arc::clone(&pane.counts))
                .reduce(|merged, next| Arc::new(merged.merge(&next)));
            ((start_ms / slide_ms).rem_euclid(slides as i64) as usize, leaf)
        });
        self.tree.update(leaves.collect());
    }
}

// === impl Partition ===

impl Partition {
    fn stage(&mut self, start_ms: i64, pane: Pane, stale: &mut BTreeSet<i64>) -> Applied {
        let known = [self.panes.get(&start_ms), self.staged.get(&start_ms)];
        if known.into_iter().flatten().any(|known| known.next_offset >= pane.next_offset) {
            return Applied::Ignored;
        }
        if self.reflects(&pane) {
            self.panes.insert(start_ms, pane);
            stale.insert(start_ms);
            return Applied::Changed;
        }
        self.staged.insert(start_ms, pane);
        Applied::Staged
    }

    fn advance(&mut self, head: Head, stale: &mut BTreeSet<i64>) -> Applied {
        if self
            .head
            .as_ref()
            .is_some_and(|known| known.progress.next_offset >= head.progress.next_offset)
        {
            return Applied::Ignored;
        }
        self.head = Some(head);
        for (start_ms, pane) in std::mem::take(&mut self.staged) {
            if self.reflects(&pane) {
                self.panes.insert(start_ms, pane);
                stale.insert(start_ms);
            } else {
                self.staged.insert(start_ms, pane);
            }
        }
        Applied::Changed
    }

    fn reflects(&self, pane: &Pane) -> bool {
        self.head.as_ref().is_some_and(|head| head.progress.next_offset >= pane.next_offset)
    }

    fn close_before(&mut self, start_ms: i64) {
        self.panes = self.panes.split_off(&start_ms);
        self.staged = self.staged.split_off(&start_ms);
    }
}
