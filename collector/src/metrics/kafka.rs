//! The metrics of sources of kind `kafka`.

use common::metrics::Factory;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The metrics of all of them.
#[derive(Debug, Clone)]
pub(super) struct Kafka {
    tombstones: IntCounterVec,
    lost: IntCounterVec,
    assigned: IntGaugeVec,
    lag: IntGaugeVec,
}

/// Those of one source.
#[derive(Debug, Clone)]
pub struct KafkaMetrics {
    /// Records without a value, which were skipped.
    pub tombstones: IntCounter,
    /// Records that were deleted before they were read.
    pub lost: IntCounter,
    /// How many partitions this process reads.
    pub assigned: IntGauge,
    /// How many records of those are not committed yet.
    pub lag: IntGauge,
}

impl Kafka {
    pub(super) fn new(make: Factory<'_>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| make.gauges(name, help, "source", []);
        let counter = |name: &str, help: &str| make.counters(name, help, "source", []);
        Ok(Self {
            tombstones: counter("kafka_tombstones", "Records without a value, which were skipped")?,
            lost: counter(
                "kafka_lost_records",
                "Offsets that were deleted from the source's topics before they were read",
            )?,
            assigned: gauge(
                "kafka_assigned_partitions",
                "Partitions of the source's topics that this process reads",
            )?,
            lag: gauge(
                "kafka_lag_records",
                "Records of those partitions behind the committed positions",
            )?,
        })
    }

    pub(super) fn of_source(&self, name: &str) -> KafkaMetrics {
        KafkaMetrics {
            tombstones: self.tombstones.with_label_values(&[name]),
            lost: self.lost.with_label_values(&[name]),
            assigned: self.assigned.with_label_values(&[name]),
            lag: self.lag.with_label_values(&[name]),
        }
    }
}
