//! The journal thread: it writes what the sources bring into the log.
//!
//! What has arrived during the last write is written together, as one group. A write ends in the page cache, so that a kill
//! of the process takes only what was not read from a queue. So nothing waits to be written while an fsync runs: another thread
//! runs it. It may wait for [`LINGER`], so that it is shared by several groups, unless the peer of a source waits for it.
//! The delivery gets each group when it is written, and sends it while the fsync runs.
//!
//! | what happens | what is done |
//! |---|---|
//! | the log cannot be written | it is reopened with backoff; meanwhile nothing is taken from the sources, and the collector is not ready |
//! | more waits for Kafka than `log.max_bytes`, or than the disk has room for, or the disk is full | the same, until there is room |
//! | all sources have ended | the rest is written, and the thread ends |
//! | the drain deadline has come | what is missing is written, all that was written is synced, and the thread ends |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::event::Reason;
use common::event::control::Control;
use common::message_log::{Appender, Entry, Error as LogError, MessageLog, Sequence};
use common::result::missed::Interval;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::arrivals::{Arrivals, Arrived};
use super::room::Room;
use super::wait::{Halt, Step, Waiter};
use crate::config::{Delivery, Mode, Release};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::intake::{Queue, Queued, Queues, Sifted};
use crate::ledger::{Account, CONTROL};
use crate::metrics::{Metrics, SourceMetrics};
use crate::receipt::{Receipt, Receipts};
use crate::traces::Traces;

#[cfg(test)]
mod tests;

/// A group that reaches one of these limits is full. The last message may take it above the number of bytes.
const GROUP_MESSAGES: usize = 1024;
const GROUP_BYTES: usize = 8 << 20;
/// How long an fsync may wait for further groups, and after how many bytes it does not wait any more. Twice as many are written
/// while one runs, at most, because they are kept in memory until they are on disk.
const LINGER: Duration = Duration::from_millis(2);
const UNSYNCED_BYTES: usize = 8 << 20;
/// How often it is written what is missing, while the log is full.
const TELL_FULL: Duration = Duration::from_secs(60);
/// How often a log is looked at that waits for room, or that the delivery may have found broken.
const TICK: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(1);

/// The state of the journal thread.
pub(super) struct Journal {
    pub(super) log: MessageLog,
    pub(super) clock: Clock,
    pub(super) appender: Appender,
    pub(super) queues: Queues,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) receipts: Arc<Receipts>,
    pub(super) traces: Traces,
    pub(super) mode: Mode,
    pub(super) room: Room,
    pub(super) writable: Condition,
    pub(super) metrics: Metrics,
    pub(super) waiter: Waiter,
    /// The fsync that runs.
    pub(super) syncing: Option<Syncing>,
    /// When the oldest group was written for which no fsync has begun.
    pub(super) unsynced: Option<Instant>,
    /// Whether a peer waits for a message in those groups.
    pub(super) is_urgent: bool,
    /// Where sources resume after messages that were left out, until something is written.
    pub(super) cursors: Cursors,
    /// Why nothing is taken although the log can be written.
    pub(super) full: Option<String>,
}

/// An fsync that another thread runs.
pub(super) struct Syncing {
    told: oneshot::Receiver<Result<(), LogError>>,
    /// Everything before is on disk when it is done.
    end: Sequence,
    began: Instant,
}

/// Where sources resume, by when that is stored.
#[derive(Default)]
pub(super) struct Cursors {
    /// Together with what they cover.
    now: BTreeMap<Arc<str>, Cursor>,
    /// When Kafka has what they cover.
    late: BTreeMap<Arc<str>, Cursor>,
    /// Those that other collectors are told of then.
    shared: BTreeMap<Arc<str>, Cursor>,
    /// Shares of the queues that are kept until they are stored, so that [`Intake::written`](crate::intake::Intake::written) waits
    /// for that.
    shares: BTreeMap<Arc<str>, OwnedSemaphorePermit>,
}

/// Messages of a source that are written together.
struct Counted {
    source: Arc<str>,
    metrics: SourceMetrics,
    messages: u64,
    bytes: u64,
    received_ms: i64,
}

