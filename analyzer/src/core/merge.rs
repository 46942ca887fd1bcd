//! One query's answer over all partitions.
//!
//! Partials replace each other per (pane, partition), the highest offset stays; nothing is ever added
//! to what came before. So the answer depends on the set of partials alone, not on their order, on
//! repetitions, or on who merges. A pane shows once the head of its partition reflects as much.
//!
//! The window ends with the highest watermark of the partitions that lead. One does not lead while its time
//! is not confirmed, or when it is *idle*, because its newest record is older by `idle` than the newest of
//! all: then it moves the window by at most `max_jump` beyond the others, so that what steered one partition
//! and was never outweighed there does not empty the rest. Panes are kept as long as
//! their own partition keeps them, since the window goes back when the partition that led it falls idle.
//! A partition that is not idle and yet lags by more than a whole window is in no result: what it keeps
//! counts as late.
//!
//! A sliding window is the root of a binary tree over its slides. Slide number s has the leaf
//! s mod (size / slide): when the window moves on, the slide that enters takes the leaf of the one that
//! leaves. A pane that changes, a late one too, costs log2(slides) merges, whatever the window's length;
//! and unlike with two stacks, the shape of the tree, and with it the rounding of an overflowing
//! summary, does not depend on the history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::result::missed::Missed;
use common::result::{self, Gap, Ranked, TopN};

use crate::core::partial::{Error, Head, Key, Part, Value};
use crate::core::plan::Planned;
use crate::core::query::Window;
use crate::core::sketch::Counted;
use crate::core::summary::Frozen;
use crate::core::window::Slides;

mod packable;
mod tree;

#[cfg(test)]
mod tests;

use packable::Packable;
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
    /// Mentions that it counts.
    total: u64,
    counts: Packable,
}

/// What a partial did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// A head, and with it the panes before it: the result is another one.
    Changed,
    /// A pane that will show with the next head.
    Staged,
    /// Older than what is known, too old to be kept, a tombstone, or made by other settings: nothing changed.
    Ignored,
}

impl Merge {
    /// No partial yet.
    pub fn new(planned: &Planned) -> Self {
        let slides = planned.slides().map_or(1, |slides| slides.count);
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
                if fingerprint != self.planned.fingerprint {
                    return Ok(Applied::Ignored);
                }
                let total = body.counters().total();
                let counts = Packable::new(Arc::new(body));
                let pane = Pane { next_offset, total, counts };
                let partition = self.partitions.entry(key.partition).or_default();
                Ok(partition.stage(start_ms, pane, self.planned.slides(), &mut self.stale))
            }
            Part::Head => {
                let Value { fingerprint, body, .. } = Value::<Head>::decode(value)?;
                if fingerprint != self.planned.fingerprint {
                    return Ok(Applied::Ignored);
                }
                let partition = self.partitions.entry(key.partition).or_default();
                Ok(partition.advance(body, self.planned.slides(), &mut self.stale))
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
        let watermark_ms = self.watermark_ms();
        self.bring_up_to_date(watermark_ms);
        let query = &self.planned.query;
        let window = match query.window {
            Window::Running => result::Window::Running {},
            Window::Sliding(window) => {
                let (start_ms, end_ms) = self.window;
                let (size_ms, slide_ms) = (window.size_ms(), window.slide_ms());
                result::Window::Sliding { size_ms, slide_ms, start_ms, end_ms }
            }
        };
        let counts = self.tree.root();
        let counts = counts.unwrap_or_else(|| Arc::new(Frozen::new(self.planned.capacity)));
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
        let mut missed = Missed::default();
        progress().for_each(|progress| missed.absorb(&progress.missed));
        TopN {
            v: result::SCHEMA_VERSION,
            query: query.name.clone(),
            // The core knows of no topic; whoever publishes the result says where.
            stream: String::new(),
            window,
            version: TopN::version_of(&offsets),
            as_of_ms: watermark_ms.unwrap_or(0),
            ingested_ms: progress().filter_map(|progress| progress.ingested_ms).max().unwrap_or(0),
            offsets,
            events: progress().map(|progress| progress.events).sum(),
            duplicates: progress().map(|progress| progress.duplicates).sum(),
            total: counts.counters().total(),
            distinct,
            distinct_error,
            ceiling: counts.counters().ceiling(),
            late: self.heads().map(|(_, head)| head.late).sum::<u64>() + self.left_behind(),
            untimed: progress().map(|progress| progress.untimed).sum(),
            future: progress().map(|progress| progress.future + progress.waiting).sum(),
            gaps: gaps.collect(),
            missed,
            top: top.into_iter().map(ranked).collect(),
        }
    }

    /// The watermark that the window follows: the highest of the leading partitions, and from there in
    /// steps of at most `max_jump` those of the others.
    fn watermark_ms(&self) -> Option<i64> {
        let watermarks = self.heads().filter_map(|(_, head)| head.progress.watermark_ms);
        let mut watermarks: Vec<i64> = watermarks.collect();
        watermarks.sort_unstable();
        let leading = self.leading().filter_map(|(_, head)| head.progress.watermark_ms).max();
        let follow = |reached_ms: i64, &next_ms: &i64| {
            let is_small_step = next_ms <= reached_ms.saturating_add(self.planned.max_jump_ms);
            if is_small_step { reached_ms.max(next_ms) } else { reached_ms }
        };
        let first_ms = leading.or(watermarks.first().copied())?;
        Some(watermarks.iter().fold(first_ms, follow))
    }

