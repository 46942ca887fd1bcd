//! What the delivery writes to the log, and what it shows of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::clock::Clock;
use common::kafka::Kafka;
use common::message_log::{Entry, Family, MessageLog, Sequence, Settlement};

use super::super::backlog::Backlog;
use super::super::outbox::Outbox;
use super::super::wait::Step;
use super::postings::Postings;
use crate::acks::Acks;
use crate::cursor::{Cursor, Progress};
use crate::metrics::Metrics;
use crate::positions::Positions;

/// A removal writes a range tombstone, and many tombstones make every scan slow. So what is settled is written once for
/// this many entries, or earlier if this much time has passed since the last time.
const ENTRIES: u64 = 64 * 1024;
const INTERVAL: Duration = Duration::from_secs(1);
/// When Kafka has not answered for an entry for this long, and it has for others behind it, the entry is copied out of
/// its group: so many at once.
const STUCK_MS: u64 = 10_000;
const STUCK_ENTRIES: usize = 1024;
/// How many cursors may wait for Kafka, unless there are more sources.
const CURSORS: usize = 4096;

/// What is settled and not written to the log yet.
pub(super) struct Settlements {
    kafka: Kafka,
    log: MessageLog,
    clock: Clock,
    metrics: Metrics,
    /// How many entries were settled since it was written.
    pub(super) settled: u64,
    /// Entries that the outbox says are in this family, and the log does not yet: nothing is written as settled without
    /// them.
    pub(super) moved: Vec<(Family, Sequence, Entry)>,
    /// Entries that are not in their family any more.
    pub(super) removed: Vec<(Family, Sequence)>,
    /// What other collectors are told of how far sources have come.
    progress: Progress,
    /// Where sources resume after what is before a sequence, if that is stored only when Kafka has all of it.
    cursors: Vec<(Sequence, Arc<str>, Cursor)>,
    /// Up to where the topics need not be searched for what is not settled, and what the log has of it.
    pub(super) positions: Positions,
    positions_written: Positions,
    written: Option<Instant>,
    /// When the age of the oldest entry was looked at, and stuck entries.
    looked: Option<Instant>,
    looked_stuck: Option<Instant>,
    oldest: Option<Sequence>,
    /// What sources are told of what they have pushed.
    pub(super) acks: Acks,
    /// What became of entries, for the metrics.
    pub(super) postings: Postings,
}

impl Settlements {
    pub(super) fn new(
        kafka: Kafka,
        log: MessageLog,
        clock: Clock,
        metrics: Metrics,
        (acks, progress): (Acks, Progress),
        positions: Positions,
        start: Sequence,
    ) -> Self {
        Self {
            kafka,
            log,
            clock,
            postings: Postings::new(metrics.ledger.clone(), start),
            metrics,
            settled: 0,
            moved: Vec::new(),
            removed: Vec::new(),
            progress,
            cursors: Vec::new(),
            positions_written: positions.clone(),
            positions,
            written: None,
            looked: None,
            looked_stuck: None,
            oldest: None,
            acks,
        }
    }

    /// This entry, which was in a group or outside of them, is to be in this family.
    pub(super) fn move_to(&mut self, family: Family, sequence: Sequence, entry: Entry) {
        self.acks.put_aside(sequence);
        self.moved.push((family, sequence, entry));
    }

    /// This entry of a family is lost.
    pub(super) fn lost(&mut self, family: Family, sequence: Sequence) {
        self.acks.lost(sequence, sequence.next());
        self.acks.taken_back(sequence);
        self.removed.push((family, sequence));
    }

    /// Takes cursors that are stored when Kafka has what they cover. Of too many, every second one of each source is left out,
    /// because the next one covers it.
    pub(super) fn add_cursors(&mut self, cursors: Vec<(Sequence, Arc<str>, Cursor)>) {
        self.cursors.extend(cursors);
        if self.cursors.len() <= CURSORS {
            return;
        }
        let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
        let mut is_kept = |source: &Arc<str>| {
            let count = seen.entry(Arc::clone(source)).or_default();
            *count += 1;
            *count % 2 == 1
        };
        // From the newest on, which is kept.
        let newest_first = std::mem::take(&mut self.cursors).into_iter().rev();
        self.cursors = newest_first.filter(|(_, source, _)| is_kept(source)).collect();
        self.cursors.reverse();
    }

    /// Writes what is settled if that is due. What cannot be written now is written later.
    pub(super) fn record(&mut self, outbox: &Outbox) -> Step {
        let soon = self.written.is_some_and(|at| at.elapsed() < INTERVAL);
        let is_written = self.settled == 0
            && self.moved.is_empty()
            && self.removed.is_empty()
            && self.positions == self.positions_written;
        if is_written || (self.settled < ENTRIES && soon) {
            return Ok(());
        }
        self.write(outbox).map(|_written| ())
    }

