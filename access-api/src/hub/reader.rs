//! One client's place in the hub: a position and, per query, how many of its results have been dealt
//! with. Never a queue.
//!
//! **Invariants.** Frames come in the order of their sequence. From the moment of `subscribe` on,
//! for each subscribed query, results given + results reported as skipped = results published, as
//! soon as the reader has caught up; and then the last one given is the newest published. Having been
//! given a frame with cursor `c`, a reader has been given the newest result up to `c` of each query.

use std::sync::Arc;

use common::protocol::{Cursor, Gap, Queries, StreamId};

use super::{Frame, Hub, State};

/// One client's place in the hub.
#[derive(Debug)]
pub struct Reader {
    queries: Queries,
    stream: StreamId,
    /// Everything up to here has been given; none before the first frame.
    position: Option<u64>,
    mode: Mode,
    /// By query: results given or reported as skipped. Shorter than the hub's list while queries
    /// were added that this reader has not come to.
    settled: Vec<u64>,
    /// Skips that were reported before they were final; the next ones are reported less these.
    reported: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Every frame from the position on.
    InOrder,
    /// The newest frame of each query, once, as its snapshot.
    Snapshots,
    /// The newest frame of each query, once, passing over those between.
    Conflated,
}

/// What came of a subscription.
#[derive(Debug)]
pub struct Subscribed {
    /// The place from which to read.
    pub reader: Reader,
    /// To be told to the client, when its cursor could not be used.
    pub gap: Option<Gap>,
    /// What became of the cursor, if there was one.
    pub outcome: Option<Outcome>,
    /// Names of queries that nothing has been published of.
    pub unknown: Vec<String>,
}

/// What became of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything after it is there.
    Resumed,
    /// Something after it is not there any more.
    TooOld,
    /// It is of another stream.
    OtherStream,
    /// It is of this stream, but this process has not read as far.
    Ahead,
}

impl Outcome {
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

/// Frames for a client, in this order: the gap, the skips, the frames.
#[derive(Debug, Default)]
pub struct Batch {
    /// The stream that the reader was in is no more.
    pub gap: Option<Gap>,
    /// Results passed over that were not reported before.
    pub skipped: u64,
    /// The frames, and whether each goes out as a snapshot.
    pub frames: Vec<(Arc<Frame>, bool)>,
}

impl Hub {
    /// Begins to read `queries`: after `cursor` if there is one and it can be resumed from, else with
    /// snapshots.
    pub fn subscribe(&self, queries: Queries, cursor: Option<Cursor>) -> Subscribed {
        let state = self.read();
        let unknown = match &queries {
            Queries::All => Vec::new(),
            Queries::Named(names) => {
                names.iter().filter(|&name| !state.is_shown(name)).cloned().collect()
            }
        };
        let outcome = cursor.map(|cursor| state.judge(cursor));
        let mut reader = Reader {
            queries,
            stream: state.stream,
            position: None,
            mode: Mode::Snapshots,
            settled: Vec::new(),
            reported: 0,
        };
        match (outcome, cursor) {
            (Some(Outcome::Resumed), Some(cursor)) => reader.resume(&state, cursor.seq),
            _ => reader.restart(&state),
        }
        let gap = match outcome {
            None | Some(Outcome::Resumed) => None,
            Some(Outcome::TooOld | Outcome::OtherStream | Outcome::Ahead) => {
                cursor.map(|from| state.gap(from))
            }
        };
        Subscribed { reader, gap, outcome, unknown }
    }
}

impl State {
    fn is_shown(&self, name: &str) -> bool {
        self.indices.get(name).is_some_and(|&index| self.queries[index].newest.is_some())
    }

    fn judge(&self, cursor: Cursor) -> Outcome {
        if cursor.stream != self.stream {
            Outcome::OtherStream
        } else if cursor.seq >= self.ring.end() {
            Outcome::Ahead
        } else if cursor.seq + 1 < self.ring.floor() {
            Outcome::TooOld
        } else {
            Outcome::Resumed
        }
    }

    fn gap(&self, from: Cursor) -> Gap {
        let floor = self.ring.floor().checked_sub(1).map(|seq| Cursor { stream: self.stream, seq });
        let skipped = (from.stream == self.stream)
            .then(|| self.ring.floor().saturating_sub(from.seq.saturating_add(1)));
        Gap { from, floor, skipped }
    }
}

impl Reader {
    /// Up to here everything has been given.
    pub fn cursor(&self) -> Option<Cursor> {
        self.position.map(|seq| Cursor { stream: self.stream, seq })
    }

    /// How far behind the hub the position is, in percent of the ring.
    pub fn percent_behind(&self, hub: &Hub) -> u8 {
        self.percent_behind_from(hub, self.position)
    }

    /// How far behind the hub `seq` is: the last sequence that the client acknowledged.
    pub fn percent_unacknowledged(&self, hub: &Hub, acknowledged: Cursor) -> u8 {
        if acknowledged.stream != self.stream {
            return 0;
        }
        self.percent_behind_from(hub, Some(acknowledged.seq))
    }