impl Journal {
    /// Works until all sources have ended, or until the drain deadline. Blocks.
    ///
    /// # Errors
    /// An error that trying again cannot solve.
    pub(super) fn run(mut self) -> Result<(), Error> {
        self.writable.set();
        let ended = self.work();
        let ended = match ended {
            Err(Halt::Failed(error)) => Err(error),
            // What is left in the queues is lost with this process; a source that can asks for it again.
            Err(Halt::Deadline) if self.mode != Mode::Off => self.write_last().map_err(Error::from),
            Ok(()) | Err(Halt::Deadline) => Ok(()),
        };
        self.arrivals.close();
        ended
    }

    fn work(&mut self) -> Step {
        loop {
            self.waiter.check()?;
            self.finish_sync_if_done()?;
            self.await_room()?;
            let has_written = self.write_arrived()?;
            if self.is_sync_due(Instant::now(), !has_written && self.queues.are_closed()) {
                self.begin_sync();
            }
            if has_written {
                if self.appender.unsynced_bytes() >= 2 * UNSYNCED_BYTES {
                    self.finish_sync()?;
                }
                continue;
            }
            match (&self.syncing, self.unsynced) {
                (None, None) if self.queues.are_closed() => return Ok(()),
                (None, Some(since)) => {
                    self.wait_for_messages(LINGER.saturating_sub(since.elapsed()))?;
                }
                // Its end wakes this thread too.
                (Some(_), _) | (None, None) => self.wait_for_messages(IDLE)?,
            }
            if self.syncing.is_none() && self.log.is_latched() {
                self.mend(LogError::Latched)?;
            }
        }
    }

    fn wait_for_messages(&self, at_most: Duration) -> Step {
        let arrived = self.queues.some();
        let waiting = async { tokio::time::timeout(at_most, arrived).await };
        self.waiter.wait(waiting).map(|_in_time| ())
    }

    /// Whether an fsync is to begin; `is_last` says that nothing more will come for it to wait for.
    fn is_sync_due(&self, now: Instant, is_last: bool) -> bool {
        let is_due = |since| {
            is_last
                || self.is_urgent
                || now.duration_since(since) >= LINGER
                || self.appender.unsynced_bytes() >= UNSYNCED_BYTES
        };
        self.syncing.is_none() && self.unsynced.is_some_and(is_due)
    }

    /// Writes what has arrived as one group, and hands it on. Returns whether there was something.
    fn write_arrived(&mut self) -> Step<bool> {
        self.write(GROUP_MESSAGES)
    }

