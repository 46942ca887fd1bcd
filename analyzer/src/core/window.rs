//! Windows of one query over one partition, as panes: one summary per slide.
//!
//! A slide is `[k · slide, (k + 1) · slide)`; a window is a whole number of slides and ends with the
//! slide of the newest event, so that it covers `[end - size, end)` with `end` the first slide boundary
//! after the watermark. A pane is kept while a window of this partition can need it; an event older
//! than that is *late*: counted, but in no pane. Windows over all partitions end no earlier than this
//! one, so none needs a pane that is gone. A running window is one pane, 0, that never closes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::plan::Planned;
use crate::core::summary::Summary;

#[cfg(test)]
mod tests;

/// Panes of one query over one partition.
#[derive(Debug)]
pub struct Panes {
    /// Number of slides in a window and their length in milliseconds; `None` for a running window.
    slides: Option<(usize, i64)>,
    capacity: usize,
    panes: BTreeMap<i64, Pane>,
    /// First instant that is in a window.
    floor_ms: Option<i64>,
    /// Panes that were published and are needed no more.
    closed: BTreeSet<i64>,
    late: u64,
}

#[derive(Debug)]
struct Pane {
    summary: Summary,
    changed: bool,
}

/// What a snapshot says about [`Panes`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State<'a> {
    panes: Vec<(i64, Cow<'a, Summary>)>,
    closed: Cow<'a, BTreeSet<i64>>,
    floor_ms: Option<i64>,
    late: u64,
}

/// The slides of a sliding window that ends after `newest_ms`: `[start, end)`.
pub(crate) fn span((slides, slide_ms): (usize, i64), newest_ms: i64) -> (i64, i64) {
    let end = (newest_ms.div_euclid(slide_ms) + 1) * slide_ms;
    (end - slides as i64 * slide_ms, end)
}

impl Panes {
    /// No events yet.
    pub fn new(planned: &Planned) -> Self {
        Self {
            slides: planned.slides(),
            capacity: planned.capacity,
            panes: BTreeMap::new(),
            floor_ms: None,
            closed: BTreeSet::new(),
            late: 0,
        }
    }

    /// Moves the window to the watermark; panes that fall out of it are closed.
    #[inline]
    pub fn advance(&mut self, watermark_ms: i64) {
        let Some(slides @ (count, slide_ms)) = self.slides else { return };
        // Most events do not move the window, and need no division to find out.
        let end_ms = |floor_ms: i64| floor_ms + count as i64 * slide_ms;
        if self.floor_ms.is_none_or(|floor_ms| end_ms(floor_ms) <= watermark_ms) {
            let (floor, _) = span(slides, watermark_ms);
            self.floor_ms = Some(floor);
            let kept = self.panes.split_off(&floor);
            let closed = std::mem::replace(&mut self.panes, kept);
            self.closed.extend(closed.into_keys());
        }
    }

    /// The summary that an event of this time is counted in, marked as changed; `None` (and a late event
    /// more) if that pane is closed. A running window takes every time, a sliding one those up to the
    /// watermark that it was advanced to.
    #[inline]
    pub fn at(&mut self, time_ms: i64) -> Option<&mut Summary> {
        let start = match self.slides {
            None => 0,
            Some(_) if self.floor_ms.is_some_and(|floor| time_ms < floor) => {
                self.late += 1;
                return None;
            }
            Some((_, slide_ms)) => time_ms.div_euclid(slide_ms) * slide_ms,
        };
        let capacity = self.capacity;
        let pane = self
            .panes
            .entry(start)
            .or_insert_with(|| Pane { summary: Summary::new(capacity), changed: true });
        pane.changed = true;
        Some(&mut pane.summary)
    }

    /// Whether events without a window of their own (dated in the future) are counted too.
    pub fn is_running(&self) -> bool {
        self.slides.is_none()
    }

    /// Events that came when their pane was closed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Starts of the panes that changed since they were last taken.
    pub(crate) fn changed(&self) -> impl Iterator<Item = i64> + '_ {
        self.panes.iter().filter(|(_, pane)| pane.changed).map(|(&start, _)| start)
    }

    /// A pane to be published; it counts as unchanged from then on.
    pub(crate) fn take(&mut self, start_ms: i64) -> Option<&Summary> {
        let pane = self.panes.get_mut(&start_ms)?;
        pane.changed = false;
        Some(&pane.summary)
    }

    /// Starts of the panes that were closed and whose tombstone is due.
    pub(crate) fn closed(&self) -> impl Iterator<Item = i64> + '_ {
        self.closed.iter().copied()
    }

    /// The tombstone was written.
    pub(crate) fn forget_closed(&mut self, start_ms: i64) {
        self.closed.remove(&start_ms);
    }

    /// All panes count as changed.
    pub(crate) fn touch(&mut self) {
        self.panes.values_mut().for_each(|pane| pane.changed = true);
    }

    pub(crate) fn state(&self) -> State<'_> {
        let borrowed =
            self.panes.iter().map(|(&start, pane)| (start, Cow::Borrowed(&pane.summary)));
        let panes = borrowed.collect();
        State {
            panes,
            closed: Cow::Borrowed(&self.closed),
            floor_ms: self.floor_ms,
            late: self.late,
        }
    }

    /// Goes on from a state; all panes count as changed.
    pub(crate) fn restore(mut self, state: State<'_>) -> Self {
        self.panes = state
            .panes
            .into_iter()
            .map(|(start, summary)| (start, Pane { summary: summary.into_owned(), changed: true }))
            .collect();
        self.closed = state.closed.into_owned();
        self.floor_ms = state.floor_ms;
        self.late = state.late;
        self
    }
}
