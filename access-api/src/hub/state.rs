//! The data behind the hub's lock: the ring, the newest result of each query, and the status of Kafka.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use common::protocol::{Cursor, Gap, KafkaState, Queries, Status, StreamId};

use super::frame::{Frame, WRAPPING_BYTES};
use super::ring::Ring;
use crate::envelope::Envelope;
use crate::limits::{Limits, RingLimits};

/// See the [module](self).
#[derive(Debug)]
pub struct State {
    /// The stream whose results are shown.
    pub stream: StreamId,
    /// How often reading has begun; a reader whose position is from an earlier beginning checks it again.
    pub beginnings: u64,
    /// Whether the topic was read to its end; until then no reader is given anything.
    pub is_complete: bool,
    /// The history.
    pub ring: Ring,
    /// By index. An index keeps its query until reading begins again.
    pub queries: Vec<Query>,
    /// The index of each name in `queries`.
    pub indices: HashMap<String, usize>,
    /// The newest audit.
    pub audit: Option<Audit>,
    kafka_away_since_ms: Option<i64>,
    newest_result_ms: Option<i64>,
}

/// A query that has, or had, a result.
#[derive(Debug)]
pub struct Query {
    /// Its name.
    pub name: String,
    /// Results shown so far.
    pub count: u64,
    /// The newest of them, unless the query was retired.
    pub newest: Option<Newest>,
    /// The highest version shown. It also counts for a query that was retired and comes back.
    version: u64,
    /// When the newest event in any of its results was received, in milliseconds since 1970; 0 when none says so.
    ingested_ms: i64,
}

/// The newest result of a query.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The result as WebSocket clients get it.
    pub frame: Arc<Frame>,
    /// The result as it was published.
    pub payload: Bytes,
    /// Its time span.
    pub window: serde_json::Value,
    /// Its version.
    pub version: u64,
    /// Its newest event time, in milliseconds since 1970.
    pub as_of_ms: i64,
}

/// An audit as it was published.
#[derive(Debug)]
pub struct Audit {
    /// Its value.
    pub payload: Bytes,
    /// Its position.
    pub cursor: Cursor,
    version: u64,
}

/// A record of the topic of results, as the consumer hands it over.
#[derive(Debug)]
pub struct Arrival {
    /// Its sequence.
    pub seq: u64,
    /// Its value: a result as published, in UTF-8.
    pub payload: Bytes,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: i64,
    /// The current time, in milliseconds since 1970.
    pub now_ms: i64,
}

/// Whether a result is shown, or why it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is shown.
    Shown,
    /// Its version is below the one that is shown.
    Stale,
    /// It is byte for byte the one that is shown.
    Unchanged,
    /// It is of a new query, and there are `limits.queries` already.
    TooManyQueries,
    /// Its frame exceeds `limits.result_bytes`.
    TooLarge,
}

/// Why a result is not shown: the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its version is below the one that is shown.
    Stale,
    /// It is byte for byte the one that is shown.
    Unchanged,
    /// It is of a new query, and there are as many as are shown at most.
    TooManyQueries,
    /// It is too large.
    TooLarge,
    /// It cannot be read.
    Malformed,
    /// The record's key is not the query's name.
    ForeignKey,
    /// It belongs to another stream.
    OtherStream,
}

/// Whether a client can resume after the cursor that it gave, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It can: the ring holds everything after the cursor.
    Resumed,
    /// Something after the cursor has left the ring.
    TooOld,
    /// The cursor belongs to another stream.
    OtherStream,
    /// The cursor belongs to this stream, but lies beyond what this process has read.
    Ahead,
}

impl Published {
    /// Why it is not shown.
    pub const fn dropped(self) -> Option<Dropped> {
        match self {
            Self::Shown => None,
            Self::Stale => Some(Dropped::Stale),
            Self::Unchanged => Some(Dropped::Unchanged),
            Self::TooManyQueries => Some(Dropped::TooManyQueries),
            Self::TooLarge => Some(Dropped::TooLarge),
        }
    }
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Stale,
        Self::Unchanged,
        Self::TooManyQueries,
        Self::TooLarge,
        Self::Malformed,
        Self::ForeignKey,
        Self::OtherStream,
    ];

    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Unchanged => "unchanged",
            Self::TooManyQueries => "too_many_queries",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::ForeignKey => "foreign_key",
            Self::OtherStream => "other_stream",
        }
    }
}

impl Resume {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Resumed, Self::TooOld, Self::OtherStream, Self::Ahead];

    /// The value of the label `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::TooOld => "too_old",
            Self::OtherStream => "other_stream",
            Self::Ahead => "ahead",
        }
    }
}

impl State {
    /// A state in which nothing was read yet.
    pub fn new(ring: RingLimits) -> Self {
        Self {
            stream: StreamId(0),
            beginnings: 0,
            is_complete: false,
            ring: Ring::new(ring),
            queries: Vec::new(),
            indices: HashMap::new(),
            audit: None,
            kafka_away_since_ms: None,
            newest_result_ms: None,
        }
    }

    /// Reading begins at sequence `end`, for the first time or again: everything shown so far is cleared.
    pub fn begin(&mut self, stream: StreamId, end: u64) {
        self.stream = stream;
        self.beginnings += 1;
        self.is_complete = false;
        self.ring.clear(end);
        self.queries.clear();
        self.indices.clear();
        self.audit = None;
        self.newest_result_ms = None;
    }