    /// The partitions that are not idle and whose time is confirmed.
    fn leading(&self) -> impl Iterator<Item = (i32, &Head)> {
        let newest_ms = self.heads().filter_map(|(_, head)| head.progress.recorded_ms).max();
        let oldest_ms = newest_ms.map(|newest_ms| newest_ms.saturating_sub(self.planned.idle_ms));
        let is_active = move |head: &Head| head.progress.recorded_ms >= oldest_ms;
        self.heads().filter(move |(_, head)| head.progress.is_confirmed && is_active(head))
    }

    /// Mentions that an active partition keeps and whose windows this one has left behind.
    fn left_behind(&self) -> u64 {
        let Some(slides) = self.planned.slides() else { return 0 };
        let (start_ms, _) = self.window;
        let lags = |head: &Head| {
            let window = head.progress.watermark_ms.map(|watermark_ms| slides.window(watermark_ms));
            window.is_some_and(|(_, end_ms)| end_ms <= start_ms)
        };
        let lagging = self.leading().filter(|(_, head)| lags(head));
        let panes = lagging.flat_map(|(partition, _)| self.partitions[&partition].panes.values());
        panes.map(|pane| pane.total).sum()
    }

    /// Moves the window to the watermark and makes the leaves that changed anew.
    fn bring_up_to_date(&mut self, watermark_ms: Option<i64>) {
        let (count, slide_ms) =
            self.planned.slides().map_or((1, 1), |slides| (slides.count as i64, slides.slide_ms));
        let window = match (self.planned.slides(), watermark_ms) {
            (None, _) => (0, 1),
            (Some(slides), Some(watermark_ms)) => slides.window(watermark_ms),
            (Some(_), None) => (-count * slide_ms, 0),
        };
        if window != self.window {
            // Each slide that enters, at either end, takes the leaf of one that leaves.
            let held =
                self.window.0.clamp(window.0, window.1)..self.window.1.clamp(window.0, window.1);
            let slides = (0..count).map(|slide| window.0 + slide * slide_ms);
            self.stale.extend(slides.filter(|start_ms| !held.contains(start_ms)));
            self.window = window;
            self.pack_unused();
        }
        let stale = std::mem::take(&mut self.stale);
        let partitions = &mut self.partitions;
        let leaves = stale.range(window.0..window.1).map(|&start_ms| {
            let panes =
                partitions.values_mut().filter_map(|partition| partition.panes.get_mut(&start_ms));
            let leaf = panes
                .map(|pane| Arc::clone(pane.counts.open()))
                .reduce(|merged, next| Arc::new(merged.merge(&next)));
            ((start_ms / slide_ms).rem_euclid(count) as usize, leaf)
        });
        self.tree.update(leaves.collect());
    }

    /// Packs what was not used since the window moved last.
    fn pack_unused(&mut self) {
        let panes = self.partitions.values_mut().flat_map(|partition| partition.panes.values_mut());
        panes.for_each(|pane| pane.counts.pack_if_unused());
        self.tree.pack_unused();
    }
}

// === impl Partition ===

impl Partition {
    fn stage(
        &mut self,
        start_ms: i64,
        pane: Pane,
        slides: Option<Slides>,
        stale: &mut BTreeSet<i64>,
    ) -> Applied {
        let known = [self.panes.get(&start_ms), self.staged.get(&start_ms)];
        if known.into_iter().flatten().any(|known| known.next_offset >= pane.next_offset) {
            return Applied::Ignored;
        }
        if !self.reflects(&pane) {
            self.staged.insert(start_ms, pane);
            return Applied::Staged;
        }
        if self.floor_ms(slides).is_some_and(|floor_ms| start_ms < floor_ms) {
            return Applied::Ignored;
        }
        self.panes.insert(start_ms, pane);
        stale.insert(start_ms);
        Applied::Changed
    }

    fn advance(
        &mut self,
        head: Head,
        slides: Option<Slides>,
        stale: &mut BTreeSet<i64>,
    ) -> Applied {
        let next_offset = head.progress.next_offset;
        if self.head.as_ref().is_some_and(|known| known.progress.next_offset >= next_offset) {
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
        if let Some(floor_ms) = self.floor_ms(slides) {
            let kept = self.panes.split_off(&floor_ms);
            let closed = std::mem::replace(&mut self.panes, kept);
            stale.extend(closed.into_keys());
        }
        Applied::Changed
    }

    fn reflects(&self, pane: &Pane) -> bool {
        self.head.as_ref().is_some_and(|head| head.progress.next_offset >= pane.next_offset)
    }

    /// First instant that the partition itself keeps.
    fn floor_ms(&self, slides: Option<Slides>) -> Option<i64> {
        let progress = &self.head.as_ref()?.progress;
        // Before its time is confirmed, a partition keeps all.
        Some(slides?.floor_ms(progress.watermark_ms.filter(|_| progress.is_confirmed)?))
    }
}