    /// The same with at most so many messages, and with what is missing.
    fn write(&mut self, messages: usize) -> Step<bool> {
        let mut entries: Vec<(Sequence, Entry)> = Vec::new();
        let mut shares = Vec::new();
        let mut cursors = std::mem::take(&mut self.cursors);
        let mut at_once: Vec<(Sequence, Receipt, Option<Reason>)> = Vec::new();
        let mut counted: Vec<Counted> = Vec::new();
        let (appender, receipts, is_urgent) =
            (&mut self.appender, &self.receipts, &mut self.is_urgent);
        let (mut not_written, is_off) = (0, self.mode == Mode::Off);
        let now_ms = self.clock.now_ms();
        self.queues.take(messages, GROUP_BYTES, now_ms, |queue, queued| {
            if queued.is_given_up() {
                not_written += 1;
                return;
            }
            let Queued { sifted: Sifted { message, left_out }, share } = queued;
            let has_cursor = message.cursor.is_some();
            if let Some(cursor) = message.cursor {
                cursors.add(queue, cursor, is_off);
            }
            if left_out.is_some() {
                queue.metrics.last_received.set_ms(message.received_ms);
                message.receipt.into_iter().for_each(Receipt::waive);
                if has_cursor {
                    cursors.shares.insert(Arc::clone(&queue.source), share);
                }
                not_written += 1;
                return;
            }
            let sequence = appender.allot();
            let (identity, reason) = match message.identity {
                Ok(identity) => (Some(identity), None),
                Err(reason) => (None, Some(reason)),
            };
            let mut share = Some(share);
            match (message.receipt, queue.release) {
                (None, _) => {}
                (Some(receipt), _) if queue.delivery == Delivery::AtMostOnce => {
                    at_once.push((sequence, receipt, reason));
                }
                (Some(receipt), Release::First) => {
                    receipts.add(sequence, receipt, reason);
                    *is_urgent = true;
                }
                (Some(receipt), Release::Both) => {
                    receipts.add_for_both(sequence, receipt, reason, share.take());
                }
            }
            let bytes = message.payload.len() as u64;
            match counted.last_mut() {
                Some(last) if Arc::ptr_eq(&last.source, &queue.source) => {
                    last.messages += 1;
                    last.bytes += bytes;
                    last.received_ms = message.received_ms;
                }
                _ => counted.push(Counted {
                    source: Arc::clone(&queue.source),
                    metrics: queue.metrics.clone(),
                    messages: 1,
                    bytes,
                    received_ms: message.received_ms,
                }),
            }
            let source = Arc::clone(&queue.source);
            let received_ms = message.received_ms;
            let entry = Entry { source, received_ms, identity, reason, payload: message.payload };
            entries.push((sequence, entry));
            shares.push(share);
        });
        let controls = controls(self.queues.missing(), now_ms);
        let told = controls.len() as u64;
        for entry in controls {
            entries.push((appender.allot(), entry));
            shares.push(None);
        }
        let Some((last, _)) = entries.last() else {
            self.cursors = cursors;
            return Ok(not_written > 0);
        };
        let last = *last;
        if !is_off {
            self.unsynced.get_or_insert_with(Instant::now);
            if let Err(error) = self.appender.append(&entries, &cursors.own()) {
                self.mend(error)?;
            }
        }
        // Before any of them is sent.
        for (sequence, receipt, reason) in at_once {
            receipt.release(sequence, reason);
        }
        // When they are in the log, and before the delivery can settle them.
        let received = counted.iter().map(|of| (of.metrics.account, of.messages));
        let received = received.chain([(Account::CONTROL, told)]);
        self.metrics.ledger.received(received, last.next());
        for Counted { metrics, bytes, received_ms, .. } in counted {
            metrics.received_bytes.inc_by(bytes);
            metrics.last_received.set_ms(received_ms);
        }
        for (source, cursor) in cursors.shared {
            self.queues.progress().logged(&source, last.next(), cursor);
        }
        let kept = shares.into_iter().map(|share| share.filter(|_| is_off));
        let arrived = entries.into_iter().zip(kept).map(|((sequence, entry), share)| Arrived {
            sequence,
            entry,
            share,
        });
        let late = cursors.late.into_iter().map(|(source, cursor)| (last.next(), source, cursor));
        self.arrivals.push(arrived.collect(), late.collect());
        Ok(true)
    }

    /// Begins an fsync of what was written, on a thread of its own.
    fn begin_sync(&mut self) {
        let (sync, waker) = (self.appender.begin_sync(), self.queues.waker());
        let (end, (tell, told)) = (sync.end(), oneshot::channel());
        self.waiter.spawn_blocking(move || {
            let synced = sync.run();
            // Before it is told, because the log may be closed then.
            drop(sync);
            let _nobody_listens = tell.send(synced);
            waker.notify_one();
        });
        self.syncing = Some(Syncing { told, end, began: Instant::now() });
        (self.unsynced, self.is_urgent) = (None, false);
    }

    fn finish_sync_if_done(&mut self) -> Step {
        match self.syncing.as_mut().map(|syncing| syncing.told.try_recv()) {
            None | Some(Err(TryRecvError::Empty)) => Ok(()),
            Some(Ok(synced)) => self.end_sync(synced),
            Some(Err(TryRecvError::Closed)) => self.end_sync(Err(LogError::Latched)),
        }
    }

    /// Waits for the fsync that runs, if one does.
    fn finish_sync(&mut self) -> Step {
        let Some(syncing) = &mut self.syncing else { return Ok(()) };
        // Its thread hangs up if it panics.
        let synced = self.waiter.wait(&mut syncing.told)?.unwrap_or(Err(LogError::Latched));
        self.end_sync(synced)
    }

    /// Waits until all that was written is on disk.
    fn sync_all(&mut self) -> Step {
        self.finish_sync()?;
        if self.unsynced.is_some() {
            self.begin_sync();
            self.finish_sync()?;
        }
        Ok(())
    }

    fn end_sync(&mut self, synced: Result<(), LogError>) -> Step {
        let Some(Syncing { end, began, .. }) = self.syncing.take() else { return Ok(()) };
        if let Err(error) = synced {
            return self.mend(error);
        }
        self.metrics.log_sync.observe(began.elapsed().as_secs_f64());
        self.appender.synced(end);
        self.synced(end);
        Ok(())
    }

    /// Everything before `end` is on disk.
    fn synced(&mut self, end: Sequence) {
        self.receipts.synced_before(end);
        self.traces.logged(end);
        self.arrivals.synced(end, self.mode == Mode::Pessimistic);
    }

