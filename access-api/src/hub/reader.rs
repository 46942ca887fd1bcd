//! One client's place in the hub: a position, and for each query the number of the last result that was
//! given or reported as skipped. Never a queue.
//!
//! **Invariants.** Frames are given in the order of their sequence. Counted from `subscribe` on, for each
//! subscribed query and a reader that has caught up: results given + results reported as skipped = results
//! published, and the last result given is the newest one published. A reader that was given a frame with
//! cursor `c` was given the newest result up to `c` of each of its queries.

use std::sync::Arc;

use common::protocol::{Cursor, Gap, Queries, StreamId};

use super::frame::Frame;
use super::state::{Resume, State};

/// One client's place in the hub.
#[derive(Debug)]
pub struct Reader {
    queries: Queries,
    stream: StreamId,
    /// See [`State::beginnings`].
    beginning: u64,
    /// Everything up to this sequence has been given; `None` before the first frame.
    position: Option<u64>,
    mode: Mode,
    /// By query: the number of results given or reported as skipped. Shorter than the hub's list of queries
    /// when queries were added of which this reader was given nothing yet.
    settled: Vec<u64>,
    /// Skipped results that were reported by [`conflate`](Self::conflate) before the newest results were taken;
    /// they are subtracted from what is reported then.
    reported: u64,
    /// The last sequence given.
    given: Option<u64>,
    /// What was given and not acknowledged; `None` until the client acknowledges for the first time.
    outstanding: Option<Outstanding>,
}

/// Frames that were given and not acknowledged. Frames of other queries between them do not count.
#[derive(Debug, Clone, Copy, Default)]
struct Outstanding {
    /// The last sequence acknowledged.
    acknowledged: u64,
    frames: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Every frame from the position on.
    InOrder,
    /// The newest frame of each query, once, as its snapshot.
    Snapshots,
    /// The newest frame of each query, once; those before it are skipped.
    Conflated,
}

/// The outcome of a subscription.
#[derive(Debug)]
pub struct Subscribed {
    /// The new reader.
    pub reader: Reader,
    /// The gap to tell the client, if it gave a cursor that cannot be used.
    pub gap: Option<Gap>,
    /// Whether the cursor could be used, if the client gave one.
    pub outcome: Option<Resume>,
    /// Names of subscribed queries that have no result.
    pub unknown: Vec<String>,
}

/// What to send to a client next, in this order: the gap, the number of skipped results, the frames.
#[derive(Debug, Default)]
pub struct Batch {
    /// Set when reading began again and the reader's position could not be resumed from.
    pub gap: Option<Gap>,
    /// Skipped results that were not reported before.
    pub skipped: u64,
    /// The frames, and whether each goes out as a snapshot.
    pub frames: Vec<(Arc<Frame>, bool)>,
}

/// Begins to read `queries`: after `cursor` if one is given and reading can resume from it, else with
/// snapshots.
pub fn subscribe(state: &State, queries: Queries, cursor: Option<Cursor>) -> Subscribed {
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
        beginning: state.beginnings,
        position: None,
        mode: Mode::Snapshots,
        settled: Vec::new(),
        reported: 0,
        given: None,
        outstanding: None,
    };
    let gap = cursor.and_then(|cursor| reader.rejoin(state, cursor));
    if cursor.is_none() {
        reader.restart(state);
    }
    Subscribed { reader, gap, outcome, unknown }
}

impl Reader {
    /// The cursor up to which everything has been given.
    pub fn cursor(&self) -> Option<Cursor> {
        self.position.map(|seq| Cursor { stream: self.stream, seq })
    }

    /// How far behind the hub the position is, in percent of the ring.
    pub fn percent_behind(&self, state: &State) -> u8 {
        match self.position {
            Some(_) if self.is_current(state) => state.ring.percent_behind(self.next()),
            // Snapshots come next, so that the ring's content does not matter.
            _ => 0,
        }
    }

    /// How much the client was given and has not acknowledged, in percent of the ring. A client that has
    /// acknowledged all that it was given is at 0, whatever other clients were given meanwhile.
    pub fn percent_unacknowledged(&self, state: &State) -> u8 {
        self.outstanding
            .map_or(0, |outstanding| state.ring.percent(outstanding.frames, outstanding.bytes))
    }

    /// The client acknowledges everything up to `cursor`. A cursor of another stream is ignored.
    pub fn acknowledge(&mut self, state: &State, cursor: Cursor) {
        if cursor.stream != self.stream || !self.is_current(state) {
            return;
        }
        let before = self.outstanding.map_or(0, |outstanding| outstanding.acknowledged);
        let given = self.given.unwrap_or(0);
        let mut outstanding =
            Outstanding { acknowledged: cursor.seq.min(given).max(before), frames: 0, bytes: 0 };
        let after = state.ring.from(outstanding.acknowledged.saturating_add(1));
        for frame in after.take_while(|frame| frame.cursor.seq <= given) {
            if self.wants(state, frame) {
                outstanding.frames += 1;
                outstanding.bytes += frame.bytes() as u64;
            }
        }
        self.outstanding = Some(outstanding);
    }

