//! The queries and settings that tallies and merges work by, checked and compiled once.

use std::collections::HashSet;
use std::fmt;

use common::event::Schema;
use serde::{Deserialize, Serialize};

use crate::core::decode::Decoder;
use crate::core::hash::hash;
use crate::core::query::{MAX_CAPACITY, Query, Window};

#[cfg(test)]
mod tests;

/// Goes into every fingerprint: raise it when the same settings lead to another state.
const STATE_VERSION: u32 = 1;

/// Settings that all queries share. All of them shape what a tally computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Counters kept per query, partition and window where the query does not say.
    pub capacity: usize,
    /// Event ids remembered per partition.
    pub dedupe_capacity: usize,
    /// How long an event id is remembered, in record time.
    pub dedupe_horizon_ms: u64,
    /// Where an event's time is, and its id when the record has no header that says so.
    pub schema: Schema,
}

/// A query with its defaults filled in.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The query.
    pub query: Query,
    /// Counters kept per partition and window.
    pub capacity: usize,
    /// What its state was made by.
    pub fingerprint: Fingerprint,
}

/// Hash of all that shapes a query's state: not its name, nor how many items it publishes. State of
/// another fingerprint is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(u64);

/// Queries, settings and the decoder made for them; shared by all tallies of a process.
#[derive(Debug)]
pub struct Plan {
    queries: Vec<Planned>,
    settings: Settings,
    decoder: Decoder,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            dedupe_capacity: 4_000_000,
            dedupe_horizon_ms: 7 * 86_400_000,
            schema: Schema::default(),
        }
    }
}

impl Settings {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.schema.problems().into_iter().map(|p| format!("event.{p}")).collect();
        if self.capacity == 0 || self.capacity > MAX_CAPACITY {
            problems.push(format!(
                "capacity: is {}; set it between 1 and {MAX_CAPACITY}",
                self.capacity
            ));
        }
        if self.dedupe_capacity == 0 {
            problems.push(
                "dedupe_capacity: must not be 0; set it to the event ids to remember per partition"
                    .to_owned(),
            );
        }
        problems
    }
}

// === impl Plan ===

impl Plan {
    /// Checks and compiles.
    ///
    /// # Errors
    /// Every problem of the settings and of every query, a line each.
    pub fn new(queries: &[Query], settings: Settings) -> Result<Self, Vec<String>> {
        let mut problems = settings.problems();
        let mut names = HashSet::new();
        for query in queries {
            problems.extend(query.problems());
            if !names.insert(query.name.as_str()) {
                problems.push(format!(
                    "query '{}': name: used twice; give each query its own",
                    query.name
                ));
            }
            if query.capacity.is_none() && settings.capacity < query.n {
                problems.push(format!(
                    "query '{}': n: is {}, more than capacity {}; raise capacity",
                    query.name, query.n, settings.capacity
                ));
            }
        }
        if queries.is_empty() {
            problems.push(
                "query: there is none; add one, or remove the empty list to get the shipped ones"
                    .to_owned(),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let decoder =
            Decoder::new(queries.iter().map(|query| &query.item), settings.schema.time.as_ref());
        let queries = queries.iter().map(|query| Planned::new(query, &settings)).collect();
        Ok(Self { queries, settings, decoder })
    }

    /// The queries, as configured and in that order.
    pub fn queries(&self) -> &[Planned] {
        &self.queries
    }

    /// What the queries share.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

// === impl Planned ===

impl Planned {
    fn new(query: &Query, settings: &Settings) -> Self {
        let capacity = query.capacity.unwrap_or(settings.capacity);
        let shared = (settings.dedupe_capacity, settings.dedupe_horizon_ms, &settings.schema);
        // The text form of plain data; its only use is to differ when the data differs.
        let shape = format!(
            "{STATE_VERSION} {:?} {} {:?} {capacity} {shared:?}",
            query.kind, query.item, query.window
        );
        Self { query: query.clone(), capacity, fingerprint: Fingerprint(hash(shape.as_bytes())) }
    }

    /// Slides of a window and their length; a running window is a single slide without end.
    pub(crate) fn slides(&self) -> Option<(usize, i64)> {
        match self.query.window {
            Window::Running => None,
            Window::Sliding { size_ms, slide_ms } => {
                Some(((size_ms / slide_ms) as usize, slide_ms as i64))
            }
        }
    }
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
