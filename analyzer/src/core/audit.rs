//! The audit: the ledgers of all partitions, put together.
//!
//! A partition's tally publishes its [`Ledger`] beside its partials, as a head of a query that nobody can
//! configure ([`QUERY`]). As for those the highest offset stays, so that the audit depends on the set of these records
//! alone. With a ledger comes the [`Progress`] of the same offset, from which the results take their counters: a second
//! set of counters, kept from the same decisions. The audit says whether the two agree. A difference means that one was
//! damaged or skipped; a wrong decision is in both.

use std::borrow::Cow;
use std::collections::BTreeMap;

use common::result::audit::{self, Books, Counters, MINUTES, Minute, Outcomes};
use common::result::{SCHEMA_VERSION, TopN};
use serde::{Deserialize, Serialize};

use crate::core::ledger::{Ledger, MINUTE_MS};
use crate::core::merge::Applied;
use crate::core::partial::{self, Error, Key, Part, Partial, Progress};

#[cfg(test)]
mod tests;

/// Stands where the key of a partial names its query. No query is called so, because of the dot.
pub const QUERY: &str = ".audit";

/// The newest ledger of each partition.
#[derive(Debug, Default)]
pub struct Audit {
    partitions: BTreeMap<i32, Statement<'static>>,
}

/// A partition's ledger as it is published.
#[derive(Debug, Serialize, Deserialize)]
struct Statement<'a> {
    next_offset: i64,
    progress: Cow<'a, Progress>,
    ledger: Cow<'a, Ledger>,
}

/// The record that publishes the ledger of a partition.
pub(crate) fn partial(partition: i32, progress: &Progress, ledger: &Ledger) -> Partial {
    let key = Key { query: QUERY.to_owned(), partition, part: Part::Head };
    let statement = Statement {
        next_offset: progress.next_offset,
        progress: Cow::Borrowed(progress),
        ledger: Cow::Borrowed(ledger),
    };
    Partial::new(key, &statement)
}

impl Audit {
    /// Takes a record of `topn-rsvps-partials` in; its key names [`QUERY`].
    ///
    /// # Errors
    /// A value that cannot be read; nothing changed.
    pub fn apply(&mut self, key: &Key, value: Option<&[u8]>) -> Result<Applied, Error> {
        let Some(value) = value else { return Ok(Applied::Ignored) };
        let statement: Statement<'static> = partial::decode(value)?;
        let known = self.partitions.get(&key.partition);
        if known.is_some_and(|known| known.next_offset >= statement.next_offset) {
            return Ok(Applied::Ignored);
        }
        self.partitions.insert(key.partition, statement);
        Ok(Applied::Changed)
    }

    /// The audit of what was taken in; `stream` is left to whoever publishes it.
    pub fn result(&self) -> audit::Audit {
        let read = self.partitions.iter().filter(|(_, statement)| statement.next_offset > 0);
        let offsets: BTreeMap<i32, i64> =
            read.map(|(&partition, statement)| (partition, statement.next_offset - 1)).collect();
        let partitions: BTreeMap<i32, Books> = self
            .partitions
            .iter()
            .map(|(&partition, statement)| (partition, statement.books()))
            .collect();
        let (mut total, mut before) = (Outcomes::default(), Outcomes::default());
        let mut minutes: BTreeMap<i64, Outcomes> = BTreeMap::new();
        for Statement { ledger, .. } in self.partitions.values() {
            before += ledger.before();
            for (start_ms, outcomes) in ledger.minutes() {
                *minutes.entry(start_ms).or_default() += outcomes;
            }
        }
        // A partition in which nothing happens keeps older minutes than the others.
        if let Some((&newest_ms, _)) = minutes.last_key_value() {
            let kept = minutes.split_off(&(newest_ms - (MINUTES as i64 - 1) * MINUTE_MS));
            minutes.into_values().for_each(|outcomes| before += outcomes);
            minutes = kept;
        }
        partitions.values().for_each(|books| total += books.outcomes);
        let ingested = |statement: &Statement<'_>| statement.progress.ingested_ms;
        audit::Audit {
            v: SCHEMA_VERSION,
            stream: String::new(),
            version: TopN::version_of(&offsets),
            offsets,
            balanced: partitions.values().all(|books| books.balanced),
            ingested_ms: self.partitions.values().filter_map(ingested).max().unwrap_or(0),
            total,
            before,
            minutes: minutes
                .into_iter()
                .map(|(start_ms, outcomes)| Minute { start_ms, outcomes })
                .collect(),
            partitions,
        }
    }
}

impl Statement<'_> {
    fn books(&self) -> Books {
        let Progress { events, duplicates, undecodable, .. } = *self.progress;
        let offsets = u64::try_from(self.next_offset).unwrap_or(0);
        Books::new(offsets, self.ledger.total(), Counters { events, duplicates, undecodable })
    }
}
