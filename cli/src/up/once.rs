//! `--once`: waits until the feed has ended, or until collecting from it was stopped, and the results reflect all of it; then prints
//! them.
//!
//! Three conditions must hold: the feed has sent its last line (or the collector was stopped at a limit, and has delivered
//! what it had); each of its lines is in `raw-rsvps`
//! or among the dead letters ([`ledger`](super::ledger)); and the newest result of every query, as a client
//! of the access-api gets it, covers all offsets of `raw-rsvps`. Crashes of processes meanwhile do not matter.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use common::kafka::reader::Span;
use common::protocol::{Queries, ServerFrame};
use common::result::TopN;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::args::Limits;
use super::completion::covers;
use super::console::Console;
use super::feed::RunningFeed;
use super::ledger::{Ledger, Written};
use super::process::State;
use super::tiers::Analysis;
use crate::client::{self, Event};
use crate::simulate::Progress;

const TICK: Duration = Duration::from_secs(1);
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// After this long without any progress `up` gives up.
const STALLED: Duration = Duration::from_secs(120);

/// The last line on stdout.
#[derive(Debug, Serialize)]
struct LastLine<'a> {
    summary: Summary<'a>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    received: u64,
    published: u64,
    duplicates: u64,
    /// Lines that are longer than the collector accepts.
    left_out: u64,
    dead_letters: &'a BTreeMap<String, u64>,
}

/// Waits for the answer and prints it.
///
/// # Errors
/// When the feed cannot be read to its end, records are lost, there is no progress any more, or stdout is closed. An
/// answer with gaps is printed before the error is returned.
pub async fn answer(
    analysis: &Analysis,
    listen: SocketAddr,
    ledger: Ledger,
    fed: Fed<'_>,
    console: &Console,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let _at_the_end = stop.clone().drop_guard();
    let (expect, lines) = oneshot::channel();
    let (tell, written) = watch::channel(Written::default());

    let feed = fed.feed();
    let mut limit = written.clone();
    let feeding = async {
        let feed = match fed {
            Fed::Served(feed) => feed,
            Fed::Limited { limits, state, stop, .. } => {
                console.say(format!("stopped collecting: {}", reached(limits, &mut limit).await));
                stop.cancel();
                ended(state).await;
                // It fails only when the ledger has ended with an error, which is reported there.
                let _told = expect.send(HashMap::new());
                return Ok(());
            }
        };
        feed.through().await?;
        let Progress { sent, left_out, .. } = feed.progress();
        console.say(format!("the feed has sent all its lines: {sent}"));
        if left_out > 0 {
            console.say(format!(
                "{left_out} of them were left out, because they are longer than the collector's max_message_bytes"
            ));
        }
        // It fails only when the ledger has ended with an error, which is reported there.
        let _told = expect.send(feed.lines().await?);
        Ok::<_, Error>(())
    };
    let mut answer = Answer::new(analysis, written, feed, console);
    let complete = async {
        let ((), ()) = tokio::try_join!(feeding, answer.complete(listen, stop.clone()))?;
        Ok::<_, Error>(())
    };
    tokio::select! {
        outcome = complete => outcome?,
        outcome = ledger.follow(lines, tell, stop.clone()) => outcome?,
    }
    answer.print(std::io::stdout().lock()).map_err(Error::Stdout)?;
    answer.check_events().await?;
    match answer.results.values().map(|result| result.gaps.len()).max() {
        Some(gaps @ 1..) => Err(Error::Incomplete { gaps }),
        _ => Ok(()),
    }
}

/// The feed of `--once`.
pub enum Fed<'a> {
    /// One that `up` serves, which ends.
    Served(&'a RunningFeed),
    /// One that does not end. The collector is stopped at a limit.
    Limited {
        /// When.
        limits: Limits,
        /// The collector's state.
        state: watch::Receiver<State>,
        /// Stops the collector.
        stop: CancellationToken,
        /// The feed, if `up` serves it.
        feed: Option<&'a RunningFeed>,
    },
}

