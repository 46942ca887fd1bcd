//! Reading the entries of groups in order.

use super::store::{Store, TRANSIENT};
use super::{Entry, Error, Sequence, group};

/// Entries that follow each other.
#[derive(Debug, Default)]
pub struct Page {
    /// The entries in order.
    pub entries: Vec<(Sequence, Entry)>,
    /// The sequence after everything that was looked at.
    pub end: Sequence,
    /// Ranges (start, and end without itself) of what was looked at and cannot be read.
    pub damaged: Vec<(Sequence, Sequence)>,
}

impl Store {
    /// See [`MessageLog::page`](super::MessageLog::page).
    pub(super) fn page(&self, from: Sequence, to: Sequence, bytes: usize) -> Result<Page, Error> {
        let mut page = Page { end: from, ..Page::default() };
        let mut size = 0;
        for group in self.groups(from) {
            let (span, record) = group?;
            if span.first >= to || size >= bytes {
                break;
            }
            if span.first > page.end {
                page.damaged.push((page.end, span.first));
            }
            let end = span.last.next().min(to);
            let start = span.first.max(page.end);
            let record = self.opened(TRANSIENT, &span.key(), record)?.unwrap_or_default();
            match group::decode(span, &record) {
                None => page.damaged.push((start, end)),
                Some(entries) => {
                    size += record.len();
                    for (sequence, entry) in entries {
                        match entry {
                            _ if sequence < start || sequence >= end => {}
                            Some(entry) => page.entries.push((sequence, entry)),
                            None => page.damaged.push((sequence, sequence.next())),
                        }
                    }
                }
            }
            page.end = end;
        }
        if size == 0 && page.end < to {
            // Nothing was found up to the end.
            page.damaged.push((page.end, to));
            page.end = to;
        }
        Ok(page)
    }
}
