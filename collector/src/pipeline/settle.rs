//! What follows from Kafka's answers: forget, dead-letter, or send again.

use std::time::Duration;

use common::backoff::Backoff;
use common::event::Reason;
use common::kafka::{Topic, reader};
use common::message_log::{Family, Sequence};

use super::Pipeline;
use crate::error::Error;
use crate::publisher::{Outcome, Publisher};
use crate::read_back::{Arrived, read_back};

/// Entries that are read from the log at once when it is replayed.
const REPLAY_PAGE: usize = 256;

impl Pipeline {
    /// Works off what Kafka answered, and mends the producer if it broke.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        self.answers()?;
        while let Some(why) = self.broken.take() {
            self.rebuild(&why)?;
        }
        Ok(())
    }

    pub(super) fn answers(&mut self) -> Result<(), Error> {
        for (sequence, outcome) in self.outcomes.take() {
            match outcome {
                Outcome::Delivered => {
                    let reason = self.burying.remove(&sequence);
                    self.delivered(sequence, reason)?;
                }
                Outcome::Refused(code) => self.refuse(sequence, &code.to_string())?,
                Outcome::Lost(code) => self.broken = Some(code.to_string()),
            }
        }
        self.count();
        Ok(())
    }

    fn delivered(&mut self, sequence: Sequence, reason: Option<Reason>) -> Result<(), Error> {
        if self.with_log(|log| log.acknowledge(sequence))?.is_some() {
            match reason {
                None => self.metrics.published.inc(),
                Some(reason) => {
                    self.metrics.dead_letters.with_label_values(&[reason.as_str()]).inc()
                }
            }
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, sequence: Sequence, why: &str) -> Result<(), Error> {
        let dead_letter = self.burying.remove(&sequence).is_some();
        let moved = self.with_log(|log| log.fail(sequence, Reason::RefusedByKafka))?;
        if let Some((_, Some(evicted))) = &moved {
            self.metrics.evicted.inc();
            tracing::error!(sequence = %evicted, "a refused entry is lost: log.max_failed are kept already");
        }
        match moved {
            Some((entry, _)) if !dead_letter => {
                let bytes = entry.payload.len();
                tracing::warn!(%sequence, why, bytes, "kafka refuses an event, sending it to the dead letters");
                self.send(sequence, &entry)
            }
            _ => {
                tracing::error!(%sequence, why, "kafka refuses a dead letter; it stays in the log until the topic takes it");
                Ok(())
            }
        }
    }

    /// A new producer, and everything again that the old one did not get an answer for.
    fn rebuild(&mut self, why: &str) -> Result<(), Error> {
        tracing::error!(
            why,
            pending = self.log.pending(),
            "the kafka producer is given up for a new one"
        );
        self.metrics.producer_rebuilds.inc();
        self.conditions.kafka.unset(format!("building a new producer: {why}"));
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        self.pause(backoff.next_delay(&mut rand::rng()))?;
        let publisher =
            Publisher::new(&self.config.kafka, self.log.instance(), self.conditions.kafka.clone())?;
        let outcomes = std::mem::replace(&mut self.outcomes, publisher.outcomes());
        // Dropping the old producer answers for all that it holds; its bad news is no news.
        drop(std::mem::replace(&mut self.publisher, publisher));
        for (sequence, outcome) in outcomes.take() {
            if outcome == Outcome::Delivered {
                let reason = self.burying.remove(&sequence);
                self.delivered(sequence, reason)?;
            }
        }
        self.burying.clear();
        self.resend()?;
        self.conditions.kafka.set();
        Ok(())
    }

    /// Finds out which entries of the log reached Kafka, and sends the others.
    pub(super) fn resend(&mut self) -> Result<(), Error> {
        let topics = self.config.kafka.clone();
        self.wait(async move { topics.ensure_topics(&[Topic::Raw, Topic::DeadLetters]).await })??;
        let (pending, failed) = (self.log.pending(), self.log.failures());
        if pending + failed == 0 {
            return Ok(());
        }
        let arrived = self.arrived()?;
        for (&sequence, &reason) in &arrived {
            self.delivered(sequence, reason)?;
        }
        self.metrics.read_back.inc_by(arrived.len() as u64);
        // So that the next start, should it come soon, need not look at them again.
        self.truncate()?;
        let mut sent = 0;
        for family in [Family::Transient, Family::Failed] {
            let mut after = None;
            loop {
                let page = self.with_log(|log| log.read(family, after, REPLAY_PAGE))?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (sequence, entry) in &page {
                    self.send(*sequence, entry)?;
                    sent += 1;
                }
            }
        }
        tracing::info!(
            pending,
            failed,
            in_kafka = arrived.len(),
            sent,
            "entries of the log that were not acknowledged"
        );
        Ok(())
    }

    fn arrived(&mut self) -> Result<Arrived, Error> {
        let mut oldest = i64::MAX;
        for family in [Family::Transient, Family::Failed] {
            for (_, entry) in self.with_log(|log| log.read(family, None, 1))? {
                oldest = oldest.min(entry.received_ms);
            }
        }
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match read_back(&self.config.kafka, &self.log, oldest, &self.stop) {
                Err(reader::Error::Stopped(_)) => return Err(Error::Interrupted),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "reading back again");
                    self.pause(backoff.next_delay(&mut rand::rng()))?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}
