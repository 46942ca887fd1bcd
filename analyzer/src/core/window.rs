//! Windows of one query over one partition, as panes: one summary per slide.
//!
//! A slide is `[k · slide, (k + 1) · slide)`; a window is a whole number of slides and ends with the slide
//! in which the watermark, less the query's `skew`, is. A pane is kept for `lateness` (in whole slides) after
//! the window has left it. A mention that is older is *late*: counted as such, and in no pane. Panes beyond
//! the window's end, up to the watermark, are there before the window comes to them. A running window is one
//! pane, 0, that never closes and takes every event.
//!
//! When the watermark moves to another slide, the panes before that slide are *sealed*: packed into
//! [blocks](crate::core::block), which need less memory and are stored once, not with every snapshot.
//! A mention that comes for a sealed pane opens it again.
//!
//! Events whose time is not confirmed (see [`watermark`](crate::core::watermark)) are kept each by itself, as
//! *candidates*, and join their pane when their time is taken. While the watermark is early all events are
//! candidates, and the panes are made anew from those that serve: nothing is closed or late then.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::block::{Block, BlockName, Blocks, Error};
use crate::core::query::Sliding;
use crate::core::summary::Summary;
use crate::core::versioned::Format;
use crate::core::watermark::{Observed, Place, Watermark};

#[cfg(test)]
mod tests;

/// Of a sealed pane: its summary.
const FORMAT: Format = Format::new("a pane", 1, 1);

/// Panes of one query over one partition.
#[derive(Debug)]
pub struct Panes {
    /// `None` for a running window.
    slides: Option<Slides>,
    capacity: usize,
    /// Those that are not sealed.
    open: BTreeMap<i64, Pane<Summary>>,
    sealed: BTreeMap<i64, Pane<Block>>,
    /// First instant that is kept; none before a time is confirmed.
    floor_ms: Option<i64>,
    /// Panes that were published and are needed no more.
    closed: BTreeSet<i64>,
    /// Oldest first.
    candidates: Vec<Candidate>,
    is_early: bool,
    late: u64,
    /// Mentions taken in, for the metrics alone: no state holds it.
    mentions: u64,
}

#[derive(Debug)]
struct Pane<T> {
    summary: T,
    changed: bool,
}

/// The mentions of an event whose time is not confirmed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Candidate {
    offset: i64,
    time_ms: i64,
    summary: Summary,
}

/// What a snapshot says about [`Panes`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State<'a> {
    open: Vec<(i64, Cow<'a, Summary>)>,
    sealed: Vec<(i64, BlockName)>,
    closed: Cow<'a, BTreeSet<i64>>,
    candidates: Cow<'a, [Candidate]>,
    is_early: bool,
    floor_ms: Option<i64>,
    late: u64,
}

/// When an event happened, as far as windows are concerned, and which record it came with.
#[derive(Debug, Clone, Copy)]
pub struct Dated {
    /// Offset of its record.
    pub offset: i64,
    /// Its time.
    pub time_ms: i64,
    /// What that did to the watermark.
    pub observed: Observed,
}

/// A sliding window in whole slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slides {
    /// In a window.
    pub(crate) count: usize,
    /// Length of each.
    pub(crate) slide_ms: i64,
    /// How many are kept: those of the window, and those that late mentions may still join.
    kept: i64,
    skew_ms: i64,
}

// === impl Slides ===

impl Slides {
    pub(crate) fn new(window: &Sliding) -> Self {
        let slide_ms = window.slide_ms().max(1);
        let count = window.size_ms() / slide_ms;
        let late = window.lateness_ms().div_euclid(slide_ms)
            + i64::from(window.lateness_ms() % slide_ms > 0);
        Self { count: count as usize, slide_ms, kept: count + late, skew_ms: window.skew_ms() }
    }

    /// First instant after the window.
    fn end_ms(&self, watermark_ms: i64) -> i64 {
        ((watermark_ms - self.skew_ms).div_euclid(self.slide_ms) + 1) * self.slide_ms
    }

    /// The window `[start, end)` for a watermark.
    pub(crate) fn window(&self, watermark_ms: i64) -> (i64, i64) {
        let end_ms = self.end_ms(watermark_ms);
        (end_ms - self.count as i64 * self.slide_ms, end_ms)
    }

    /// First instant that is kept.
    pub(crate) fn floor_ms(&self, watermark_ms: i64) -> i64 {
        self.end_ms(watermark_ms) - self.kept * self.slide_ms
    }