    /// Reports that the log cannot be written, and reopens it with backoff until that succeeds.
    fn mend(&mut self, error: LogError) -> Step {
        // The log must not be opened while it runs.
        if let Some(Syncing { told, .. }) = self.syncing.take() {
            let _failed_too = self.waiter.wait(told)?;
        }
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut error = error;
        while error.retryable() {
            self.metrics.log_errors.inc();
            let delay = backoff.next_delay(&mut rand::rng());
            tracing::error!(%error, delay_ms = delay.as_millis(), "intake paused until the message log can be written");
            self.writable.unset(error.to_string());
            self.waiter.pause(delay)?;
            match self.appender.reopen() {
                Ok(end) => {
                    match &self.full {
                        None => self.writable.set(),
                        Some(why) => self.writable.unset(why.clone()),
                    }
                    if self.mode != Mode::Off {
                        (self.unsynced, self.is_urgent) = (None, false);
                        self.synced(end);
                    }
                    return Ok(());
                }
                Err(again) => error = again,
            }
        }
        Err(error.into())
    }

    /// Writes what is missing, and waits until all that was written is on disk.
    fn write_last(&mut self) -> Result<(), LogError> {
        if let Some(Syncing { told, .. }) = self.syncing.take() {
            told.blocking_recv().unwrap_or(Err(LogError::Latched))?;
        }
        let controls = controls(self.queues.all_missing(), self.clock.now_ms());
        let entries: Vec<_> =
            controls.into_iter().map(|entry| (self.appender.allot(), entry)).collect();
        if entries.is_empty() && self.appender.unsynced_bytes() == 0 {
            return Ok(());
        }
        self.appender.append(&entries, &self.cursors.own())?;
        self.appender.sync().map(|_end| ())
    }

    /// Waits while more is in the log than may wait for Kafka.
    fn await_room(&mut self) -> Step {
        let held = self.held_bytes();
        self.queues.load().set(self.room.part(held));
        let Some(why) = self.room.lack(held, self.log.has_room()) else { return Ok(()) };
        tracing::warn!(why, "the log is full");
        self.writable.unset(why.clone());
        self.full = Some(why);
        self.queues.load().set(1.0);
        self.sync_all()?;
        let mut told = Instant::now();
        loop {
            let held = self.held_bytes();
            if self.room.is_made(held, self.log.has_room()) {
                break;
            }
            // They are few, and may be above the limit.
            if told.elapsed() >= TELL_FULL && self.log.has_room() {
                told = Instant::now();
                self.write(0)?;
                self.sync_all()?;
            }
            self.waiter.pause(TICK)?;
            let made = if self.log.has_room() { Ok(()) } else { self.log.make_room() };
            match made {
                Err(error) => self.mend(error)?,
                Ok(()) if self.log.is_latched() => self.mend(LogError::Latched)?,
                Ok(()) => {}
            }
        }
        self.full = None;
        self.writable.set();
        Ok(())
    }

    /// How many bytes wait for Kafka.
    fn held_bytes(&mut self) -> u64 {
        let held = self.appender.held_bytes();
        self.metrics.log_held.set(i64::try_from(held).unwrap_or(i64::MAX));
        held
    }
}

/// The entries that tell that this is missing.
fn controls(missing: Vec<Interval>, received_ms: i64) -> Vec<Entry> {
    let entry = |interval| {
        let (identity, payload) = Control::missed(rand::random(), interval);
        let (source, identity) = (CONTROL.into(), Some(identity));
        Entry { source, received_ms, identity, reason: None, payload: payload.into() }
    };
    missing.into_iter().map(entry).collect()
}

impl Cursors {
    /// Those that are stored together with what they cover.
    fn own(&self) -> Vec<(&str, &[u8])> {
        self.now.iter().map(|(source, cursor)| (&**source, &*cursor.0)).collect()
    }

    /// A message that was in this queue came with this cursor. Without a log all is stored when Kafka has it.
    fn add(&mut self, queue: &Queue, cursor: Cursor, is_off: bool) {
        if queue.is_leased {
            self.shared.insert(Arc::clone(&queue.source), cursor.clone());
        }
        let is_late = is_off || queue.release == Release::Both;
        let cursors = if is_late { &mut self.late } else { &mut self.now };
        cursors.insert(Arc::clone(&queue.source), cursor);
    }
}
