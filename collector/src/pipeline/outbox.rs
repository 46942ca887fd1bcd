//! What has to be sent, what is on its way, and what is settled. It has no clock and does no I/O: times and Kafka's
//! answers are arguments.
//!
//! Entries are sent in the order of their sequences, from a position on. Of those before the position only the ones that
//! are in flight or outside of the groups are remembered one by one; of those behind it only where they end. So the memory
//! does not depend on how much waits.
//!
//! A record that Kafka refuses is a *suspect*, because one record that Kafka does not want makes it refuse the whole batch.
//! Then nothing more is sent until all answers are there. After that the position goes back, what is not settled is sent
//! again in its order, and a suspect is sent when nothing else is in flight: what is refused *alone* is condemned.

use std::collections::{BTreeMap, BTreeSet};

use common::message_log::{Family, Ranges, Recovered, Sequence};

#[cfg(test)]
mod tests;

/// How often a record is sent alone that Kafka answers with an error we do not know.
const ATTEMPTS: u32 = 3;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Outbox {
    settled: Ranges,
    /// Everything before is in the log, and before `synced` on disk.
    end: Sequence,
    synced: Sequence,
    /// Whether an entry is sent only when it is on disk.
    after_sync: bool,
    /// The entries of groups from here on have not been sent.
    position: Sequence,
    /// Entries of groups from here on were never sent.
    reached: Sequence,
    /// What is on its way, and when it was sent, in milliseconds of some clock.
    in_flight: BTreeMap<Sequence, u64>,
    /// Entries outside of the groups, and those of them that are to be sent.
    aside: BTreeMap<Sequence, Family>,
    unsent: BTreeSet<Sequence>,
    /// How many of the entries outside of the groups are deferred.
    deferred: usize,
    /// Dead letters that Kafka refuses: they are not sent again.
    kept: BTreeSet<Sequence>,
    /// Entries that were refused, and how often alone.
    suspects: BTreeMap<Sequence, u32>,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Nothing is sent until nothing is in flight.
    Draining,
    /// Nothing is sent until there is an answer for this suspect.
    Alone(Sequence),
}

/// Where an entry is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Group,
    Aside(Family),
}

/// The entry that is to be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) sequence: Sequence,
    pub(super) place: Place,
}

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The entry is sent again.
    Again,
    /// Kafka does not want this entry.
    Condemned,
}

/// Which entries may be in Kafka although no answer says so.
#[derive(Debug, Clone)]
pub(super) struct Unknown {
    settled: Ranges,
    reached: Sequence,
    aside: BTreeSet<Sequence>,
}

impl Unknown {
    pub(super) fn holds(&self, sequence: Sequence) -> bool {
        self.aside.contains(&sequence)
            || (sequence < self.reached && !self.settled.contains(sequence))
    }
}

impl Outbox {
    /// What a log holds. With `after_sync` an entry is sent only when it is on disk.
    pub(super) fn new(found: &Recovered, after_sync: bool) -> Self {
        let families = [(Family::Deferred, &found.deferred), (Family::Failed, &found.failed)];
        let aside = families
            .iter()
            .flat_map(|(family, entries)| entries.iter().map(|sequence| (*sequence, *family)))
            .collect();
        let mut outbox = Self {
            settled: found.settled.clone(),
            end: found.end,
            synced: found.end,
            after_sync,
            position: found.settled.low(),
            reached: found.end,
            in_flight: BTreeMap::new(),
            aside,
            unsent: BTreeSet::new(),
            deferred: found.deferred.len(),
            kept: BTreeSet::new(),
            suspects: BTreeMap::new(),
            flow: Flow::Open,
        };
        outbox.rewind();
        outbox
    }

    /// Everything before `end` is in the log.
    pub(super) fn arrived(&mut self, end: Sequence) {
        self.end = self.end.max(end);
    }

    /// Everything before `to` is on disk.
    pub(super) fn synced(&mut self, to: Sequence) {
        self.synced = self.synced.max(to);
    }

