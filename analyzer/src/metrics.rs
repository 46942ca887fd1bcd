//! The analyzer's metrics. They are named `millrace_analyzer_<noun>_<unit>`, and counters end in `_total`.

use common::event::Reason;
use common::kafka::Topics;
use common::metrics::{Age, Factory};
use common::result::audit::Outcomes;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::core::plan::Plan;

/// The analyzer's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read, by [`Outcome`].
    pub records: IntCounterVec,
    /// Records that are not events, by reason.
    pub undecodable: IntCounterVec,
    /// Bytes of payload read.
    pub raw_bytes: IntCounter,
    /// Distinct events that only running windows count, by [`Cause`].
    pub unwindowed: IntCounterVec,
    /// Mentions that queries have taken in, summed over the queries.
    pub mentions: IntCounter,
    /// Mentions that came when the window of a query had moved on, summed over the queries.
    pub late: IntCounter,
    /// Records whose Kafka key is not the key that the schema finds in the event.
    pub key_mismatches: IntCounter,
    /// 1 for a query that has found no item in the first 10,000 events.
    pub unmatched_queries: IntGaugeVec,
    /// Items counted in a shortened form.
    pub shortened: IntCounter,
    /// Event ids forgotten because of their age or because there were too many.
    pub forgotten: IntCounter,
    /// Offsets that were lost before they could be read.
    pub gap_offsets: IntCounter,
    /// Records between the last one counted and the log's end, by partition.
    pub lag: IntGaugeVec,
    /// Partials between the last one merged and the end of their topic, by partition of that topic.
    pub merge_lag: IntGaugeVec,
    /// The newest event time of a partition, in seconds since 1970.
    pub watermark: IntGaugeVec,
    /// Partitions owned, by [`Stage`].
    pub assigned: IntGaugeVec,
    /// Bytes of the values sent, before compression, by topic.
    pub published_bytes: IntCounterVec,
    /// Results published, by query.
    pub results: IntCounterVec,
    /// Records of the partials topic that could not be read.
    pub damaged_partials: IntCounter,
    /// For how long something has been counted that no acknowledged snapshot holds, in the partition where it is
    /// longest.
    pub snapshot_age: Age,
    /// Stored snapshots that could not be used.
    pub snapshot_errors: IntCounter,
    /// Offsets of the raw topic in the audit, by outcome: `counted`, `duplicate`, `undecodable`, `control`, `gap`. No
    /// restart resets them; they are 0 in a process that does not merge the audit.
    pub audit_offsets: IntGaugeVec,
    /// Partitions whose books do not balance.
    pub audit_unbalanced: IntGauge,
    /// Duration of a snapshot, from making it to its acknowledgement.
    pub snapshot_seconds: Histogram,
    /// Duration of handing one round of partials to the producer.
    pub emit_seconds: Histogram,
    /// Duration of a takeover, from the assignment to asking for the first record.
    pub takeover_seconds: Histogram,
}

/// What became of a record: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A distinct event.
    Counted,
    /// A re-delivery.
    Duplicate,
    /// Not an event.
    Undecodable,
    /// No event: a collector tells something.
    Control,
    /// Reflected before, or read again for a query that is behind.
    Replayed,
}

/// Why only running windows count an event: the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It has no time that can be read.
    Untimed,
    /// It is dated too far ahead.
    Future,
}

/// A stage: the label `stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The stage that counts partitions of the raw topic.
    Tally,
    /// The stage that merges partials into results.
    Merge,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Counted, Self::Duplicate, Self::Undecodable, Self::Control, Self::Replayed];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Duplicate => "duplicate",
            Self::Undecodable => "undecodable",
            Self::Control => "control",
            Self::Replayed => "replayed",
        }
    }
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::Untimed, Self::Future];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untimed => "untimed",
            Self::Future => "future",
        }
    }
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 2] = [Self::Tally, Self::Merge];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tally => "tally",
            Self::Merge => "merge",
        }
    }
}

