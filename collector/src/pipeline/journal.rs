//! The message log as the writer thread uses it: an operation is repeated until it succeeds.
//!
//! After an error the collector is not ready, and the log is reopened with backoff until it can be written
//! again. Meanwhile the writer thread waits in here, so that it takes nothing from the source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::backoff::Backoff;
use common::clock::Clock;
use common::event::Reason;
use common::message_log::{self, Entry, Family, MessageLog, Sequence};

use super::wait::{Step, Waiter};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::source::cursor::Cursor;

/// How often at most the oldest pending entry is read for its age, as long as there are some all the time.
const OLDEST_INTERVAL: Duration = Duration::from_secs(1);

/// A source's entries on their way to Kafka, and where the source would resume.
pub(super) struct Journal {
    log: MessageLog,
    source: Arc<str>,
    cursor: Cursor,
    clock: Clock,
    /// The entry whose age is shown, and since when.
    oldest: Option<(Sequence, Instant)>,
    writable: Condition,
    metrics: Metrics,
    waiter: Waiter,
}

/// What to do about an entry that was refused.
pub(super) enum Refused {
    /// The entry is an event: this is its dead letter, to be sent.
    DeadLetter(Entry),
    /// Nothing: the entry is a dead letter already, or is not pending.
    Kept,
}

impl Journal {
    pub(super) const fn new(
        log: MessageLog,
        source: Arc<str>,
        cursor: Cursor,
        clock: Clock,
        writable: Condition,
        metrics: Metrics,
        waiter: Waiter,
    ) -> Self {
        Self { log, source, cursor, clock, oldest: None, writable, metrics, waiter }
    }

    /// The log itself, for reading.
    pub(super) const fn log(&self) -> &MessageLog {
        &self.log
    }

    /// Where the source would resume after what is written, in milliseconds since 1970.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor.position()
    }

    /// Gives out the next sequence.
    pub(super) fn allot(&mut self) -> Sequence {
        self.log.allot()
    }

    /// Reports to `/ready` that the log can be written.
    pub(super) fn ready(&self) {
        self.writable.set();
    }

    /// Writes entries, which must be in the order of their arrival, and the cursor that follows from them.
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

    /// Forgets an entry, because Kafka has acknowledged it: as a dead letter if there is a `reason`.
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

    /// Moves an entry to the failed ones, because Kafka refuses it. Returns its dead letter if it is an event.
    pub(super) fn refuse(&mut self, sequence: Sequence) -> Step<Refused> {
        let Some((entry, evicted)) =
            self.retry(|log| log.fail(sequence, Reason::RefusedByKafka))?
        else {
            return Ok(Refused::Kept);
        };
        if let Some(evicted) = evicted {
            self.metrics.evicted.inc();
            tracing::error!(sequence = %evicted, "a refused entry is lost, because more than log.max_failed of them wait");
        }
        // An entry with another reason was sent as a dead letter in the first place.
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

    /// Removes entries that are done from the disk, if a removal is due.
    pub(super) fn truncate(&mut self) -> Step {
        self.retry(|log| log.truncate(Instant::now())).map(|_truncated| ())
    }

    /// Sets the metrics that show how much is in the log, and since when.
    pub(super) fn count(&mut self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pending.set(gauge(self.log.pending()));
        self.metrics.failed.set(gauge(self.log.failures()));
        let (first, now) = (self.log.oldest_pending(), Instant::now());
        let is_current = |&(sequence, since): &(Sequence, Instant)| {
            Some(sequence) == first || now.duration_since(since) < OLDEST_INTERVAL
        };
        if first.is_none() {
            self.oldest = None;
            self.metrics.oldest_pending.count_from(None);
        } else if !self.oldest.as_ref().is_some_and(is_current)
            && let Some(sequence) = first
            // One that cannot be read now is met again when it is to be sent, and that is when it matters.
            && let Ok(Some(entry)) = self.log.get(sequence)
        {
            self.oldest = Some((sequence, now));
            let age_ms = self.clock.now_ms().saturating_sub(entry.received_ms);
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            self.metrics.oldest_pending.count_from(now.checked_sub(age));
        }
    }

    /// Closes the log.
    pub(super) fn close(self) -> Result<(), Error> {
        Ok(self.log.close()?)
    }

    /// Repeats `act` until it succeeds, and reopens the log after each failure.
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

    /// Reports that the log cannot be written, and reopens it with backoff until that succeeds.
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
