//! The published result of a `top` query, one record of `topn-rsvps` (key: the query's name).
//!
//! For every item of `top`: `count - error <= true count <= count`, and `error <= total / capacity`.
//! The `version` of a query only grows. It is the sum of (offset + 1) over `offsets`, so that two analyzers
//! that merge the same input publish the same version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub mod audit;
pub mod missed;

use missed::Missed;

/// The schema version that is written; readers accept this one and the one before.
pub const SCHEMA_VERSION: u32 = 1;

/// One result of a `top` query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopN {
    /// Schema version, see [`SCHEMA_VERSION`].
    pub v: u32,
    /// The query's name.
    pub query: String,
    /// The identity of the topic that it is published in. Versions may be compared within one stream only.
    #[serde(default)]
    pub stream: String,
    /// The time span that is counted.
    pub window: Window,
    /// Sum of (offset + 1) over `offsets`.
    pub version: u64,
    /// Newest confirmed event time that is counted, in milliseconds since 1970; 0 before the first event.
    pub as_of_ms: i64,
    /// Newest time at which a collector received an event that is counted, in milliseconds since 1970; 0 before
    /// the first event.
    #[serde(default)]
    pub ingested_ms: i64,
    /// For each partition of `raw-rsvps`, the last offset that is counted.
    pub offsets: BTreeMap<i32, i64>,
    /// Distinct events that were read, whatever the window.
    #[serde(default)]
    pub events: u64,
    /// Re-deliveries that were dropped.
    #[serde(default)]
    pub duplicates: u64,
    /// Mentions of all items in the window.
    pub total: u64,
    /// Distinct items in the window; estimated if a summary overflowed.
    pub distinct: u64,
    /// Relative standard error of `distinct`; 0 when it is exact.
    pub distinct_error: f64,
    /// The highest true count that an item outside the summary can have.
    pub ceiling: u64,
    /// Mentions that are in no window because the window had moved on: they came too late in their partition,
    /// or their partition lags so far behind the others that the window has left it.
    pub late: u64,
    /// Distinct events without a readable time: counted by running windows only.
    #[serde(default)]
    pub untimed: u64,
    /// Distinct events whose time is so far ahead that only running windows count them. The number falls when
    /// other events confirm the time of one of these.
    #[serde(default)]
    pub future: u64,
    /// Offsets that were lost before they could be read.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// What collectors know to be missing of their sources; absent when they know of nothing.
    #[serde(default, skip_serializing_if = "Missed::is_none")]
    pub missed: Missed,
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
    /// By how much `count` may be too high: `count - error` is a lower bound of the true count.
    pub error: u64,
}

/// The time span of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Window {
    /// Everything since the start of the log.
    Running {},
    /// The last `size_ms` of event time, `[start_ms, end_ms)`; the window moves in steps of `slide_ms`.
    Sliding {
        /// Length of the window in milliseconds.
        size_ms: i64,
        /// Step of the window in milliseconds; divides `size_ms`.
        slide_ms: i64,
        /// First instant in the window, in milliseconds since 1970.
        start_ms: i64,
        /// First instant after the window, in milliseconds since 1970.
        end_ms: i64,
    },
    /// A kind that this version does not know; no tier of this version publishes it.
    #[serde(other)]
    Other,
}

/// A range of offsets `[from, to)` of one partition whose records were deleted before they were read.
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
    /// The version that belongs to `offsets`: the sum of (offset + 1).
    pub fn version_of(offsets: &BTreeMap<i32, i64>) -> u64 {
        offsets.values().map(|&last| u64::try_from(last + 1).unwrap_or(0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_the_field_names_that_are_documented() {
        let text = r#"{"v":1,"query":"topics","stream":"9f3c00000000beef","window":{"kind":"sliding","size_ms":1800000,"slide_ms":5000,"start_ms":0,"end_ms":0},"version":812,"as_of_ms":0,"ingested_ms":0,"offsets":{"0":1042,"1":998},"events":0,"duplicates":0,"total":18234,"distinct":2210,"distinct_error":0.008,"ceiling":3,"late":4,"untimed":0,"future":0,"gaps":[],"top":[{"item":"Social","count":663,"error":0}]}"#;
        let result: TopN = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&result).unwrap(), text);
        assert_eq!(TopN::version_of(&result.offsets), 1043 + 999);
        let running = serde_json::to_string(&Window::Running {}).unwrap();
        assert_eq!(running, r#"{"kind":"running"}"#);
    }
}
