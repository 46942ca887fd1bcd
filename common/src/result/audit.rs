//! The published audit: what became of every offset of `raw-rsvps`, one record of `topn-rsvps` (key: [`KEY`]).
//!
//! For each partition the sum over the [`Outcomes`] is the number of offsets up to the one that the audit reflects,
//! and `total` is the sum over the partitions and over `before` and `minutes`. The numbers are part of the tally's
//! state, so that a restart does not reset them.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The key of the audit in the topic of results. No query has it, because a query's name has no `/`, and a reader that
/// does not know it leaves it alone.
pub const KEY: &str = "audit/offsets";

/// The minutes that are told apart; older ones are in `before`. A day.
pub const MINUTES: usize = 1_440;

/// What became of every offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Schema version, see [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub v: u32,
    /// The identity of the topic that it is published in.
    pub stream: String,
    /// Sum of (offset + 1) over `offsets`; it only grows within one stream.
    pub version: u64,
    /// For each partition of `raw-rsvps`, the last offset that is reflected.
    pub offsets: BTreeMap<i32, i64>,
    /// Whether the books of every partition balance, see [`Books::balanced`].
    pub balanced: bool,
    /// Newest record time, in milliseconds since 1970; 0 before the first record.
    pub ingested_ms: i64,
    /// All offsets.
    pub total: Outcomes,
    /// Those of minutes that are not told apart any more, and those without a record time.
    pub before: Outcomes,
    /// The minutes that have any, of the newest [`MINUTES`], oldest first.
    pub minutes: Vec<Minute>,
    /// The same by partition.
    pub partitions: BTreeMap<i32, Books>,
}

/// Numbers of offsets, by what became of them. A number that is 0 is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Distinct events, counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub counted: u64,
    /// Re-deliveries, dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicate: u64,
    /// Records that are not events.
    #[serde(skip_serializing_if = "is_zero")]
    pub undecodable: u64,
    /// Offsets that Kafka gives no consumer, although they are within the log: transaction markers, records of
    /// transactions that were aborted, and records that compaction removed. A collector's topic has none.
    #[serde(skip_serializing_if = "is_zero")]
    pub control: u64,
    /// Offsets that were deleted before they were read: lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap: u64,
}

/// The outcomes of the offsets of one minute of record time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// First instant of the minute, in milliseconds since 1970.
    pub start_ms: i64,
    /// What became of its offsets.
    #[serde(flatten)]
    pub outcomes: Outcomes,
}

/// The books of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Offsets up to the one that is reflected.
    pub offsets: u64,
    /// What became of them.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// The same as the results have it: a second set of counters, kept from the same decisions. A difference means
    /// that one of the two was damaged or skipped; a wrong decision is in both.
    pub results: Counters,
    /// Whether the outcomes are as many as the offsets, and the same as in the results.
    pub balanced: bool,
}

/// The counters that the results of the queries are published with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Distinct events.
    pub events: u64,
    /// Re-deliveries.
    pub duplicates: u64,
    /// Records that are not events.
    pub undecodable: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Outcomes {
    /// The numbers with the names of their fields.
    pub const fn by_name(self) -> [(&'static str, u64); 5] {
        let Self { counted, duplicate, undecodable, control, gap } = self;
        [
            ("counted", counted),
            ("duplicate", duplicate),
            ("undecodable", undecodable),
            ("control", control),
            ("gap", gap),
        ]
    }

    /// How many offsets these are.
    pub const fn sum(&self) -> u64 {
        let Self { counted, duplicate, undecodable, control, gap } = *self;
        counted + duplicate + undecodable + control + gap
    }
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.counted += other.counted;
        self.duplicate += other.duplicate;
        self.undecodable += other.undecodable;
        self.control += other.control;
        self.gap += other.gap;
    }
}

impl Books {
    /// The books of a partition, compared with its offsets and with the results.
    pub const fn new(offsets: u64, outcomes: Outcomes, results: Counters) -> Self {
        let balanced = outcomes.sum() == offsets
            && outcomes.counted == results.events
            && outcomes.duplicate == results.duplicates
            && outcomes.undecodable == results.undecodable;
        Self { offsets, outcomes, results, balanced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_has_the_field_names_that_are_documented() {
        let text = r#"{"v":1,"stream":"9f3c00000000beef","version":9,"offsets":{"0":8},"balanced":true,"ingested_ms":60001,"total":{"counted":7,"duplicate":1,"undecodable":1},"before":{},"minutes":[{"start_ms":60000,"counted":7,"duplicate":1,"undecodable":1}],"partitions":{"0":{"offsets":9,"counted":7,"duplicate":1,"undecodable":1,"results":{"events":7,"duplicates":1,"undecodable":1},"balanced":true}}}"#;
        let audit: Audit = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&audit).unwrap(), text);
        assert_eq!(audit.total.sum(), audit.version);
    }

    #[test]
    fn books_balance_only_when_each_offset_has_one_outcome_and_the_results_agree() {
        let outcomes = Outcomes { counted: 5, duplicate: 2, undecodable: 1, control: 1, gap: 1 };
        let results = Counters { events: 5, duplicates: 2, undecodable: 1 };
        assert!(Books::new(10, outcomes, results).balanced);
        assert!(!Books::new(11, outcomes, results).balanced, "an offset without an outcome");
        assert!(!Books::new(9, outcomes, results).balanced, "an offset with two");
        for wrong in [
            Counters { events: 6, ..results },
            Counters { duplicates: 1, ..results },
            Counters { undecodable: 0, ..results },
        ] {
            assert!(!Books::new(10, outcomes, wrong).balanced, "{wrong:?}");
        }
    }
}
