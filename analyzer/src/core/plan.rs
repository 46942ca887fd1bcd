//! The queries and settings of tallies and merges, checked and compiled once.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use common::event::{Id, Schema, Time};
use serde::{Deserialize, Serialize};

use crate::core::decode::Decoder;
use crate::core::hash::hash;
use crate::core::query::{Kind, MAX_CAPACITY, Query, Window};
use crate::core::window::Slides;

#[cfg(test)]
mod tests;

/// A part of every fingerprint. Raise it when a change of the code makes the same query give other counts.
const MEANING_VERSION: u32 = 1;

/// Settings that all queries share. All of them shape what a tally computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// How many counters are kept for each query, partition and pane, unless the query says otherwise.
    pub capacity: usize,
    /// How many event ids are remembered for each partition.
    pub dedupe_capacity: usize,
    /// How long an event id is remembered, in milliseconds of record time.
    pub dedupe_horizon_ms: u64,
    /// What identifies an event, and when it happened.
    pub schema: Schema,
}

/// A query with its defaults filled in.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The query.
    pub query: Query,
    /// How many counters are kept for each partition and pane.
    pub capacity: usize,
    /// The fingerprint of what it means; its state must have the same one.
    pub fingerprint: Fingerprint,
    /// A partition is idle if its newest record is older than the newest of all by more than this, in milliseconds.
    pub(crate) idle_ms: i64,
    /// How far an idle partition may move the window beyond the others, in milliseconds.
    pub(crate) max_jump_ms: i64,
}

/// A hash of what a query means: what is counted, over which time, and with how many counters. Its name, how
/// many items it publishes, and how much is remembered are not part of it. State with another fingerprint is
/// never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(u64);

/// The identity of a query in stored state; as text `topics:00c0ffee00c0ffee`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Its name.
    pub name: String,
    /// The fingerprint of what it means.
    pub fingerprint: Fingerprint,
}

/// The queries and their settings; shared by all tallies of a process.
#[derive(Debug)]
pub struct Plan {
    queries: Vec<Planned>,
    settings: Settings,
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
    /// Checks and compiles the queries and settings.
    ///
    /// # Errors
    /// Every problem of the settings and of every query, one line for each.
    pub fn new(queries: &[Query], settings: Settings) -> Result<Self, Vec<String>> {
        let mut problems = settings.problems();
        let mut names = BTreeSet::new();
        for query in queries {
            problems.extend(query.problems());
            if !names.insert(query.name.as_str()) {
                problems.push(format!(
                    "query '{}': name: used twice; give each query its own",
                    query.name
                ));
            }
            if settings.schema.time.is_none() && query.window != Window::Running {
                problems.push(format!(
                    "query '{}': window: needs the time of events; set event.time, or use a running window",
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
        let queries = queries.iter().map(|query| Planned::new(query, &settings)).collect();
        Ok(Self { queries, settings })
    }

    /// The queries, in the configured order.
    pub fn queries(&self) -> &[Planned] {
        &self.queries
    }

    /// The settings that the queries share.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A decoder for the items of the queries, in their order.
    pub fn decoder(&self) -> Decoder {
        let items = self.queries.iter().map(|planned| &planned.query.item);
        Decoder::new(items, &self.settings.schema)
    }
}

// === impl Planned ===

impl Planned {
    fn new(query: &Query, settings: &Settings) -> Self {
        let capacity = query.capacity.unwrap_or(settings.capacity);
        let fingerprint = Fingerprint(hash(meaning(query, capacity, settings).as_bytes()));
        Self {
            query: query.clone(),
            capacity,
            fingerprint,
            idle_ms: milliseconds(settings.schema.idle),
            max_jump_ms: milliseconds(settings.schema.max_jump),
        }
    }

    /// The query's identity in stored state.
    pub fn id(&self) -> QueryId {
        QueryId { name: self.query.name.clone(), fingerprint: self.fingerprint }
    }

    /// The slides of a sliding window; `None` for a running window, which is one pane without an end.
    pub(crate) fn slides(&self) -> Option<Slides> {
        match &self.query.window {
            Window::Running => None,
            Window::Sliding(window) => Some(Slides::new(window)),
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a query means, as a text that changes only when the meaning does. It is not derived from a type, because
/// that text would change with the code. A setting that is added later must be written only where it is not the
/// default.
fn meaning(query: &Query, capacity: usize, settings: &Settings) -> String {
    let kind = match query.kind {
        Kind::Top => "top",
    };
    let window = match query.window {
        Window::Running => "running".to_owned(),
        Window::Sliding(window) => {
            let mut text = format!("sliding {} {}", window.size_ms(), window.slide_ms());
            for (name, length_ms) in
                [("skew", window.skew_ms()), ("lateness", window.lateness_ms())]
            {
                if length_ms != 0 {
                    text.push_str(&format!(" {name} {length_ms}"));
                }
            }
            text
        }
    };
    let schema = &settings.schema;
    let id = match &schema.id {
        Id::Fields(fields) => fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Id::Payload => "payload".to_owned(),
        Id::None => "none".to_owned(),
    };
    let time = match &schema.time {
        Some(Time { path, unit }) => format!("{path} {}", unit.name()),
        None => "none".to_owned(),
    };
    format!(
        "{MEANING_VERSION}\nkind {kind}\nitem {}\nwindow {window}\ncapacity {capacity}\nid {id}\ntime {time}\nmax_jump {}\nmax_future {}\n",
        query.item,
        milliseconds(schema.max_jump),
        milliseconds(schema.max_future),
    )
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    /// Reads the 16 hexadecimal digits that [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(())
    }
}

// === impl QueryId ===

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.fingerprint)
    }
}

impl FromStr for QueryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, fingerprint) = text.split_once(':').ok_or(())?;
        Ok(Self { name: name.to_owned(), fingerprint: fingerprint.parse()? })
    }
}
