//! How far is the timeline, and who listens?
//!
//! All clients share one [`Audience`]. Each has a [`Listener`], which reads the timeline from a position of its
//! own. Only a listener that reads beyond `sent` moves the timeline on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::clock::Clock;
use super::line::{Line, Next};
use super::mtimes::Mtimes;
use super::timeline::{Feed, Kept, Reader, Timeline};
use super::{Error, Pace};

/// How many bytes are read for a client before they are written, unless a single line is longer.
const BATCH_BYTES: usize = 64 << 10;

/// How far a feed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// How many lines were sent, each counted once however often it was served again. Lines that were left out
    /// count too.
    pub sent: u64,
    /// How many lines were left out because they are longer than a message may be.
    pub left_out: u64,
    /// How many lines were read again to find out what was sent.
    pub read_again: u64,
    /// Whether the recording is a pipe that has not given its next line yet.
    pub waits: bool,
    /// The number of lines in the timeline; `None` while it is not known.
    pub total: Option<u64>,
    /// How many clients are connected.
    pub clients: usize,
}

/// Where a client wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// At the next line that is sent.
    Live,
    /// At the first line that was sent with this `mtime` or a later one; with 0 or less, at the first line.
    Mtime(i64),
    /// This many lines before the next one.
    Count(u64),
}

/// Lines to be written in this order.
#[derive(Debug)]
pub(super) struct Batch {
    pub lines: Vec<Line>,
    /// Whether the last line is to be cut in the middle, and the connection closed there.
    pub cut: bool,
}

/// Why a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The next line is not due yet, or the batch is full.
    Due,
    /// The next line is not available yet.
    Later,
    /// The timeline has ended.
    End,
}

/// The state that the clients of a feed share.
#[derive(Debug)]
pub(super) struct Audience {
    timeline: Timeline,
    break_every: Option<u64>,
    max_message_bytes: usize,
    kept: Kept,
    state: Mutex<State>,
    outcome: watch::Sender<Option<Result<(), Error>>>,
}

#[derive(Debug)]
struct State {
    clock: Clock,
    mtimes: Mtimes,
    progress: Progress,
}

/// A client's position in the timeline. The clock stops when the last listener is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    reader: Reader,
    /// A line that was read already and is the next one to be sent.
    peeked: Option<Line>,
    /// An error that comes after the lines that were returned last.
    failed: Option<Error>,
    seat: Seat,
}

/// Counts as one connected client until it is dropped.
#[derive(Debug)]
struct Seat(Arc<Audience>);

impl Progress {
    /// Whether every line was sent.
    pub fn exhausted(&self) -> bool {
        self.total == Some(self.sent)
    }
}

impl Audience {
    pub(super) fn new(feed: Feed, pace: Pace) -> Self {
        let (break_every, max_message_bytes) = (feed.breaks(), feed.longest_message());
        let kept = feed.kept();
        let timeline = feed.open(pace);
        let progress = Progress { total: timeline.total(), ..Progress::default() };
        let outcome = progress.exhausted().then_some(Ok(()));
        let state = State { clock: Clock::new(pace), mtimes: Mtimes::new(), progress };
        Self {
            timeline,
            break_every,
            max_message_bytes,
            kept,
            state: Mutex::new(state),
            outcome: watch::Sender::new(outcome),
        }
    }

    pub(super) const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub(super) fn progress(&self) -> Progress {
        self.state().progress
    }