    /// Moves the position over frames of other queries, so that a client is not behind because of results that it
    /// did not subscribe to.
    pub fn scan(&mut self, state: &State) {
        if self.mode != Mode::InOrder || !self.is_current(state) || self.next() < state.ring.floor()
        {
            return;
        }
        match state.ring.from(self.next()).find(|frame| self.wants(state, frame)) {
            Some(next) => self.position = next.cursor.seq.checked_sub(1).max(self.position),
            None => self.catch_up(state),
        }
    }

    /// Gives only the newest result of each query from now on. Returns how many results are skipped by that
    /// so far and were not reported before.
    pub fn conflate(&mut self, state: &State) -> u64 {
        if self.mode == Mode::InOrder {
            self.mode = Mode::Conflated;
        }
        if !self.is_current(state) {
            return 0;
        }
        let passed: u64 = self.owed(state).map(|(_, passed)| passed).sum();
        let skipped = passed.saturating_sub(self.reported);
        self.reported += skipped;
        skipped
    }

    /// The next frames: at most `budget` bytes, or one larger frame. Empty when there is nothing new.
    pub fn take(&mut self, state: &State, budget: usize) -> Batch {
        let mut batch = Batch::default();
        if !state.is_complete {
            return batch;
        }
        if !self.is_current(state) {
            match self.cursor() {
                Some(cursor) => batch.gap = self.rejoin(state, cursor),
                None => self.restart(state),
            }
        }
        if self.mode == Mode::InOrder && self.next() < state.ring.floor() {
            self.mode = Mode::Conflated;
        }
        match self.mode {
            Mode::InOrder => self.take_in_order(state, budget, &mut batch),
            Mode::Snapshots | Mode::Conflated => self.take_newest(state, budget, &mut batch),
        }
        if let (Some(outstanding), false) = (&mut self.outstanding, batch.frames.is_empty()) {
            outstanding.frames += batch.frames.len() as u64;
            outstanding.bytes += batch.frames.iter().map(|(f, _)| f.bytes() as u64).sum::<u64>();
        }
        batch
    }

    fn take_in_order(&mut self, state: &State, budget: usize, batch: &mut Batch) {
        let mut bytes = 0;
        for frame in state.ring.from(self.next()) {
            if self.wants(state, frame) {
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
            self.owed(state).map(|(frame, passed)| (Arc::clone(frame), passed)).collect();
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

    /// For each query whose newest frame was not given: that frame, and how many frames before it were not given
    /// either.
    fn owed<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (&'a Arc<Frame>, u64)> {
        state.queries.iter().enumerate().filter_map(|(index, query)| {
            let frame = &query.newest.as_ref()?.frame;
            let settled = self.settled.get(index).copied().unwrap_or(0);
            let owed = frame.nth > settled && self.queries.contains(&query.name);
            owed.then(|| (frame, frame.nth - settled - 1))
        })
    }

    /// Everything in the ring has been given: the position moves to its end.
    fn catch_up(&mut self, state: &State) {
        if let Some(last) = state.ring.end().checked_sub(1) {
            self.position = Some(last);
        }
    }

    /// Resumes after `cursor` if that is possible. Otherwise begins with snapshots and returns the gap.
    fn rejoin(&mut self, state: &State, cursor: Cursor) -> Option<Gap> {
        if state.judge(cursor) == Resume::Resumed {
            self.resume(state, cursor.seq);
            return None;
        }
        self.restart(state);
        Some(state.gap(cursor, &self.queries))
    }

    /// Begins with snapshots of all queries. Results before them are not counted as skipped.
    fn restart(&mut self, state: &State) {
        self.join(state);
        self.mode = Mode::Snapshots;
        self.position = None;
        self.settled = state
            .queries
            .iter()
            .map(|query| query.newest.as_ref().map_or(query.count, |n| n.frame.nth - 1))
            .collect();
    }

    /// Begins with the frames after `seq`.
    fn resume(&mut self, state: &State, seq: u64) {
        self.join(state);
        self.mode = Mode::InOrder;
        self.position = Some(seq);
        self.settled = state.queries.iter().map(|query| query.count).collect();
        for frame in state.ring.from(self.next()) {
            self.settled[frame.query] -= 1;
        }
    }

    fn join(&mut self, state: &State) {
        self.stream = state.stream;
        self.beginning = state.beginnings;
        self.reported = 0;
        self.given = None;
        self.outstanding = None;
    }

    fn is_current(&self, state: &State) -> bool {
        self.beginning == state.beginnings
    }

    fn wants(&self, state: &State, frame: &Frame) -> bool {
        self.queries.contains(&state.queries[frame.query].name)
    }

    fn settle(&mut self, frame: &Frame) {
        self.given = self.given.max(Some(frame.cursor.seq));
        if self.settled.len() <= frame.query {
            self.settled.resize(frame.query + 1, 0);
        }
        self.settled[frame.query] = frame.nth;
    }

    fn next(&self) -> u64 {
        self.position.map_or(0, |seq| seq.saturating_add(1))
    }
}