    /// First instant of the slide that a time is in.
    fn start_ms(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.slide_ms) * self.slide_ms
    }
}

// === impl Panes ===

impl Panes {
    /// No events yet.
    pub(crate) fn new(slides: Option<Slides>, capacity: usize) -> Self {
        Self {
            slides,
            capacity,
            open: BTreeMap::new(),
            sealed: BTreeMap::new(),
            floor_ms: None,
            closed: BTreeSet::new(),
            candidates: Vec::new(),
            is_early: true,
            late: 0,
            mentions: 0,
        }
    }

    /// Counts an event's mentions: in its window, or as late, or, if its time is not confirmed, once it is.
    /// An event without a time that can be used (`None`) counts in a running window only. False if it
    /// mentions nothing.
    #[inline]
    pub fn add<'m>(
        &mut self,
        event: Option<Dated>,
        watermark: &Watermark,
        mentions: impl Iterator<Item = (u64, &'m str)>,
    ) -> bool {
        let mut mentions = mentions.peekable();
        let is_match = mentions.peek().is_some();
        let Some(slides) = self.slides else {
            if is_match {
                self.mentions += fill(self.pane(0), mentions);
            }
            return is_match;
        };
        let Some(Dated { offset, time_ms, observed }) = event else { return is_match };
        if observed == Observed::Rearranged {
            if is_match {
                let mut summary = Summary::new(self.capacity);
                self.mentions += fill(&mut summary, mentions);
                self.candidates.push(Candidate { offset, time_ms, summary });
            }
            self.rearrange(slides, watermark);
            return is_match;
        }
        self.advance(slides, watermark);
        if self.is_late(time_ms) {
            self.late += mentions.count() as u64;
        } else if is_match {
            self.mentions += fill(self.pane(slides.start_ms(time_ms)), mentions);
        }
        is_match
    }

    /// Moves the window to the watermark: panes before the watermark's slide are sealed, and those that are
    /// kept no more are closed.
    #[inline]
    fn advance(&mut self, slides: Slides, watermark: &Watermark) {
        let Some(watermark_ms) = watermark.time_ms() else { return };
        // Most events do not move the window, and need no division to find out.
        let end_ms = |floor_ms: i64| floor_ms + slides.kept * slides.slide_ms + slides.skew_ms;
        if self.floor_ms.is_none_or(|floor_ms| end_ms(floor_ms) <= watermark_ms) {
            let floor_ms = slides.floor_ms(watermark_ms);
            self.floor_ms = Some(floor_ms);
            self.seal(slides.start_ms(watermark_ms));
            let kept = self.sealed.split_off(&floor_ms);
            let closed = std::mem::replace(&mut self.sealed, kept);
            self.closed.extend(closed.into_keys());
        }
    }

    /// Packs the panes that start before this instant, which is not before the floor.
    #[cold]
    fn seal(&mut self, before_ms: i64) {
        let open = self.open.split_off(&before_ms);
        for (start_ms, Pane { summary, changed }) in std::mem::replace(&mut self.open, open) {
            let summary = Block::new(start_ms, FORMAT.encode(&summary));
            self.sealed.insert(start_ms, Pane { summary, changed });
        }
    }

    /// Puts the candidates where the watermark has them now.
    #[cold]
    fn rearrange(&mut self, slides: Slides, watermark: &Watermark) {
        if self.is_early {
            // All events so far are candidates, and none is late yet.
            for pane in self.open.values_mut() {
                *pane = Pane { summary: Summary::new(self.capacity), changed: true };
            }
        } else {
            self.advance(slides, watermark);
        }
        for candidate in std::mem::take(&mut self.candidates) {
            let Candidate { offset, time_ms, ref summary } = candidate;
            let place = watermark.place(offset, time_ms);
            match place {
                Place::Provisional | Place::Taken if self.is_late(time_ms) => {
                    self.late += summary.total()
                }
                Place::Provisional | Place::Taken => {
                    self.pane(slides.start_ms(time_ms)).absorb(summary)
                }
                Place::Waiting | Place::GivenUp => {}
            }
            if matches!(place, Place::Provisional | Place::Waiting) {
                self.candidates.push(candidate);
            }
        }
        self.is_early = watermark.is_early();
        if !self.is_early {
            self.advance(slides, watermark);
        }
    }

    #[inline]
    fn is_late(&self, time_ms: i64) -> bool {
        self.floor_ms.is_some_and(|floor_ms| time_ms < floor_ms)
    }

