//! One client's place in the hub: a position and, per query, how many of its results have been dealt
//! with. Never a queue.
//!
//! **Invariants.** Frames come in the order of their sequence. From the moment of `subscribe` on,
//! for each subscribed query, results given + results reported as skipped = results published, as
//! soon as the reader has caught up; and then the last one given is the newest published. Having been
//! given a frame with cursor `c`, a reader has been given the newest result up to `c` of each query.

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
    /// Everything up to here has been given; none before the first frame.
    position: Option<u64>,
    mode: Mode,
    /// By query: results given or reported as skipped. Shorter than the hub's list while queries
    /// were added that this reader has not come to.
    settled: Vec<u64>,
    /// Skips that were reported before they were final; the next ones are reported less these.
    reported: u64,
    /// The last sequence given.
    given: Option<u64>,
    /// What was given and not acknowledged, once the client has acknowledged any.
    outstanding: Option<Outstanding>,
}

/// Frames that were given and not acknowledged. Frames of other queries that lie between are not the
/// client's affair.
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
    pub outcome: Option<Resume>,
    /// Names of queries that nothing has been published of.
    pub unknown: Vec<String>,
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

/// Begins to read `queries`: after `cursor` if there is one and it can be resumed from, else with
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
    /// Up to here everything has been given.
    pub fn cursor(&self) -> Option<Cursor> {
        self.position.map(|seq| Cursor { stream: self.stream, seq })
    }

    /// How far behind the hub the position is, in percent of the ring.
    pub fn percent_behind(&self, state: &State) -> u8 {
        match self.position {
            Some(_) if self.is_current(state) => state.ring.percent_behind(self.next()),
            // Snapshots come next, whatever the ring holds.
            _ => 0,
        }
    }

    /// How much the client was given and has not acknowledged, in percent of the ring. One that has
    /// acknowledged all that it was given lags nothing, whatever others were given meanwhile.
    pub fn percent_unacknowledged(&self, state: &State) -> u8 {
        self.outstanding
            .map_or(0, |outstanding| state.ring.percent(outstanding.frames, outstanding.bytes))
    }

    /// The client is done with everything up to `cursor`; one of another stream says nothing.
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

    /// Moves the position over frames of other queries: whoever waits for its own is not behind
    /// because others were served.
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

    /// From now on only the newest result of each query matters. Returns how many results are passed
    /// over by that so far and were not reported before.
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

    /// The next frames, of `budget` bytes or one frame; empty when there is nothing new.
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

    /// The newest frame of each query that has not been given, and how many before it neither.
    fn owed<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (&'a Arc<Frame>, u64)> {
        state.queries.iter().enumerate().filter_map(|(index, query)| {
            let frame = &query.newest.as_ref()?.frame;
            let settled = self.settled.get(index).copied().unwrap_or(0);
            let owed = frame.nth > settled && self.queries.contains(&query.name);
            owed.then(|| (frame, frame.nth - settled - 1))
        })
    }

    /// Everything that there is has been given; what comes next is at the end of the ring.
    fn catch_up(&mut self, state: &State) {
        if let Some(last) = state.ring.end().checked_sub(1) {
            self.position = Some(last);
        }
    }

    /// Goes on after `cursor` where that is possible, else with snapshots; then the gap is returned.
    fn rejoin(&mut self, state: &State, cursor: Cursor) -> Option<Gap> {
        if state.judge(cursor) == Resume::Resumed {
            self.resume(state, cursor.seq);
            return None;
        }
        self.restart(state);
        Some(state.gap(cursor, &self.queries))
    }

    /// Snapshots of all queries come next; what was before them is no concern of this client.
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

    /// The frames after `seq` come next.
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
