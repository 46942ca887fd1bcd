//! The analyzer's metrics. They are named `millrace_analyzer_<noun>_<unit>`, and counters end in `_total`.

use common::metrics::Factory;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

/// The analyzer's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read, by outcome: `counted`, `duplicate`, `undecodable`, `replayed`.
    pub records: IntCounterVec,
    /// Records that are not events, by reason.
    pub undecodable: IntCounterVec,
    /// Bytes of payload read.
    pub raw_bytes: IntCounter,
    /// Distinct events that only running windows count, by cause: `untimed`, `future`.
    pub unwindowed: IntCounterVec,
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
    /// Partitions owned, by stage.
    pub assigned: IntGaugeVec,
    /// Bytes of the values sent, before compression, by topic.
    pub published_bytes: IntCounterVec,
    /// Results published, by query.
    pub results: IntCounterVec,
    /// Records of the partials topic that could not be read.
    pub damaged_partials: IntCounter,
    /// Offsets of the raw topic in the audit, by outcome: `counted`, `duplicate`, `undecodable`, `control`, `gap`. No
    /// restart resets them; only the process that merges the audit has them.
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

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let make = Factory::new(registry, "analyzer");
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
            )?,
            undecodable: make.counters(
                "undecodable_records",
                "records that are no event",
                "reason",
            )?,
            raw_bytes: make.counter("raw_bytes", "bytes of payload read from the raw topic")?,
            unwindowed: make.counters(
                "unwindowed_events",
                "distinct events that only running windows count",
                "cause",
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
            )?,
            assigned: make.gauges(
                "assigned_partitions",
                "partitions owned by this process",
                "stage",
            )?,
            published_bytes: make.counters(
                "published_bytes",
                "bytes of values sent, before compression",
                "topic",
            )?,
            results: make.counters("results", "results published", "query")?,
            damaged_partials: make.counter(
                "damaged_partials",
                "records of the partials topic that could not be read",
            )?,
            audit_offsets: make.gauges(
                "audit_offsets",
                "offsets of the raw topic, by what became of them since its beginning",
                "outcome",
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
        self.audit_offsets.reset();
        self.audit_unbalanced.set(0);
    }
}
