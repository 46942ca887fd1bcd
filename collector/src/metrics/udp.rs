//! The metrics of sources of kind `udp`.

use common::metrics::Factory;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The metrics of all of them.
#[derive(Debug, Clone)]
pub(super) struct Udp {
    datagrams: IntCounterVec,
    dropped: IntCounterVec,
    buffer: IntGaugeVec,
}

/// Those of one source.
#[derive(Debug, Clone)]
pub struct UdpMetrics {
    /// Datagrams that were read.
    pub datagrams: IntCounter,
    /// Datagrams that the kernel has dropped, because its buffer was full.
    pub by_kernel: IntCounter,
    /// The kernel's buffer in bytes.
    pub buffer: IntGauge,
}

impl Udp {
    pub(super) fn new(make: Factory<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            datagrams: make.counters("udp_datagrams", "Datagrams that were read", "source", [])?,
            dropped: make.counters(
                "udp_dropped",
                "Datagrams that the kernel dropped, because its buffer was full",
                "source",
                [],
            )?,
            buffer: make.gauges(
                "udp_receive_buffer_bytes",
                "The kernel's buffer for datagrams that were not read",
                "source",
                [],
            )?,
        })
    }

    pub(super) fn of_source(&self, name: &str) -> UdpMetrics {
        UdpMetrics {
            datagrams: self.datagrams.with_label_values(&[name]),
            by_kernel: self.dropped.with_label_values(&[name]),
            buffer: self.buffer.with_label_values(&[name]),
        }
    }
}