    /// Waits until every line was sent, or until the feed failed.
    pub(super) async fn exhausted(&self) -> Result<(), Error> {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            // Neither can happen: the sender is in `self`, and `wait_for` returns only a value that is set.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Adds a client. It counts as connected at once, although opening the timeline far from its start may take a while.
    pub(super) async fn join(self: &Arc<Self>, since: Since) -> Result<Listener, Error> {
        let (seat, sent, start) = self.seat(since);
        let opened = spawn_blocking(move || {
            let reader =
                seat.0.timeline.reader(start).inspect_err(|error| seat.0.settle(Err(error)))?;
            let mut listener = Listener { reader, peeked: None, failed: None, seat };
            if let Since::Mtime(since_ms) = since {
                listener.seek(since_ms, sent)?;
            }
            Ok(listener)
        });
        opened.await.map_err(|error| Error::Stopped(Arc::new(error))).flatten()
    }

    fn seat(self: &Arc<Self>, since: Since) -> (Seat, u64, u64) {
        let mut state = self.state();
        state.progress.clients += 1;
        state.clock.start(Instant::now());
        let sent = state.progress.sent;
        let start = match since {
            Since::Live => sent,
            Since::Count(lines) => sent.saturating_sub(lines),
            Since::Mtime(since_ms) if since_ms <= 0 => 0,
            Since::Mtime(since_ms) => state.mtimes.look_from(since_ms).unwrap_or(sent),
        };
        (Seat(Arc::clone(self)), sent, start)
    }

    /// Counts lines that are about to be written, the first of them at `position`. Lines that were sent before are not
    /// counted again.
    fn advance(&self, position: u64, lines: &[Line], ended: bool) {
        let mut state = self.state();
        let known =
            usize::try_from(state.progress.sent.saturating_sub(position)).unwrap_or(usize::MAX);
        for line in lines.iter().skip(known) {
            state.mtimes.push(line.mtime_ms);
            state.progress.sent += 1;
            state.progress.left_out += u64::from(!self.takes(line));
            state.progress.waits = false;
        }
        if ended {
            state.progress.total = Some(state.progress.sent);
        }
        let exhausted = state.progress.exhausted();
        drop(state);
        if exhausted {
            self.settle(Ok(()));
        }
    }

    /// Whether the line is short enough to be a message.
    pub(super) const fn takes(&self, line: &Line) -> bool {
        line.bytes.len() <= self.max_message_bytes
    }

    /// Which lines the clients take of those that they are sent.
    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Counts lines that were read again.
    pub(super) fn add_read_again(&self, lines: u64) {
        self.state().progress.read_again += lines;
    }

    /// Sets the outcome, unless it is set already.
    fn settle(&self, result: Result<(), &Error>) {
        self.outcome.send_if_modified(|outcome| {
            let first = outcome.is_none();
            if first {
                *outcome = Some(result.map_err(Error::clone));
            }
            first
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is harmless: each change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next lines, as soon as one is due. Waits for ever after the last one.
    ///
    /// Cancel safe: nothing is lost when the future is dropped. It reads at most [`BATCH_BYTES`] or one line, normally
    /// from the page cache, and therefore does so on the thread of the runtime.
    pub(super) async fn next_batch(&mut self) -> Result<Batch, Error> {
        loop {
            let position = self.position();
            let now = Instant::now();
            let (progress, due, due_at) = {
                let state = self.seat.0.state();
                (
                    state.progress,
                    state.clock.due(now).max(state.progress.sent),
                    state.clock.due_at(position),
                )
            };
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if progress.total == Some(position) {
                return std::future::pending().await;
            }
            if position < due {
                // Once the end of a recording is known it stays, whatever happens to the file later.
                let due = due.min(progress.total.unwrap_or(u64::MAX));
                let (mut batch, stop) = self.read(due, progress.sent)?;
                self.seat.0.advance(position, &batch.lines, stop == Stop::End);
                if batch.lines.is_empty() && stop == Stop::Later {
                    self.seat.0.state().progress.waits = true;
                    self.reader.grown().await;
                }
                batch.lines.retain(|line| self.seat.0.takes(line));
                if !batch.lines.is_empty() {
                    return Ok(batch);
                }
            } else {
                match due_at {
                    Some(due_at) => tokio::time::sleep_until(due_at.into()).await,
                    None => return std::future::pending().await,
                }
            }
        }
    }

    /// Reads lines that are due and available. Also returns why it stopped.
    fn read(&mut self, due: u64, sent: u64) -> Result<(Batch, Stop), Error> {
        let mut batch = Batch { lines: Vec::new(), cut: false };
        let mut bytes = 0;
        while self.position() < due && bytes < BATCH_BYTES && !batch.cut {
            match self.next_line() {
                Ok(Next::Line(line)) => {
                    bytes += line.bytes.len().max(1);
                    let position = self.position();
                    let breaks = self.seat.0.break_every;
                    let breaks = breaks.is_some_and(|every| position.is_multiple_of(every));
                    batch.cut = breaks && position > sent && self.seat.0.takes(&line);
                    batch.lines.push(line);
                }
                Ok(Next::Later) => return Ok((batch, Stop::Later)),
                Ok(Next::End) => return Ok((batch, Stop::End)),
                Err(error) if batch.lines.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok((batch, Stop::Due))
    }

    /// Moves to the first line with `mtime >= since_ms` before `end`, or to `end`. Blocks.
    fn seek(&mut self, since_ms: i64, end: u64) -> Result<(), Error> {
        while since_ms > 0 && self.position() < end {
            let Next::Line(line) = self.next_line()? else { break };
            if line.mtime_ms.is_some_and(|mtime| mtime >= since_ms) {
                self.peeked = Some(line);
                break;
            }
        }
        Ok(())
    }

    const fn position(&self) -> u64 {
        self.reader.position() - self.peeked.is_some() as u64
    }

    fn next_line(&mut self) -> Result<Next, Error> {
        match self.peeked.take() {
            Some(line) => Ok(Next::Line(line)),
            None => self.reader.next_line().inspect_err(|error| self.seat.0.settle(Err(error))),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.progress.clients -= 1;
        if state.progress.clients == 0 {
            state.clock.stop(Instant::now());
        }
    }
}
