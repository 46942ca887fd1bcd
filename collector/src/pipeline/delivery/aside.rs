//! Entries that leave their groups: those that Kafka refuses, and those for which it does not answer.

use common::event::Reason;
use common::message_log::{Entry, Family, Sequence};
use rdkafka::error::RDKafkaErrorCode;

use super::super::backlog::Backlog;
use super::super::outbox::{Due, Place};
use super::super::wait::Step;
use super::{Delivery, TICK};

impl Delivery {
    /// Moves an entry that Kafka does not want to `failed`, and sends an event to the dead letters.
    pub(super) fn condemn(&mut self, sequence: Sequence, code: RDKafkaErrorCode) -> Step {
        let place = self.outbox.place(sequence);
        loop {
            let entry = match place {
                Place::Group => self.backlog.read(sequence),
                Place::Aside(family) => self.log.get(family, sequence),
            };
            match entry {
                Ok(Some(entry)) => return self.condemn_entry(sequence, entry, code),
                // It is met again when it is to be sent, and counted as damaged.
                Ok(None) => {
                    self.outbox.rewind();
                    return Ok(());
                }
                Err(error) if error.retryable() => self.pause(TICK)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn condemn_entry(
        &mut self,
        sequence: Sequence,
        mut entry: Entry,
        code: RDKafkaErrorCode,
    ) -> Step {
        let is_dead_letter = entry.reason.is_some();
        let place = self.outbox.place(sequence);
        self.outbox.condemned(sequence, is_dead_letter);
        let account = self.settlements.postings.account(sequence, &entry.source);
        if is_dead_letter {
            tracing::error!(%sequence, %code, "kafka refuses a dead letter; it stays in the log until the topic takes it");
            if place == Place::Aside(Family::Failed) {
                self.receipts.acknowledged(sequence);
                return Ok(());
            }
        } else {
            let bytes = entry.payload.len();
            tracing::warn!(%sequence, %code, bytes, "kafka refuses an event, sending it to the dead letters");
        }
        entry.reason.get_or_insert(Reason::RefusedByKafka);
        self.settlements.postings.put_aside(sequence, account, place, Family::Failed);
        if let Place::Aside(family) = place {
            self.settlements.removed.push((family, sequence));
        }
        if self.outbox.failures() > self.log.max_failed()
            && let Some(evicted) = self.outbox.oldest(Family::Failed)
        {
            self.outbox.forget(evicted);
            self.settlements.lost(Family::Failed, evicted);
            self.settlements.postings.evicted(evicted);
            self.receipts.lost(evicted, evicted.next());
            tracing::error!(sequence = %evicted, "a refused entry is lost, because more than log.max_failed of them wait");
        }
        self.backlog.settle(sequence);
        self.settlements.move_to(Family::Failed, sequence, entry);
        self.write_moves()?;
        if is_dead_letter {
            // It is on disk. Whoever waits until Kafka takes it would wait for ever, and keep others waiting.
            self.receipts.acknowledged(sequence);
        }
        Ok(())
    }

    /// Whether an entry may be in Kafka, and must not be there twice, whatever can be found out.
    pub(super) fn is_spent(&self, sequence: Sequence, entry: &Entry) -> bool {
        sequence < self.handed && self.promises.at_most_once.contains(&entry.source)
    }

    /// Settles an entry that is not sent again.
    pub(super) fn give_up(&mut self, due: Due, entry: &Entry) {
        let Due { sequence, place } = due;
        if !std::mem::replace(&mut self.is_told_spent, true) {
            let source = &*entry.source;
            tracing::warn!(source, %sequence, "what may be in kafka is not sent again, because the source has delivery = \"at_most_once\"");
        }
        let account = self.settlements.postings.account(sequence, &entry.source);
        self.settlements.acks.lost(sequence, sequence.next());
        match place {
            Place::Group => {
                self.outbox.lost(sequence, sequence.next());
                self.backlog.settle(sequence);
            }
            Place::Aside(family) => {
                self.outbox.forget(sequence);
                self.settlements.lost(family, sequence);
            }
        }
        self.settlements.postings.given_up(sequence, account, place);
        self.settlements.settled += 1;
    }

    /// Writes entries to the families that they belong to now, and tries until that has succeeded.
    fn write_moves(&mut self) -> Step {
        while !self.settlements.moved.is_empty() && !self.settlements.write(&self.outbox)? {
            self.pause(TICK)?;
        }
        Ok(())
    }

    /// Copies entries out of their groups that Kafka does not answer for, so that the groups can go.
    pub(super) fn defer_stuck(&mut self) -> Step {
        if matches!(self.backlog, Backlog::Memory(_)) {
            return Ok(());
        }
        let Some(stuck) = self.settlements.stuck(&self.outbox, self.now_ms()) else {
            return Ok(());
        };
        let entries = match self.backlog.read_all(&stuck) {
            Ok(entries) => entries,
            Err(error) if error.retryable() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        tracing::info!(
            entries = entries.len(),
            "kafka does not answer for entries; they are kept apart in the log"
        );
        for (sequence, entry) in entries {
            let account = self.settlements.postings.account(sequence, &entry.source);
            self.outbox.deferred(sequence);
            self.settlements.postings.put_aside(sequence, account, Place::Group, Family::Deferred);
            self.settlements.move_to(Family::Deferred, sequence, entry);
        }
        self.write_moves()
    }
}