    /// The summary of a slide, marked as changed.
    #[inline]
    fn pane(&mut self, start_ms: i64) -> &mut Summary {
        let (capacity, sealed) = (self.capacity, &mut self.sealed);
        let pane = self.open.entry(start_ms).or_insert_with(|| {
            let summary = match sealed.remove(&start_ms) {
                Some(pane) => unpack(&pane.summary),
                None => Summary::new(capacity),
            };
            Pane { summary, changed: true }
        });
        pane.changed = true;
        &mut pane.summary
    }

    /// Mentions that were taken in since this was made or restored; those that came too late are not among them.
    pub fn mentions(&self) -> u64 {
        self.mentions
    }

    /// Mentions that came when their pane was closed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Starts of the panes that changed since they were last published.
    pub(crate) fn changed(&self) -> impl Iterator<Item = i64> + '_ {
        let sealed = self.sealed.iter().filter(|(_, pane)| pane.changed).map(|(&start, _)| start);
        sealed.chain(self.open.iter().filter(|(_, pane)| pane.changed).map(|(&start, _)| start))
    }

    /// A pane, which counts as unchanged from then on: it is being published.
    pub(crate) fn publish(&mut self, start_ms: i64) -> Option<Cow<'_, Summary>> {
        if let Some(pane) = self.open.get_mut(&start_ms) {
            pane.changed = false;
            return Some(Cow::Borrowed(&pane.summary));
        }
        let pane = self.sealed.get_mut(&start_ms)?;
        pane.changed = false;
        Some(Cow::Owned(unpack(&pane.summary)))
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
        self.open.values_mut().for_each(|pane| pane.changed = true);
        self.sealed.values_mut().for_each(|pane| pane.changed = true);
    }

    /// The sealed panes.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> + '_ {
        self.sealed.values().map(|pane| &pane.summary)
    }

    pub(crate) fn state(&self) -> State<'_> {
        let open = self.open.iter().map(|(&start, pane)| (start, Cow::Borrowed(&pane.summary)));
        let sealed = self.sealed.iter().map(|(&start, pane)| (start, pane.summary.name()));
        State {
            open: open.collect(),
            sealed: sealed.collect(),
            closed: Cow::Borrowed(&self.closed),
            candidates: Cow::Borrowed(&self.candidates),
            is_early: self.is_early,
            floor_ms: self.floor_ms,
            late: self.late,
        }
    }

    /// Goes on from a state; all panes count as changed.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], and [`Error::Unreadable`] for a block that is not a pane.
    pub(crate) fn restore(mut self, state: State<'_>, blocks: &Blocks) -> Result<Self, Error> {
        let State { open, sealed, closed, candidates, is_early, floor_ms, late } = state;
        let pane = |(start, summary): (i64, Cow<'_, Summary>)| {
            (start, Pane { summary: summary.into_owned(), changed: true })
        };
        self.open = open.into_iter().map(pane).collect();
        for (start_ms, name) in sealed {
            let summary = blocks.get(name)?.clone();
            FORMAT.decode::<Summary>(summary.bytes())?;
            self.sealed.insert(start_ms, Pane { summary, changed: true });
        }
        self.closed = closed.into_owned();
        self.candidates = candidates.into_owned();
        self.is_early = is_early;
        self.floor_ms = floor_ms;
        self.late = late;
        Ok(self)
    }

    /// Goes on with another watermark, that of the queries which this one joins.
    pub(crate) fn follow(&mut self, watermark: &Watermark) {
        if let Some(slides) = self.slides {
            self.rearrange(slides, watermark);
        }
    }
}

// === impl State ===

impl State<'_> {
    pub(crate) fn blocks(&self) -> impl Iterator<Item = BlockName> + '_ {
        self.sealed.iter().map(|&(_, name)| name)
    }
}

/// Adds mentions to a summary, and says how many they are.
#[inline]
fn fill<'m>(summary: &mut Summary, mentions: impl Iterator<Item = (u64, &'m str)>) -> u64 {
    let before = summary.total();
    mentions.for_each(|(hash, item)| summary.add(hash, item));
    summary.total() - before
}

/// The summary of a sealed pane.
fn unpack(block: &Block) -> Summary {
    #[expect(clippy::expect_used, reason = "sealed here, or read once when it was restored")]
    FORMAT.decode(block.bytes()).expect("a sealed pane is a summary")
}