    /// Shows a result, unless it is to be dropped.
    pub fn publish(&mut self, result: &Envelope, arrival: Arrival, limits: &Limits) -> Published {
        let seq = arrival.seq;
        let published = self.admit(result, arrival, limits);
        self.ring.advance(seq);
        published
    }

    /// Keeps an audit, unless it is older than the one that is kept.
    pub fn publish_audit(&mut self, version: u64, Arrival { seq, payload, .. }: Arrival) {
        self.ring.advance(seq);
        if self.audit.as_ref().is_none_or(|known| known.version <= version) {
            let cursor = Cursor { stream: self.stream, seq };
            self.audit = Some(Audit { payload, cursor, version });
        }
    }

    fn admit(&mut self, result: &Envelope, arrival: Arrival, limits: &Limits) -> Published {
        let known = self.indices.get(&result.query).copied();
        let query = known.map(|index| &self.queries[index]);
        if query.is_some_and(|query| result.version < query.version) {
            return Published::Stale;
        }
        let newest = query.and_then(|query| query.newest.as_ref());
        if newest.is_some_and(|newest| arrival.payload == newest.payload) {
            return Published::Unchanged;
        }
        if known.is_none() && self.queries.len() >= limits.queries {
            return Published::TooManyQueries;
        }
        let Ok(payload) = std::str::from_utf8(&arrival.payload) else { return Published::TooLarge };
        let index = known.unwrap_or(self.queries.len());
        let nth = query.map_or(0, |query| query.count) + 1;
        // Clocks of two machines differ: a result that seems to come from the future gets a lag of 0.
        let lag_ms = match result.ingested_ms {
            1.. => u64::try_from(arrival.now_ms.saturating_sub(result.ingested_ms)).unwrap_or(0),
            _ => 0,
        };
        let cursor = Cursor { stream: self.stream, seq: arrival.seq };
        let frame = match Frame::encode((&result.query, index), nth, cursor, lag_ms, payload) {
            Ok(frame) if frame.bytes() <= limits.result_bytes + WRAPPING_BYTES => frame,
            _ => return Published::TooLarge,
        };
        if known.is_none() {
            self.indices.insert(result.query.clone(), index);
            let name = result.query.clone();
            self.queries.push(Query { name, count: 0, newest: None, version: 0, ingested_ms: 0 });
        }
        self.ring.push(Arc::clone(&frame));
        let published_ms = arrival.published_ms.min(arrival.now_ms);
        self.newest_result_ms = self.newest_result_ms.max(Some(published_ms));
        let query = &mut self.queries[index];
        query.count = nth;
        query.version = result.version;
        query.ingested_ms = query.ingested_ms.max(result.ingested_ms);
        query.newest = Some(Newest {
            frame,
            payload: arrival.payload,
            window: result.window.clone(),
            version: result.version,
            as_of_ms: result.as_of_ms,
        });
        Published::Shown
    }

    /// Says that Kafka answers (`None`), or since when it does not. Returns whether that is a change.
    pub fn set_kafka(&mut self, away_since_ms: Option<i64>) -> bool {
        let is_news = self.kafka_away_since_ms.is_some() != away_since_ms.is_some();
        if is_news {
            self.kafka_away_since_ms = away_since_ms;
        }
        is_news
    }

    /// The status of Kafka, for clients.
    pub fn status(&self, now_ms: i64) -> Status {
        let kafka = match self.kafka_away_since_ms {
            Some(_) => KafkaState::Away,
            None if self.is_complete => KafkaState::Connected,
            None => KafkaState::Reading,
        };
        Status {
            now_ms,
            kafka,
            kafka_away_since_ms: self.kafka_away_since_ms,
            newest_result_ms: self.newest_result_ms,
        }
    }

    /// When the newest result of any query was published, in milliseconds since 1970; `None` before the first.
    pub const fn newest_result_ms(&self) -> Option<i64> {
        self.newest_result_ms
    }

    /// When the newest event in this query's results was received, in milliseconds since 1970; 0 before the first.
    pub fn ingested_ms(&self, name: &str) -> i64 {
        self.indices.get(name).map_or(0, |&index| self.queries[index].ingested_ms)
    }

    /// Whether this query has a result to show.
    pub fn is_shown(&self, name: &str) -> bool {
        self.indices.get(name).is_some_and(|&index| self.queries[index].newest.is_some())
    }

    /// Whether a reader can resume after `cursor`.
    pub fn judge(&self, cursor: Cursor) -> Resume {
        if cursor.stream != self.stream {
            Resume::OtherStream
        } else if cursor.seq >= self.ring.end() {
            Resume::Ahead
        } else if cursor.seq + 1 < self.ring.floor() {
            Resume::TooOld
        } else {
            Resume::Resumed
        }
    }

    /// The gap for a client of these `queries` that cannot resume after `from`. The newest result of each
    /// query follows it, and is not counted in `skipped`.
    pub fn gap(&self, from: Cursor, queries: &Queries) -> Gap {
        let floor = self.ring.floor().checked_sub(1).map(|seq| Cursor { stream: self.stream, seq });
        let is_wanted = |index: usize| queries.contains(&self.queries[index].name);
        let skipped = (from.stream == self.stream)
            .then(|| self.ring.count_from(from.seq.saturating_add(1), is_wanted))
            .flatten()
            .map(|published| {
                let newest = |query: &Query| {
                    let newest = query.newest.as_ref()?;
                    (newest.frame.cursor.seq > from.seq && queries.contains(&query.name))
                        .then_some(())
                };
                let given = self.queries.iter().filter_map(newest).count() as u64;
                published.saturating_sub(given)
            });
        Gap { from, floor, skipped }
    }
}