    /// The entry that is to be sent next, if one may be sent now.
    pub(super) fn due(&self) -> Option<Due> {
        if self.flow != Flow::Open {
            return None;
        }
        let aside = self.unsent.first().and_then(|sequence| {
            let family = self.aside.get(sequence)?;
            Some(Due { sequence: *sequence, place: Place::Aside(*family) })
        });
        let due = match aside {
            Some(due) => due,
            None => {
                let sequence = self.settled.next_missing(self.position);
                let limit = if self.after_sync { self.end.min(self.synced) } else { self.end };
                if sequence >= limit {
                    return None;
                }
                Due { sequence, place: Place::Group }
            }
        };
        let waits = self.suspects.contains_key(&due.sequence) && !self.in_flight.is_empty();
        (!waits).then_some(due)
    }

    /// The producer has taken it.
    pub(super) fn sent(&mut self, due: Due, now_ms: u64) {
        let sequence = due.sequence;
        self.in_flight.insert(sequence, now_ms);
        match due.place {
            Place::Aside(_) => drop(self.unsent.remove(&sequence)),
            Place::Group => {
                self.position = sequence.next();
                self.reached = self.reached.max(self.position);
            }
        }
        if self.suspects.contains_key(&sequence) {
            self.flow = Flow::Alone(sequence);
        }
    }

    /// Kafka has it. Returns where it was; `None` if it was settled before.
    pub(super) fn delivered(&mut self, sequence: Sequence) -> Option<Place> {
        self.in_flight.remove(&sequence);
        self.suspects.remove(&sequence);
        if self.flow == Flow::Alone(sequence) {
            self.flow = Flow::Open;
        }
        let place = match self.forget(sequence) {
            Some(family) => Some(Place::Aside(family)),
            None if sequence >= self.end => None,
            None => (self.settled.insert(sequence, sequence.next()) == 1).then_some(Place::Group),
        };
        self.end_drain();
        place
    }

    /// Kafka refuses it, or its batch. `is_known` says that the error is about the record.
    pub(super) fn refused(&mut self, sequence: Sequence, is_known: bool) -> Verdict {
        self.in_flight.remove(&sequence);
        let attempts = self.suspects.entry(sequence).or_default();
        if self.flow != Flow::Alone(sequence) {
            self.drain();
            return Verdict::Again;
        }
        *attempts += 1;
        if is_known || *attempts >= ATTEMPTS {
            self.suspects.remove(&sequence);
            self.flow = Flow::Open;
            return Verdict::Condemned;
        }
        self.rewind();
        Verdict::Again
    }

    /// The producer gives it back without having sent it.
    pub(super) fn returned(&mut self, sequence: Sequence) {
        self.in_flight.remove(&sequence);
        self.drain();
    }

    /// Sends nothing more until nothing is in flight.
    pub(super) fn drain(&mut self) {
        self.flow = Flow::Draining;
        self.end_drain();
    }

