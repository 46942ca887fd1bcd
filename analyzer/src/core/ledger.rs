//! The books of a partition: what became of each of its offsets, by minute of record time.
//!
//! Each offset that the tally goes through is entered once, so that the sum of all entries is the number of offsets
//! from the beginning of the partition to the tally's position, for ever and whoever counts. The newest
//! [`MINUTES`] minutes are told apart; older ones are summed up in one row, so that the totals stay complete.
//!
//! A record belongs to the minute of its own timestamp, but never to one ahead of the partition's record time, which no
//! single record moves. Without a believable timestamp it belongs to the newest minute, as offsets do that were
//! deleted before they were read.
//!
//! An entry costs some comparisons, two divisions by a constant and an addition; a search when the minute changes. At
//! most 1,440 rows of 48 bytes are kept.

use std::collections::VecDeque;

use common::result::audit::{MINUTES, Outcomes};
use serde::{Deserialize, Serialize};

use crate::core::partial::Progress;

#[cfg(test)]
mod tests;

/// The milliseconds of a minute.
pub(crate) const MINUTE_MS: i64 = 60_000;

/// What became of an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A distinct event, counted.
    Counted,
    /// A re-delivery, dropped.
    Duplicate,
    /// A record that is no event.
    Undecodable,
    /// A record that is no event but tells readers something, or no record at all: a transaction marker, or what
    /// compaction removed.
    Control,
    /// Deleted before it was read.
    Gap,
}

/// Numbers of offsets, by [`Entry`]. Stored by position: another outcome needs a new version of the snapshot.
type Row = [u64; 5];

/// The books of one partition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// What is older than the rows, or has no time.
    before: Row,
    /// The number of a minute since 1970, and its row; in order, none ahead of the newest minute.
    minutes: VecDeque<(i64, Row)>,
    /// The minute of the partition's record time, once it has one.
    newest: Option<i64>,
    /// Where the row is that was written last. It only saves looking for it.
    #[serde(skip)]
    last: usize,
}

impl Ledger {
    /// The books of a tally that was stored by a build without any: all of it is `before`. Its counters say what was
    /// counted, and its list of gaps, where that is exact, what was lost; an offset that neither knows was skipped.
    pub fn of(progress: &Progress) -> Self {
        let Progress { events, duplicates, undecodable, gaps, next_offset, .. } = progress;
        let absent = next_offset
            .unsigned_abs()
            .saturating_sub(*events)
            .saturating_sub(*duplicates)
            .saturating_sub(*undecodable);
        // When there were too many gaps to tell apart, the last one covers records that were read.
        let lost: u64 = gaps.iter().map(|&(from, to)| to.abs_diff(from)).sum();
        let gap = lost.min(absent);
        let before = [*events, *duplicates, *undecodable, absent - gap, gap];
        Self { before, ..Self::default() }
    }

    /// The partition's record time is this now, in milliseconds since 1970.
    #[inline]
    pub fn advance(&mut self, time_ms: i64) {
        let minute = Some(time_ms.div_euclid(MINUTE_MS));
        if minute != self.newest {
            self.newest = minute;
            self.fold();
        }
    }

    /// Enters what became of `offsets` offsets; `timestamp_ms` is the record's, if it is believable.
    #[inline]
    pub fn enter(&mut self, entry: Entry, offsets: u64, timestamp_ms: Option<i64>) {
        let own = timestamp_ms.map(|time_ms| time_ms.div_euclid(MINUTE_MS));
        let minute = own.map_or(self.newest, |own| self.newest.map(|newest| newest.min(own)));
        self.row(minute)[entry as usize] += offsets;
    }

    #[inline]
    fn row(&mut self, minute: Option<i64>) -> &mut Row {
        let Some(minute) = minute else { return &mut self.before };
        if self.minutes.get(self.last).is_none_or(|row| row.0 != minute) {
            match self.place(minute) {
                Some(place) => self.last = place,
                None => return &mut self.before,
            }
        }
        &mut self.minutes[self.last].1
    }

    /// Where the row of a minute is, which is made if there is none; `None` if it is too old for a row.
    #[cold]
    fn place(&mut self, minute: i64) -> Option<usize> {
        if self.newest.is_none_or(|newest| minute <= newest - MINUTES as i64) {
            return None;
        }
        let place = self.minutes.binary_search_by_key(&minute, |&(minute, _)| minute);
        Some(place.unwrap_or_else(|place| {
            self.minutes.insert(place, (minute, Row::default()));
            place
        }))
    }

    /// Sums up what is too old for a row of its own. The first records of a partition may move its time back: what is
    /// ahead then belongs to no minute either.
    #[cold]
    fn fold(&mut self) {
        let Some(newest) = self.newest else { return };
        let before = &mut self.before;
        self.minutes.retain(|(minute, row)| {
            let is_kept = (newest - MINUTES as i64 + 1..=newest).contains(minute);
            if !is_kept {
                before.iter_mut().zip(row).for_each(|(sum, offsets)| *sum += *offsets);
            }
            is_kept
        });
    }

    /// What became of the offsets that belong to no minute.
    pub fn before(&self) -> Outcomes {
        outcomes(&self.before)
    }

    /// The minutes that have offsets, oldest first: first instant in milliseconds since 1970, and what became of them.
    pub fn minutes(&self) -> impl Iterator<Item = (i64, Outcomes)> + '_ {
        self.minutes.iter().map(|(minute, row)| (minute * MINUTE_MS, outcomes(row)))
    }

    /// What became of all offsets.
    pub fn total(&self) -> Outcomes {
        let mut total = self.before();
        self.minutes().for_each(|(_, outcomes)| total += outcomes);
        total
    }
}

fn outcomes(row: &Row) -> Outcomes {
    let [counted, duplicate, undecodable, control, gap] = *row;
    Outcomes { counted, duplicate, undecodable, control, gap }
}
