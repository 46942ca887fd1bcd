//! The published result of a `top` query, one record of `topn-rsvps` (key: the query's name).
//!
//! For every item of `top`: `count - error <= true count <= count`, and `error <= total / capacity`.
//! `version` only grows for a query; it is the sum of (offset + 1) over `offsets`, so that whoever
//! merges the same input publishes the same version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The schema version that is written; readers accept this one and the one before.
pub const SCHEMA_VERSION: u32 = 1;

/// One result of a `top` query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopN {
    /// Schema version, see [`SCHEMA_VERSION`].
    pub v: u32,
    /// The query's name.
    pub query: String,
    /// The identity of the topic that it is published in: versions are compared within one stream only.
    #[serde(default)]
    pub stream: String,
    /// What time span is counted.
    pub window: Window,
    /// Sum of (offset + 1) over `offsets`.
    pub version: u64,
    /// Newest confirmed event time that is reflected, in milliseconds since 1970; 0 before the first event.
    pub as_of_ms: i64,
    /// Newest time at which a reflected event was received by its collector, likewise.
    #[serde(default)]
    pub ingested_ms: i64,
    /// Partition of `raw-rsvps` to the last offset that is reflected.
    pub offsets: BTreeMap<i32, i64>,
    /// Distinct events that were read, whatever the window.
    #[serde(default)]
    pub events: u64,
    /// Re-deliveries that were dropped.
    #[serde(default)]
    pub duplicates: u64,
    /// Mentions of any item in the window.
    pub total: u64,
    /// Distinct items in the window, estimated once a summary overflowed.
    pub distinct: u64,
    /// Relative standard error of `distinct`; 0 when it is exact.
    pub distinct_error: f64,
    /// No item that is not in the summary has a true count above this.
    pub ceiling: u64,
    /// Mentions in no window because the window had moved on: they came too late in their partition, or
    /// their partition lags so far behind the others that the window has left it.
    pub late: u64,
    /// Distinct events without a readable time: counted by running windows only.
    #[serde(default)]
    pub untimed: u64,
    /// Distinct events dated so far ahead that only running windows count them. It falls when other events
    /// confirm the time of one that waits.
    #[serde(default)]
    pub future: u64,
    /// Offsets that were lost before they could be read.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// The most frequent items, by count descending, then by the item's bytes ascending.
    pub top: Vec<Ranked>,
}

/// An item with its estimated count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// The item, as it stands in the events.
    pub item: String,
    /// Upper bound of the true count.
    pub count: u64,
    /// `count - error` is a lower bound of it.
    pub error: u64,
}

/// The time span of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Window {
    /// Everything since the start of the log.
    Running {},
    /// The last `size_ms` of event time, moved on by `slide_ms`: `[start_ms, end_ms)`.
    Sliding {
        /// Length of the window in milliseconds.
        size_ms: i64,
        /// Step of the window in milliseconds; divides `size_ms`.
        slide_ms: i64,
        /// First instant in the window, in milliseconds since 1970.
        start_ms: i64,
        /// First instant after it.
        end_ms: i64,
    },
    /// A kind that this version does not know; no tier of this version publishes it.
    #[serde(other)]
    Other,
}

/// A run of offsets `[from, to)` of one partition that was gone before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// Partition of `raw-rsvps`.
    pub partition: i32,
    /// First offset that is missing.
    pub from: i64,
    /// First offset after the gap.
    pub to: i64,
}

impl TopN {
    /// The version that belongs to a vector of offsets.
    pub fn version_of(offsets: &BTreeMap<i32, i64>) -> u64 {
        offsets.values().map(|&last| u64::try_from(last + 1).unwrap_or(0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_has_the_names_of_the_contract() {
        let text = r#"{"v":1,"query":"topics","stream":"9f3c00000000beef","window":{"kind":"sliding","size_ms":1800000,"slide_ms":5000,"start_ms":0,"end_ms":0},"version":812,"as_of_ms":0,"ingested_ms":0,"offsets":{"0":1042,"1":998},"events":0,"duplicates":0,"total":18234,"distinct":2210,"distinct_error":0.008,"ceiling":3,"late":4,"untimed":0,"future":0,"gaps":[],"top":[{"item":"Social","count":663,"error":0}]}"#;
        let result: TopN = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&result).unwrap(), text);
        assert_eq!(TopN::version_of(&result.offsets), 1043 + 999);
        let running = serde_json::to_string(&Window::Running {}).unwrap();
        assert_eq!(running, r#"{"kind":"running"}"#);
    }
}