    /// Whether anything is in flight.
    pub(super) fn awaits_answers(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether answers are awaited before anything more is sent.
    pub(super) fn is_draining(&self) -> bool {
        self.flow == Flow::Draining
    }

    fn end_drain(&mut self) {
        if self.flow == Flow::Draining && self.in_flight.is_empty() {
            self.rewind();
        }
    }

    /// What was in flight has to be sent again, from the first entry on that is not settled.
    pub(super) fn rewind(&mut self) {
        self.in_flight.clear();
        self.flow = Flow::Open;
        self.position = self.settled.low();
        self.unsent =
            self.aside.keys().filter(|sequence| !self.kept.contains(sequence)).copied().collect();
    }

    /// Entries that were sent at `before_ms` or earlier, while others behind them are settled: they keep their groups in
    /// the log. None while the rest is awaited after a refusal: what is set apart is sent first, and the refused entries
    /// that come before it are not in flight.
    pub(super) fn stuck(&self, before_ms: u64) -> impl Iterator<Item = Sequence> {
        let is_draining = self.is_draining();
        self.in_flight
            .range(..self.settled.high())
            .filter(move |(sequence, sent_ms)| {
                !is_draining && **sent_ms <= before_ms && !self.aside.contains_key(sequence)
            })
            .map(|(sequence, _)| *sequence)
    }

    /// The entry was copied out of its group.
    pub(super) fn deferred(&mut self, sequence: Sequence) {
        if self.settled.insert(sequence, sequence.next()) == 1 {
            self.aside.insert(sequence, Family::Deferred);
            self.deferred += 1;
        }
    }

    /// The entry was moved to the failed ones, because Kafka does not want it. It is sent as a dead letter if it is not
    /// one already.
    pub(super) fn condemned(&mut self, sequence: Sequence, is_dead_letter: bool) {
        self.suspects.remove(&sequence);
        self.unsent.remove(&sequence);
        match self.aside.insert(sequence, Family::Failed) {
            None => drop(self.settled.insert(sequence, sequence.next())),
            Some(Family::Deferred) => self.deferred -= 1,
            Some(Family::Failed) => {}
        }
        let entries = if is_dead_letter { &mut self.kept } else { &mut self.unsent };
        entries.insert(sequence);
    }

    /// Forgets an entry outside of the groups. Returns the family that it was in.
    pub(super) fn forget(&mut self, sequence: Sequence) -> Option<Family> {
        let family = self.aside.remove(&sequence)?;
        self.unsent.remove(&sequence);
        self.kept.remove(&sequence);
        self.deferred -= usize::from(family == Family::Deferred);
        Some(family)
    }

    /// The entries of groups from `start` up to `end` cannot be read. Returns how many of them were not settled.
    pub(super) fn lost(&mut self, start: Sequence, end: Sequence) -> u64 {
        self.settled.insert(start, end)
    }

    /// All that need not be in a group any more.
    pub(super) const fn settled(&self) -> &Ranges {
        &self.settled
    }

    /// The sequence after everything that has arrived.
    pub(super) const fn end(&self) -> Sequence {
        self.end
    }

    /// The sequence after everything in groups that was handed to a producer.
    pub(super) const fn reached(&self) -> Sequence {
        self.reached
    }

    /// How many entries wait for Kafka.
    pub(super) fn pending(&self) -> u64 {
        self.end.since(self.settled.low()) - self.settled.count_above() + self.deferred as u64
    }

    /// The oldest entry of a family.
    pub(super) fn oldest(&self, family: Family) -> Option<Sequence> {
        self.aside.iter().find(|(_, of)| **of == family).map(|(sequence, _)| *sequence)
    }

    /// The oldest entry of a group that is not settled.
    pub(super) fn oldest_in_group(&self) -> Option<Sequence> {
        Some(self.settled.low()).filter(|low| *low < self.end)
    }

    /// How many entries are outside of the groups.
    pub(super) fn aside(&self) -> usize {
        self.aside.len()
    }

    /// How many dead letters of refused entries are not acknowledged.
    pub(super) fn failures(&self) -> usize {
        self.aside.len() - self.deferred
    }

    /// Where an entry is.
    pub(super) fn place(&self, sequence: Sequence) -> Place {
        self.aside.get(&sequence).map_or(Place::Group, |family| Place::Aside(*family))
    }

    /// Which entries may be in Kafka; `None` if there are none.
    pub(super) fn unknown(&self) -> Option<Unknown> {
        let there = !self.aside.is_empty() || self.settled.low() < self.reached.min(self.end);
        there.then(|| Unknown {
            settled: self.settled.clone(),
            reached: self.reached,
            aside: self.aside.keys().copied().collect(),
        })
    }

    /// Whether everything is settled but the dead letters that Kafka does not take.
    pub(super) fn is_done(&self) -> bool {
        self.pending() == 0 && self.in_flight.is_empty() && self.unsent.is_empty()
    }
}
