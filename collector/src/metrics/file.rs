//! The metrics of sources of kind `file`.

use common::metrics::Factory;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The metrics of all of them.
#[derive(Debug, Clone)]
pub(super) struct File {
    position: IntGaugeVec,
    size: IntGaugeVec,
    finished: IntGaugeVec,
    rotations: IntCounterVec,
    truncations: IntCounterVec,
}

/// Those of one source.
#[derive(Debug, Clone)]
pub struct FileMetrics {
    /// How many bytes of the file were taken, after unpacking.
    pub position: IntGauge,
    /// How long the file is; 0 while that is not known.
    pub size: IntGauge,
    /// 1 when all of it was read.
    pub finished: IntGauge,
    /// Times that the next file was begun because the one before was rotated.
    pub rotations: IntCounter,
    /// Times that the file was truncated.
    pub truncations: IntCounter,
}

impl File {
    pub(super) fn new(make: Factory<'_>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| make.gauges(name, help, "source", []);
        let counter = |name: &str, help: &str| make.counters(name, help, "source", []);
        Ok(Self {
            position: gauge(
                "file_position_bytes",
                "Bytes of the file that were taken, after unpacking",
            )?,
            size: gauge("file_size_bytes", "Length of the file; 0 if it is packed, or a pipe")?,
            finished: gauge("file_finished", "1 when all of a file that is not followed was read")?,
            rotations: counter("file_rotations", "Times that the file was rotated")?,
            truncations: counter("file_truncations", "Times that the file was truncated")?,
        })
    }

    pub(super) fn of_source(&self, name: &str) -> FileMetrics {
        let gauge = |gauges: &IntGaugeVec| gauges.with_label_values(&[name]);
        let counter = |counters: &IntCounterVec| counters.with_label_values(&[name]);
        FileMetrics {
            position: gauge(&self.position),
            size: gauge(&self.size),
            finished: gauge(&self.finished),
            rotations: counter(&self.rotations),
            truncations: counter(&self.truncations),
        }
    }
}