impl<'a> Fed<'a> {
    /// The feed that `up` serves.
    const fn feed(&self) -> Option<&'a RunningFeed> {
        match self {
            Self::Served(feed) => Some(feed),
            Self::Limited { feed, .. } => *feed,
        }
    }
}

/// Waits until a limit is reached. Returns which one, in words.
async fn reached(limits: Limits, written: &mut watch::Receiver<Written>) -> String {
    let time = async {
        match limits.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time);
    loop {
        let Written { read, events, .. } = *written.borrow_and_update();
        if limits.events.is_some_and(|most| events >= most) {
            return format!("{events} events are in kafka (--events)");
        }
        let quiet = async {
            match limits.idle.filter(|_| read > 0) {
                Some(idle) => tokio::time::sleep(idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut time => return "its time is over (--for)".to_owned(),
            () = quiet => return "nothing came any more (--idle)".to_owned(),
            changed = written.changed() => if changed.is_err() {
                // The ledger has ended, and its error is reported by its own future.
                std::future::pending::<()>().await;
            },
        }
    }
}

/// Waits for the end of a process.
async fn ended(mut state: watch::Receiver<State>) {
    while state.changed().await.is_ok() {}
}

/// The answer, as far as it is known.
struct Answer<'a> {
    queries: Vec<String>,
    results: BTreeMap<String, TopN>,
    /// Why there is no connection to the access-api.
    lost: Option<client::Error>,
    written: watch::Receiver<Written>,
    feed: Option<&'a RunningFeed>,
    console: &'a Console,
}

/// Numbers of which at least one changes while there is progress.
#[derive(Debug, PartialEq, Eq)]
struct Movement {
    sent: u64,
    read_again: u64,
    read: u64,
    missing: Option<u64>,
    reflected: u64,
}

impl<'a> Answer<'a> {
    fn new(
        analysis: &Analysis,
        written: watch::Receiver<Written>,
        feed: Option<&'a RunningFeed>,
        console: &'a Console,
    ) -> Self {
        let queries = analysis.queries().map(str::to_owned).collect();
        Self { queries, results: BTreeMap::new(), lost: None, written, feed, console }
    }

    async fn complete(&mut self, listen: SocketAddr, stop: CancellationToken) -> Result<(), Error> {
        let mut events = client::follow(&format!("ws://{listen}/v1/ws"), Queries::All, stop)?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut moved = (self.movement(), Instant::now());
        let mut reported = Instant::now();
        while !self.is_complete() {
            tokio::select! {
                Some(event) = events.recv() => self.take(event),
                changed = self.written.changed() => if changed.is_err() {
                    // The ledger has ended, and its error is reported by its own future.
                    std::future::pending::<()>().await;
                },
                _ = tick.tick() => {}
            }
            let movement = self.movement();
            let waits = self.waits();
            if movement != moved.0 || waits {
                moved = (movement, Instant::now());
            } else if moved.1.elapsed() >= STALLED {
                return Err(Error::Stalled { seconds: STALLED.as_secs(), awaited: self.awaited() });
            }
            if reported.elapsed() >= REPORT_EVERY && !self.is_complete() {
                reported = Instant::now();
                self.console.say(format!("waiting for {}", self.awaited()));
            }
        }
        Ok(())
    }

    /// Keeps a newer result. After a reconnect the server may send an older one than before, which is ignored.
    fn take(&mut self, event: Event) {
        match event {
            Event::Frame(frame) => {
                let (ServerFrame::Snapshot(update) | ServerFrame::Result(update)) = *frame else {
                    return;
                };
                let known = self.results.get(&update.query).map_or(0, |known| known.version);
                if update.result.version >= known {
                    self.results.insert(update.query, update.result);
                }
            }
            // It is only shown if the wait gets long: the end of a tier is reported by its supervisor.
            Event::Lost { why, .. } => self.lost = Some(why),
            Event::Unknown(error) => {
                self.console.say(format!("cannot read a frame of the access-api: {error}"))
            }
            Event::Connected => self.lost = None,
        }
    }

    fn is_complete(&self) -> bool {
        self.written.borrow().raw.as_ref().is_some_and(|spans| self.behind(spans).is_empty())
    }

    /// The queries whose results do not cover `spans`.
    fn behind(&self, spans: &BTreeMap<i32, Span>) -> Vec<&str> {
        let covered = |query: &str| {
            self.results.get(query).is_some_and(|result| covers(&result.offsets, spans))
        };
        self.queries.iter().map(String::as_str).filter(|query| !covered(query)).collect()
    }

    /// Checks that there was at least one event. A recording without any event is an error.
    async fn check_events(&self) -> Result<(), Error> {
        let Some((feed, recording)) = self.feed.and_then(|feed| Some((feed, feed.recorded()?)))
        else {
            return Ok(());
        };
        if self.written.borrow().events > 0 {
            return Ok(());
        }
        let recording = recording.to_owned();
        Err(match feed.first_line().await? {
            Some(first_line) => Error::NoEvents { recording, first_line },
            None => Error::NoLines { recording },
        })
    }

    /// Whether nothing has to move: a pipe, or a feed elsewhere, may give nothing for as long as it likes.
    fn waits(&self) -> bool {
        let is_open = self.written.borrow().missing.is_none();
        self.feed.map_or(is_open, |feed| feed.progress().waits)
    }

    fn movement(&self) -> Movement {
        let written = self.written.borrow();
        let progress = self.feed.map(RunningFeed::progress);
        Movement {
            sent: progress.map_or(0, |progress| progress.sent),
            read_again: progress.map_or(0, |progress| progress.read_again),
            read: written.read,
            missing: written.missing,
            reflected: self.results.values().map(|result| result.version).sum(),
        }
    }

    /// What is still missing for the answer, in words.
    fn awaited(&self) -> String {
        let written = self.written.borrow();
        match (written.missing, &written.raw) {
            (None, _) => {
                let read = written.read;
                let Some(feed) = self.feed else {
                    return format!("the feed: {read} messages are in kafka");
                };
                let progress = feed.progress();
                let of = progress.total.map_or_else(String::new, |total| format!(" of {total}"));
                let Progress { sent, clients, read_again, waits, .. } = progress;
                let now = match (waits, progress.exhausted()) {
                    (true, _) => {
                        "; the recording is a pipe that has not given its next line".into()
                    }
                    (false, true) => format!("; {read_again} lines read again to compare them"),
                    (false, false) => String::new(),
                };
                format!(
                    "the feed: {sent}{of} lines sent to {clients} client(s), {read} in kafka{now}"
                )
            }
            (Some(0), Some(spans)) => {
                let why = self.lost.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
                format!("the results of {}{why}", self.behind(spans).join(", "))
            }
            (Some(0), None) => "kafka to tell the ends of its topics".to_owned(),
            (Some(missing), _) => format!("the collector: {missing} lines are not in kafka yet"),
        }
    }

    fn print(&self, mut out: impl Write) -> std::io::Result<()> {
        for result in self.queries.iter().filter_map(|query| self.results.get(query)) {
            serde_json::to_writer(&mut out, result)?;
            writeln!(out)?;
        }
        let written = self.written.borrow();
        let spans = written.raw.as_ref();
        let records: u64 = spans.into_iter().flatten().map(|(_, span)| span.records()).sum();
        let is_within = |(partition, offset): &&(i32, i64)| {
            spans.and_then(|spans| spans.get(partition)).is_some_and(|span| *offset < span.end)
        };
        // Those of earlier runs on the same data are not known, and are among the records.
        let published = records - written.controls.iter().filter(is_within).count() as u64;
        let dead: u64 = written.dead_letters.values().sum();
        let summary = Summary {
            received: published + dead,
            published,
            duplicates: self.results.values().map(|result| result.duplicates).max().unwrap_or(0),
            left_out: self.feed.map_or(0, |feed| feed.progress().left_out),
            dead_letters: &written.dead_letters,
        };
        serde_json::to_writer(&mut out, &LastLine { summary })?;
        writeln!(out)?;
        out.flush()
    }
}
