//! What all clients share: the ring of encoded frames and the newest result of each query.
//!
//! One writer, the consumer's thread, publishes; any number of [`Reader`]s look. A lock is held for
//! as long as it takes to copy a few pointers, never across I/O. Readers are woken by a `watch`, in
//! which a writer never waits.
//!
//! **Invariants.** A query's version never goes backwards while the stream stays. A result is encoded
//! once as `result` and at most once as `snapshot`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use common::protocol::{Cursor, StreamId, Update};
use common::result::{TopN, Window};
use tokio::sync::watch;

use crate::config::{Config, Limits};
use crate::metrics::Metrics;

mod reader;
mod ring;

pub use reader::{Reader, Subscribed};
pub use ring::{Frame, Ring};

/// Shared by the consumer, the routes and every session.
#[derive(Debug)]
pub struct Hub {
    state: RwLock<State>,
    published: watch::Sender<()>,
    limits: Limits,
    metrics: Metrics,
}

/// What is shown now.
#[derive(Debug)]
pub struct State {
    stream: StreamId,
    ring: Ring,
    /// By index; an index is never given to another query while the stream stays.
    queries: Vec<Query>,
    indices: HashMap<String, usize>,
}

/// A query that has, or had, a result.
#[derive(Debug)]
struct Query {
    name: String,
    /// Results shown so far.
    count: u64,
    newest: Option<Newest>,
}

/// The newest result of a query.
#[derive(Debug, Clone)]
pub struct Newest {
    /// As clients get it.
    pub frame: Arc<Frame>,
    /// As it was published.
    pub payload: Bytes,
    /// Its time span.
    pub window: Window,
    /// Its version.
    pub version: u64,
    /// Its newest event time.
    pub as_of_ms: i64,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is shown.
    Shown,
    /// Its version is below the one that is shown.
    Stale,
    /// It is what is shown already.
    Unchanged,
    /// Its query would be one too many.
    TooManyQueries,
    /// Its frame would be too large.
    TooLarge,
}

impl Published {
    /// Why it is not shown, as a metric's label.
    pub const fn dropped_as(self) -> Option<&'static str> {
        match self {
            Self::Shown => None,
            Self::Stale => Some("stale"),
            Self::Unchanged => Some("unchanged"),
            Self::TooManyQueries => Some("too_many_queries"),
            Self::TooLarge => Some("too_large"),
        }
    }
}

impl Hub {
    /// An empty hub.
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let state = State {
            stream: StreamId(0),
            ring: Ring::new(config.ring),
            queries: Vec::new(),
            indices: HashMap::new(),
        };
        Self {
            state: RwLock::new(state),
            published: watch::Sender::new(()),
            limits: config.limits,
            metrics,
        }
    }

    /// Another stream begins at sequence `end`: nothing of the one before is shown any more.
    pub fn begin(&self, stream: StreamId, end: u64) {
        let mut state = self.write();
        state.stream = stream;
        state.ring.clear(end);
        state.queries.clear();
        state.indices.clear();
        drop(state);
        self.published.send_replace(());
    }

    /// Shows `result`, read at sequence `seq` as `payload`, unless that would go backwards.
    pub fn publish(&self, seq: u64, result: &TopN, payload: Bytes, now_ms: i64) -> Published {
        let mut state = self.write();
        let published = self.admit(&mut state, seq, result, payload, now_ms);
        state.ring.advance(seq);
        drop(state);
        if published == Published::Shown {
            self.metrics.results.inc();
            self.metrics.frames_encoded.with_label_values(&["result"]).inc();
            self.published.send_replace(());
        }
        published
    }

    fn admit(
        &self,
        state: &mut State,
        seq: u64,
        result: &TopN,
        payload: Bytes,
        now_ms: i64,
    ) -> Published {
        let known = state.indices.get(&result.query).copied();
        let newest = known.and_then(|index| state.queries[index].newest.as_ref());
        if let Some(newest) = newest {
            if result.version < newest.version {
                return Published::Stale;
            }
            if payload == newest.payload {
                return Published::Unchanged;
            }
        }
        if known.is_none() && state.queries.len() == self.limits.queries {
            return Published::TooManyQueries;
        }
        let index = known.unwrap_or(state.queries.len());
        let nth = known.map_or(0, |index| state.queries[index].count) + 1;
        // Clocks of two machines differ; a result from the future has no lag.
        let lag_ms = match result.ingested_ms {
            1.. => u64::try_from(now_ms - result.ingested_ms).unwrap_or(0),
            _ => 0,
        };
        let cursor = Cursor { stream: state.stream, seq };
        let update = Update { query: result.query.clone(), cursor, lag_ms, result };
        let frame = match Frame::encode(update, index, nth) {
            Ok(frame) if frame.bytes() <= self.limits.frame_bytes() => Arc::new(frame),
            _ => return Published::TooLarge,
        };
        if known.is_none() {
            state.indices.insert(result.query.clone(), index);
            state.queries.push(Query { name: result.query.clone(), count: 0, newest: None });
        }
        state.ring.push(Arc::clone(&frame));
        let query = &mut state.queries[index];
        query.count = nth;
        query.newest = Some(Newest {
            frame,
            payload,
            window: result.window,
            version: result.version,
            as_of_ms: result.as_of_ms,
        });
        Published::Shown
    }

    /// Sequence `seq` holds nothing to show.
    pub fn pass(&self, seq: u64) {
        self.write().ring.advance(seq);
    }

    /// Sequence `seq` says that the query is gone.
    pub fn retire(&self, seq: u64, query: &str) {
        let mut state = self.write();
        state.ring.advance(seq);
        if let Some(&index) = state.indices.get(query) {
            state.queries[index].newest = None;
        }
    }

    /// The newest result of one query.
    pub fn newest(&self, query: &str) -> Option<Newest> {
        let state = self.read();
        state.indices.get(query).and_then(|&index| state.queries[index].newest.clone())
    }

    /// The newest result of every query, by name.
    pub fn all(&self) -> Vec<(String, Newest)> {
        let state = self.read();
        let mut all: Vec<_> = state
            .queries
            .iter()
            .filter_map(|q| Some((q.name.clone(), q.newest.clone()?)))
            .collect();
        drop(state);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Wakes whenever there may be something new.
    pub fn wake_ups(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The text of a `snapshot` frame.
    pub fn snapshot_text(&self, frame: &Frame) -> tokio_tungstenite::tungstenite::Utf8Bytes {
        frame.snapshot(|| self.metrics.frames_encoded.with_label_values(&["snapshot"]).inc())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// The largest frame of a result: the result and what is wrapped around it.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.result_bytes + 1024
    }
}

#[cfg(test)]
mod tests;
