//! The outcome of `millrace up --once`: its exit code, its JSON lines, its log.

use std::{collections::BTreeMap, process::ExitStatus};

use serde::Deserialize;
use serde_json::Value;

use crate::oracle::Answer;

/// One entry of a result's `top`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ranked {
    /// What was counted.
    pub item: String,
    /// Its count, never below the truth.
    pub count: u64,
    /// By how much the count may be above the truth.
    pub error: u64,
}

/// The fields of a published result that tests use.
#[derive(Debug, Clone, Deserialize)]
pub struct Published {
    /// The query's name.
    pub query: String,
    /// Mentions counted.
    pub total: u64,
    /// Distinct items; an estimate if a summary overflowed.
    pub distinct: u64,
    /// The first items, by count.
    pub top: Vec<Ranked>,
    /// The version, which grows with the records that the result counts.
    #[serde(default)]
    pub version: u64,
    /// The window, where it has one.
    #[serde(default)]
    pub window: Value,
    /// Offsets that were lost before they were read.
    #[serde(default)]
    pub gaps: Vec<Value>,
}

/// The last line of `--once`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Summary {
    /// Messages that the collector received.
    pub received: u64,
    /// Records in `raw-rsvps`.
    pub published: u64,
    /// Re-deliveries among them.
    pub duplicates: u64,
    /// Lines that were left out because they are longer than the collector accepts.
    pub left_out: u64,
    /// Records in `raw-rsvps-dlq`, by reason.
    pub dead_letters: BTreeMap<String, u64>,
}

/// How a run of `millrace up` ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its stdout, line by line.
    pub stdout: Vec<String>,
    /// Its stderr: progress and all logs.
    pub stderr: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Result(Box<Published>),
    Summary { summary: Summary },
}

impl Outcome {
    fn last_lines(&self, at_most: usize) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        lines[lines.len().saturating_sub(at_most)..].join("\n")
    }

    /// The results and the summary of a run. Panics if the run failed or printed anything else.
    pub fn results(&self) -> (BTreeMap<String, Published>, Summary) {
        assert!(
            self.status.success(),
            "up --once ended with {}; its last lines:\n{}",
            self.status,
            self.last_lines(40)
        );
        let mut results = BTreeMap::new();
        let mut summary = None;
        for line in &self.stdout {
            assert!(
                summary.is_none(),
                "the summary is the last line, but this came after it: {line}"
            );
            match serde_json::from_str::<Line>(line) {
                Ok(Line::Result(result)) => {
                    let name = result.query.clone();
                    assert!(
                        results.insert(name, *result).is_none(),
                        "one line for every query, but this is another: {line}"
                    );
                }
                Ok(Line::Summary { summary: found }) => summary = Some(found),
                Err(error) => panic!("neither a result nor a summary ({error}): {line}"),
            }
        }
        (results, summary.expect("the last line is the summary"))
    }
}

impl Published {
    /// Asserts that the result is exact: the first `n` items with their counts and without error, the total, and no
    /// gaps. `distinct` may be off by 1 %.
    pub fn assert_exact(&self, truth: &Answer, n: usize) {
        let found: Vec<(&str, u64, u64)> =
            self.top.iter().take(n).map(|one| (one.item.as_str(), one.count, one.error)).collect();
        let wanted = truth.top(n);
        let wanted: Vec<(&str, u64, u64)> =
            wanted.iter().map(|(item, count)| (item.as_str(), *count, 0)).collect();
        assert_eq!(found, wanted, "{}: the first {n}, with count and error", self.query);
        assert_eq!(self.total, truth.total(), "{}: total", self.query);
        assert!(self.gaps.is_empty(), "{}: nothing was lost, but: {:?}", self.query, self.gaps);
        let off = self.distinct.abs_diff(truth.distinct());
        assert!(
            off * 100 <= truth.distinct(),
            "{}: distinct {} is not within 1 % of {}",
            self.query,
            self.distinct,
            truth.distinct()
        );
    }

    /// Asserts that every true count is within the published bounds, and that no error is above total / `capacity`.
    pub fn assert_bounded(&self, truth: &Answer, capacity: u64) {
        assert_eq!(self.total, truth.total(), "{}: total", self.query);
        for one in &self.top {
            let actual = truth.count_of(&one.item);
            assert!(
                one.count - one.error <= actual && actual <= one.count,
                "{}: {} is {actual}, outside [{}, {}]",
                self.query,
                one.item,
                one.count - one.error,
                one.count
            );
            assert!(
                one.error <= self.total / capacity,
                "{}: the error of {} is beyond {}/{capacity}: {}",
                self.query,
                one.item,
                self.total,
                one.error
            );
        }
    }
}