    fn percent_behind_from(&self, hub: &Hub, seq: Option<u64>) -> u8 {
        let state = hub.read();
        match seq {
            Some(seq) if state.stream == self.stream => {
                state.ring.percent_behind(seq.saturating_add(1))
            }
            // Snapshots come next, whatever the ring holds.
            _ => 0,
        }
    }

    /// From now on only the newest result of each query matters. Returns how many results are passed
    /// over by that so far and were not reported before.
    pub fn conflate(&mut self, hub: &Hub) -> u64 {
        if self.mode == Mode::InOrder {
            self.mode = Mode::Conflated;
        }
        let state = hub.read();
        if state.stream != self.stream {
            return 0;
        }
        let passed: u64 = self.owed(&state).map(|(_, _, passed)| passed).sum();
        let skipped = passed.saturating_sub(self.reported);
        self.reported += skipped;
        skipped
    }

    /// The next frames, of `budget` bytes or one frame; empty when there is nothing new.
    pub fn take(&mut self, hub: &Hub, budget: usize) -> Batch {
        let state = hub.read();
        let mut batch = Batch::default();
        if state.stream != self.stream {
            batch.gap = self.cursor().map(|from| state.gap(from));
            self.stream = state.stream;
            self.restart(&state);
        }
        if self.mode == Mode::InOrder && self.next() < state.ring.floor() {
            self.mode = Mode::Conflated;
        }
        match self.mode {
            Mode::InOrder => self.take_in_order(&state, budget, &mut batch),
            Mode::Snapshots | Mode::Conflated => self.take_newest(&state, budget, &mut batch),
        }
        batch
    }

    fn take_in_order(&mut self, state: &State, budget: usize, batch: &mut Batch) {
        let mut bytes = 0;
        for frame in state.ring.from(self.next()) {
            if self.queries.contains(&state.queries[frame.query].name) {
                bytes += frame.bytes();
                if bytes > budget && !batch.frames.is_empty() {
                    return;
                }
                self.settle(frame);
                batch.frames.push((Arc::clone(frame), false));
            }
            self.position = Some(frame.cursor.seq);
        }
        self.catch_up(state);
    }

    fn take_newest(&mut self, state: &State, budget: usize, batch: &mut Batch) {
        let as_snapshot = self.mode == Mode::Snapshots;
        let mut owed: Vec<_> =
            self.owed(state).map(|(_, frame, passed)| (Arc::clone(frame), passed)).collect();
        owed.sort_unstable_by_key(|(frame, _)| frame.cursor.seq);
        let mut bytes = 0;
        for (frame, passed) in owed {
            bytes += frame.bytes();
            if bytes > budget && !batch.frames.is_empty() {
                return;
            }
            let before = self.reported.min(passed);
            self.reported -= before;
            batch.skipped += passed - before;
            self.settle(&frame);
            self.position = Some(frame.cursor.seq);
            batch.frames.push((frame, as_snapshot));
        }
        self.mode = Mode::InOrder;
        self.reported = 0;
        self.catch_up(state);
    }

    /// The newest frame of each query that has not been given, and how many before it neither.
    fn owed<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (usize, &'a Arc<Frame>, u64)> {
        state.queries.iter().enumerate().filter_map(|(index, query)| {
            let frame = &query.newest.as_ref()?.frame;
            let settled = self.settled.get(index).copied().unwrap_or(0);
            let owed = frame.nth > settled && self.queries.contains(&query.name);
            owed.then(|| (index, frame, frame.nth - settled - 1))
        })
    }

    /// Everything that there is has been given; what comes next is at the end of the ring.
    fn catch_up(&mut self, state: &State) {
        if let Some(last) = state.ring.end().checked_sub(1) {
            self.position = Some(last);
        }
    }

    /// Snapshots of all queries come next; what was before them is no concern of this client.
    fn restart(&mut self, state: &State) {
        self.mode = Mode::Snapshots;
        self.position = None;
        self.reported = 0;
        self.settled = state
            .queries
            .iter()
            .map(|query| query.newest.as_ref().map_or(query.count, |n| n.frame.nth - 1))
            .collect();
    }

    /// The frames after `seq` come next.
    fn resume(&mut self, state: &State, seq: u64) {
        self.mode = Mode::InOrder;
        self.position = Some(seq);
        self.settled = state.queries.iter().map(|query| query.count).collect();
        for frame in state.ring.from(self.next()) {
            self.settled[frame.query] -= 1;
        }
    }

    fn settle(&mut self, frame: &Frame) {
        if self.settled.len() <= frame.query {
            self.settled.resize(frame.query + 1, 0);
        }
        self.settled[frame.query] = frame.nth;
    }

    fn next(&self) -> u64 {
        self.position.map_or(0, |seq| seq.saturating_add(1))
    }
}