impl Metrics {
    /// Creates and registers the metrics of an analyzer that counts the queries of `plan` and writes to `topics`.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn new(
        registry: &Registry,
        plan: &Plan,
        topics: &Topics,
    ) -> Result<Self, prometheus::Error> {
        let make = Factory::new(registry, "analyzer");
        let queries = || plan.queries().iter().map(|planned| planned.query.name.as_str());
        let seconds = |name, help| {
            make.seconds(
                name,
                help,
                &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )
        };
        Ok(Self {
            records: make.counters(
                "records",
                "records of the raw topic, by what became of them",
                "outcome",
                Outcome::ALL.map(Outcome::as_str),
            )?,
            undecodable: make.counters(
                "undecodable_records",
                "records that are no event",
                "reason",
                Reason::ALL.map(Reason::as_str),
            )?,
            raw_bytes: make.counter("raw_bytes", "bytes of payload read from the raw topic")?,
            unwindowed: make.counters(
                "unwindowed_events",
                "distinct events that only running windows count",
                "cause",
                Cause::ALL.map(Cause::as_str),
            )?,
            mentions: make.counter(
                "mentions",
                "mentions that queries have taken in, summed over the queries",
            )?,
            late: make
                .counter("late_mentions", "mentions that came when the window had moved on")?,
            key_mismatches: make.counter(
                "key_mismatch_records",
                "records whose Kafka key is not the one that the event says",
            )?,
            unmatched_queries: make.gauges(
                "unmatched_queries",
                "1 for a query that has found no item in the first thousands of events",
                "query",
                queries(),
            )?,
            shortened: make.counter(
                "shortened_items",
                "items so long that they are counted in a shortened form",
            )?,
            forgotten: make.counter(
                "forgotten_ids",
                "event ids forgotten for their age or for want of room",
            )?,
            gap_offsets: make
                .counter("gap_offsets", "offsets that were lost before they could be read")?,
            lag: make.gauges(
                "lag_records",
                "records between the last one reflected and the log's end",
                "partition",
                [],
            )?,
            merge_lag: make.gauges(
                "merge_lag_records",
                "partials between the last one merged and the end of their topic",
                "partition",
                [],
            )?,
            watermark: make.gauges(
                "watermark_timestamp_seconds",
                "the newest event time of a partition of the raw topic",
                "partition",
                [],
            )?,
            assigned: make.gauges(
                "assigned_partitions",
                "partitions owned by this process",
                "stage",
                Stage::ALL.map(Stage::as_str),
            )?,
            published_bytes: make.counters(
                "published_bytes",
                "bytes of values sent, before compression",
                "topic",
                [&topics.partials, &topics.state, &topics.results].map(String::as_str),
            )?,
            results: make.counters("results", "results published", "query", queries())?,
            damaged_partials: make.counter(
                "damaged_partials",
                "records of the partials topic that could not be read",
            )?,
            snapshot_age: make.age(
                "snapshot",
                "for how long something has been counted that no acknowledged snapshot holds",
            )?,
            snapshot_errors: make
                .counter("snapshot_errors", "stored snapshots that could not be used")?,
            audit_offsets: make.gauges(
                "audit_offsets",
                "offsets of the raw topic, by what became of them since its beginning",
                "outcome",
                Outcomes::default().by_name().map(|(outcome, _)| outcome),
            )?,
            audit_unbalanced: make
                .gauge("audit_unbalanced_partitions", "partitions whose books do not balance")?,
            snapshot_seconds: seconds("snapshot", "from making a snapshot to its acknowledgement")?,
            emit_seconds: seconds("emit", "handing one round of partials to the producer")?,
            takeover_seconds: seconds(
                "takeover",
                "from an assignment to asking for its first record",
            )?,
        })
    }

    /// Another process has the audit now.
    pub fn forget_audit(&self) {
        self.show_audit(Outcomes::default());
        self.audit_unbalanced.set(0);
    }

    /// Sets the offsets of the audit.
    pub fn show_audit(&self, total: Outcomes) {
        for (outcome, offsets) in total.by_name() {
            let offsets = i64::try_from(offsets).unwrap_or(i64::MAX);
            self.audit_offsets.with_label_values(&[outcome]).set(offsets);
        }
    }
}