    /// Writes what is settled, moved and removed. Returns whether the log could be written.
    pub(super) fn write(&mut self, outbox: &Outbox) -> Step<bool> {
        let settled = outbox.settled();
        let low = low(outbox);
        let covered = self.cursors.iter().take_while(|(end, ..)| *end <= low).count();
        let cursors: Vec<_> = self.cursors[..covered]
            .iter()
            .map(|(_, source, cursor)| (Arc::clone(source), cursor.0.clone()))
            .collect();
        let (moved, removed) = (&self.moved, &self.removed);
        let positions = &self.positions.named(&self.kafka);
        let change = Settlement { settled, moved, removed, cursors: &cursors, positions };
        self.written = Some(Instant::now());
        match self.log.settle(&change) {
            Ok(()) => {
                self.settled = 0;
                self.moved.clear();
                self.removed.clear();
                self.cursors.drain(..covered);
                self.progress.settled_before(low);
                self.positions_written.clone_from(&self.positions);
                Ok(true)
            }
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "what kafka has acknowledged is noted later");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The entries that are to be copied out of their groups now.
    pub(super) fn stuck(&mut self, outbox: &Outbox, now_ms: u64) -> Option<Vec<Sequence>> {
        if self.looked_stuck.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        let before_ms = now_ms.checked_sub(STUCK_MS)?;
        let stuck: Vec<_> = outbox.stuck(before_ms).take(STUCK_ENTRIES).collect();
        self.looked_stuck = Some(Instant::now());
        (!stuck.is_empty()).then_some(stuck)
    }

    /// Shows how much is in the log, and since when, to sources and in the metrics.
    pub(super) fn count(&mut self, outbox: &Outbox, backlog: &Backlog) {
        self.acks.settled_before(outbox.settled().low());
        let pending = outbox.pending();
        self.postings.enter(outbox);
        if pending == 0 {
            (self.looked, self.oldest) = (None, None);
            self.metrics.oldest_pending.count_from(None);
            return;
        }
        let now = Instant::now();
        if self.looked.is_some_and(|at| now.duration_since(at) < INTERVAL) {
            return;
        }
        self.looked = Some(now);
        let deferred = outbox.oldest(Family::Deferred);
        let oldest = deferred.or_else(|| outbox.oldest_in_group());
        if self.oldest == oldest {
            return;
        }
        let entry = match (deferred, oldest) {
            (Some(sequence), _) => self.log.get(Family::Deferred, sequence),
            (None, Some(sequence)) => backlog.read(sequence),
            (None, None) => return,
        };
        // One that cannot be read now is met again when it is to be sent, and that is when it matters.
        let Ok(Some(entry)) = entry else { return };
        self.oldest = oldest;
        let age_ms = self.clock.now_ms().saturating_sub(entry.received_ms);
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        self.metrics.oldest_pending.count_from(now.checked_sub(age));
    }
}

/// Kafka has everything before. What is kept apart is not in it either.
pub(super) fn low(outbox: &Outbox) -> Sequence {
    let (low, deferred) = (outbox.settled().low(), outbox.oldest(Family::Deferred));
    deferred.map_or(low, |oldest| oldest.min(low))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::event::Reason;
    use common::message_log::{Options, Recovered};
    use prometheus::Registry;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn of_too_many_cursors_the_newest_of_each_source_and_those_between_stay() {
        let directory = TempDir::new().unwrap();
        let (log, _appender, found) =
            MessageLog::open(directory.path(), Options::default()).unwrap();
        let mut settlements = Settlements::new(
            Kafka::default(),
            log.clone(),
            Clock::default(),
            Metrics::new(&Registry::new()).unwrap(),
            Default::default(),
            Positions::default(),
            found.end,
        );
        let count = CURSORS + 1;
        let cursor = |number: usize| {
            let source = if number == 7 { "quiet" } else { "busy" };
            let cursor = Cursor(number.to_string().into());
            (Sequence::from_opaque(1 + number), source.into(), cursor)
        };
        settlements.add_cursors((0..count).map(cursor).collect());
        assert!((count / 2..=count / 2 + 2).contains(&settlements.cursors.len()));
        assert!(settlements.cursors.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(settlements.cursors.last(), Some(&cursor(count - 1)));
        assert!(settlements.cursors.contains(&cursor(7)), "the only one of its source");

        // Only what is covered is stored.
        let found = Recovered { end: Sequence::from_opaque(count), ..Recovered::default() };
        let mut outbox = Outbox::new(&found, false);
        outbox.lost(Sequence::ZERO, Sequence::from_opaque(20));
        assert!(settlements.write(&outbox).unwrap());
        assert_eq!(log.cursor("quiet").unwrap().as_deref(), Some(&b"7"[..]));
        let busy = log.cursor("busy").unwrap().unwrap();
        let busy: usize = std::str::from_utf8(&busy).unwrap().parse().unwrap();
        assert!((17..20).contains(&busy), "{busy}");
    }

    #[test]
    fn nothing_is_noted_as_settled_without_the_moves_that_made_it_so() {
        let directory = TempDir::new().unwrap();
        let (path, away) = (directory.path().join("log"), directory.path().join("away"));
        let (log, mut appender, found) = MessageLog::open(&path, Options::default()).unwrap();
        let (sequence, reason) = (appender.allot(), Some(Reason::RefusedByKafka));
        let payload = "x".into();
        let entry =
            Entry { source: "feed".into(), received_ms: 0, identity: None, reason, payload };
        appender.append(&[(sequence, entry.clone())], &[]).unwrap();
        appender.sync().unwrap();
        let mut outbox = Outbox::new(&Recovered { end: sequence.next(), ..found.clone() }, false);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let mut settlements = Settlements::new(
            Kafka::default(),
            log.clone(),
            Clock::default(),
            metrics,
            Default::default(),
            Positions::default(),
            found.end,
        );

        // The log cannot be written for a while.
        fs::rename(&path, &away).unwrap();
        fs::write(&path, "in its way").unwrap();
        appender.reopen().unwrap_err();
        outbox.condemned(sequence, false);
        settlements.move_to(Family::Failed, sequence, entry.clone());
        assert!(!settlements.write(&outbox).unwrap());
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        appender.reopen().unwrap();
        // As at the drain deadline: whoever moved it does not come back.
        assert!(settlements.write(&outbox).unwrap());
        assert_eq!(log.get(Family::Failed, sequence).unwrap(), Some(entry));
        drop((log, settlements, appender));
        let (_log, _appender, found) = MessageLog::open(&path, Options::default()).unwrap();
        assert_eq!((found.pending(), found.failed), (0, vec![sequence]));
    }
}
