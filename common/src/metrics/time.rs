//! Metrics that tell of moments. A moment of the clock is served as it is, so that a query can take it from `time()`;
//! where nothing but the time that has gone by is known, or nothing may be there to age, the age is served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus::{Gauge, GaugeVec};

/// A gauge that holds a moment, in seconds since 1970; 0 before the first.
#[derive(Debug, Clone)]
pub struct Timestamp(Gauge);

impl Timestamp {
    pub(super) const fn new(gauge: Gauge) -> Self {
        Self(gauge)
    }

    /// Sets the moment, in milliseconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds need 41 of the 53 bits")]
    pub fn set_ms(&self, time_ms: i64) {
        self.0.set(time_ms as f64 / 1_000.0);
    }
}

/// Gauges that hold a moment for each value of a label.
#[derive(Debug, Clone)]
pub struct Timestamps(GaugeVec);

impl Timestamps {
    pub(super) const fn new(gauges: GaugeVec) -> Self {
        Self(gauges)
    }

    /// The gauge of this value of the label.
    pub fn with_label_value(&self, value: &str) -> Timestamp {
        Timestamp(self.0.with_label_values(&[value]))
    }
}

/// A gauge of the seconds that have gone by since a moment; 0 while there is none. It grows also when whoever sets it
/// stands still.
#[derive(Debug, Clone, Default)]
pub struct Age(Arc<Mutex<Option<Instant>>>);

impl Age {
    /// Counts from this moment on.
    pub fn count_from(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// The seconds that have gone by.
    pub fn seconds(&self) -> f64 {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}
