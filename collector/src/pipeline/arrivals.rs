//! What the journal has written, on its way to the delivery.
//!
//! The journal never waits for the delivery. If the delivery is behind, the oldest entries are dropped here: they are in
//! the log, and are read from there. Without a log nothing is dropped, and each entry keeps its share of the
//! source's queue, so that the source waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::message_log::{Entry, Sequence};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::cursor::Cursor;

/// How many bytes of memory are kept for a delivery that is behind.
const MAX_BYTES: usize = 8 << 20;

/// An entry that has arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) sequence: Sequence,
    pub(super) entry: Entry,
    /// Without a log: its share of the source's queue.
    pub(super) share: Option<OwnedSemaphorePermit>,
}

/// What has arrived since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Entries in their order; some may be missing.
    pub(super) entries: VecDeque<Arrived>,
    /// Everything before is in the log.
    pub(super) end: Sequence,
    /// Everything before is on disk.
    pub(super) synced: Sequence,
    /// Where sources resume after what is before this sequence, if that is stored only when Kafka has all of it.
    pub(super) cursors: Vec<(Sequence, Arc<str>, Cursor)>,
    /// Nothing more will come.
    pub(super) closed: bool,
    bytes: usize,
}

/// The way from the journal to the delivery.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    news: Mutex<News>,
    changed: Notify,
}

impl Arrivals {
    /// These entries are in the log.
    pub(super) fn push(&self, entries: Vec<Arrived>, cursors: Vec<(Sequence, Arc<str>, Cursor)>) {
        let Some(last) = entries.last() else { return };
        let mut news = self.lock();
        news.end = last.sequence.next();
        news.cursors.extend(cursors);
        for arrived in entries {
            if arrived.share.is_none() {
                news.bytes += arrived.entry.memory_bytes();
            }
            news.entries.push_back(arrived);
        }
        while news.bytes > MAX_BYTES
            && let Some(oldest) = news.entries.pop_front()
        {
            news.bytes -= oldest.entry.memory_bytes();
        }
        drop(news);
        self.changed.notify_one();
    }

    /// Everything before `to` is on disk. Whoever waits is told if `wake`.
    pub(super) fn synced(&self, to: Sequence, wake: bool) {
        self.lock().synced = to;
        if wake {
            self.changed.notify_one();
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Takes what has arrived.
    pub(super) fn take(&self) -> News {
        let mut news = self.lock();
        let (end, synced, closed) = (news.end, news.synced, news.closed);
        std::mem::replace(&mut *news, News { end, synced, closed, ..News::default() })
    }

    /// Resolves when something may have arrived.
    pub(super) async fn some(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn entries_without_a_payload_are_bounded_too_and_the_newest_stay() {
        let arrivals = Arrivals::default();
        let group = |start: usize| {
            let arrived = |number| Arrived {
                sequence: Sequence::from_opaque(number),
                entry: Entry {
                    source: "feed".into(),
                    received_ms: 0,
                    identity: None,
                    reason: None,
                    payload: Bytes::new(),
                },
                share: None,
            };
            (start..start + 1000).map(arrived).collect()
        };
        for number in 0..100 {
            arrivals.push(group(1000 * number), Vec::new());
        }
        let news = arrivals.take();
        assert!((1..=MAX_BYTES / 256).contains(&news.entries.len()), "{}", news.entries.len());
        assert_eq!(news.entries.back().unwrap().sequence.next(), news.end);
    }
}
