//! Writing to the log, for as long as it takes.
//!
//! A write error latches: the collector is not ready, the writer thread stays here, so that nothing is
//! taken from the source, and the log is reopened with backoff until it can be written again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::backoff::Backoff;
use common::message_log::{self, Entry, MessageLog, Sequence};

use super::Pipeline;
use crate::error::Error;

impl Pipeline {
    /// Writes to the log, for as long as it takes.
    pub(super) fn append(&mut self, entries: &[(Sequence, Entry)]) -> Result<(), Error> {
        let duration = self.metrics.log_sync.clone();
        let (source, cursor) = (Arc::clone(&self.source), self.cursor.position());
        self.with_log(|log| {
            let began = Instant::now();
            log.append(entries, Some((&source, cursor)))?;
            duration.observe(began.elapsed().as_secs_f64());
            Ok(())
        })?;
        self.metrics.cursor.set(cursor);
        self.count();
        Ok(())
    }

    /// After a write error: not ready, then reopen, until that succeeds.
    fn latch(&mut self, error: Error, backoff: &mut Backoff) -> Result<(), Error> {
        if !error.retryable() {
            return Err(error);
        }
        let mut error = error;
        loop {
            self.metrics.log_errors.inc();
            let delay = backoff.next_delay(&mut rand::rng());
            tracing::error!(%error, delay_ms = delay.as_millis(), "intake paused until the message log can be written");
            self.conditions.log.unset(error.to_string());
            self.pause(delay)?;
            match self.log.reopen() {
                Ok(()) => return Ok(()),
                Err(again) if again.retryable() => error = again.into(),
                Err(again) => return Err(again.into()),
            }
        }
    }

    /// Does something to the log, reopening it as often as needed.
    pub(super) fn with_log<T>(
        &mut self,
        act: impl Fn(&mut MessageLog) -> Result<T, message_log::Error>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut latched = false;
        loop {
            match act(&mut self.log) {
                Ok(done) => {
                    if latched {
                        self.conditions.log.set();
                    }
                    return Ok(done);
                }
                Err(error) => self.latch(error.into(), &mut backoff)?,
            }
            latched = true;
        }
    }

    pub(super) fn truncate(&mut self) -> Result<(), Error> {
        self.with_log(|log| log.truncate(Instant::now())).map(|_truncated| ())
    }
}
