//! The message log as the writer thread has it: written for as long as it takes.
//!
//! A write error latches: the collector is not ready, the writer thread stays here, so that nothing is
//! taken from the source, and the log is reopened with backoff until it can be written again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::backoff::Backoff;
use common::event::Reason;
use common::message_log::{self, Entry, Family, MessageLog, Sequence};

use super::wait::{Step, Waiter};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::source::cursor::Cursor;

/// A source's entries on their way to Kafka, and where the source goes on.
pub(super) struct Journal {
    log: MessageLog,
    source: Arc<str>,
    cursor: Cursor,
    writable: Condition,
    metrics: Metrics,
    waiter: Waiter,
}

/// What became of an entry that was refused.
pub(super) enum Refused {
    /// It was an event: this is its dead letter.
    DeadLetter(Entry),
    /// It is a dead letter already, or is not in the log.
    Kept,
}

impl Journal {
    pub(super) const fn new(
        log: MessageLog,
        source: Arc<str>,
        cursor: Cursor,
        writable: Condition,
        metrics: Metrics,
        waiter: Waiter,
    ) -> Self {
        Self { log, source, cursor, writable, metrics, waiter }
    }

    /// The log itself, to look at.
    pub(super) const fn log(&self) -> &MessageLog {
        &self.log
    }

    /// Where the source goes on after what is written.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor.position()
    }

    /// The next sequence.
    pub(super) fn allot(&mut self) -> Sequence {
        self.log.allot()
    }

    /// Says that the log can be written.
    pub(super) fn ready(&self) {
        self.writable.set();
    }

    /// Writes entries that came in this order.
    pub(super) fn append(&mut self, entries: &[(Sequence, Entry)]) -> Step {
        for (_, entry) in entries {
            let time_ms = entry.identity.as_ref().and_then(|identity| identity.time_ms);
            self.cursor.observe(entry.received_ms, time_ms);
        }
        let (source, cursor) = (Arc::clone(&self.source), self.cursor.position());
        let duration = self.metrics.log_sync.clone();
        self.retry(|log| {
            let began = Instant::now();
            log.append(entries, Some((&source, cursor)))?;
            duration.observe(began.elapsed().as_secs_f64());
            Ok(())
        })?;
        self.metrics.cursor.set(cursor);
        self.count();
        Ok(())
    }

    /// Kafka has the entry, as a dead letter if there is a `reason`.
    pub(super) fn acknowledge(&mut self, sequence: Sequence, reason: Option<Reason>) -> Step {
        if self.retry(|log| log.acknowledge(sequence))?.is_some() {
            match reason {
                None => self.metrics.published.inc(),
                Some(reason) => {
                    self.metrics.dead_letters.with_label_values(&[reason.as_str()]).inc();
                }
            }
        }
        Ok(())
    }

    /// Kafka refuses the entry, whose bytes as a dead letter are returned if it was an event.
    pub(super) fn refuse(&mut self, sequence: Sequence) -> Step<Refused> {
        let Some((entry, evicted)) =
            self.retry(|log| log.fail(sequence, Reason::RefusedByKafka))?
        else {
            return Ok(Refused::Kept);
        };
        if let Some(evicted) = evicted {
            self.metrics.evicted.inc();
            tracing::error!(sequence = %evicted, "a refused entry is lost: log.max_failed are kept already");
        }
        // One that had a reason of its own was sent as a dead letter in the first place.
        let was_event = entry.reason == Some(Reason::RefusedByKafka);
        Ok(if was_event { Refused::DeadLetter(entry) } else { Refused::Kept })
    }

    /// The entry of this sequence, if it is in the log.
    pub(super) fn entry(&mut self, sequence: Sequence) -> Step<Option<Entry>> {
        self.retry(|log| log.get(sequence))
    }

    /// A page of a family, oldest first.
    pub(super) fn page(
        &mut self,
        family: Family,
        after: Option<Sequence>,
        limit: usize,
    ) -> Step<Vec<(Sequence, Entry)>> {
        self.retry(|log| log.read(family, after, limit))
    }

    /// Removes what is done, if it is time.
    pub(super) fn truncate(&mut self) -> Step {
        self.retry(|log| log.truncate(Instant::now())).map(|_truncated| ())
    }

    /// Shows how much is in the log.
    pub(super) fn count(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pending.set(gauge(self.log.pending()));
        self.metrics.failed.set(gauge(self.log.failures()));
    }

    /// Closes the log.
    pub(super) fn close(self) -> Result<(), Error> {
        Ok(self.log.close()?)
    }

    /// Does something to the log, reopening it as often as needed.
    fn retry<T>(
        &mut self,
        act: impl Fn(&mut MessageLog) -> Result<T, message_log::Error>,
    ) -> Step<T> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut latched = false;
        loop {
            match act(&mut self.log) {
                Ok(done) => {
                    if latched {
                        self.writable.set();
                    }
                    return Ok(done);
                }
                Err(error) => self.reopen(error, &mut backoff)?,
            }
            latched = true;
        }
    }

    /// After a write error: not ready, then reopen, until that succeeds.
    fn reopen(&mut self, error: message_log::Error, backoff: &mut Backoff) -> Step {
        let mut error = error;
        while error.retryable() {
            self.metrics.log_errors.inc();
            let delay = backoff.next_delay(&mut rand::rng());
            tracing::error!(%error, delay_ms = delay.as_millis(), "intake paused until the message log can be written");
            self.writable.unset(error.to_string());
            self.waiter.pause(delay)?;
            match self.log.reopen() {
                Ok(()) => return Ok(()),
                Err(again) => error = again,
            }
        }
        Err(error.into())
    }
}
