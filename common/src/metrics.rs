//! How every tier creates its metrics. They are named `millrace_<tier>_<noun>_<unit>`, counters end in
//! `_total`, and each is registered when it is created.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};

/// Creates the metrics of one tier.
///
/// Every method fails when the name is taken already, or is not one that Prometheus allows.
#[derive(Debug, Clone, Copy)]
pub struct Factory<'a> {
    registry: &'a Registry,
    tier: &'a str,
}

impl<'a> Factory<'a> {
    /// A factory for the tier `tier`, whose name is in `snake_case`.
    pub const fn new(registry: &'a Registry, tier: &'a str) -> Self {
        Self { registry, tier }
    }

    fn options(self, name: &str, help: &str) -> Opts {
        Opts::new(format!("millrace_{}_{name}", self.tier), help)
    }

    fn registered<M: Collector + Clone + 'static>(self, metric: M) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A counter; `_total` is added to its name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn counter(self, name: &str, help: &str) -> Result<IntCounter> {
        self.registered(IntCounter::with_opts(self.options(&format!("{name}_total"), help))?)
    }

    /// Counters distinguished by a label; `_total` is added to their name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn counters(self, name: &str, help: &str, label: &str) -> Result<IntCounterVec> {
        let options = self.options(&format!("{name}_total"), help);
        self.registered(IntCounterVec::new(options, &[label])?)
    }

    /// A gauge.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge> {
        self.registered(IntGauge::with_opts(self.options(name, help))?)
    }

    /// Gauges distinguished by a label.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn gauges(self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec> {
        self.registered(IntGaugeVec::new(self.options(name, help), &[label])?)
    }

    /// A histogram of durations in seconds; `_seconds` is added to its name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn seconds(self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let name = format!("millrace_{}_{name}_seconds", self.tier);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_by_tier_and_registered_once() {
        let registry = Registry::new();
        let factory = Factory::new(&registry, "collector");
        factory.counter("received_messages", "help").unwrap().inc();
        factory.counters("dead_letters", "help", "reason").unwrap().with_label_values(&["empty"]);
        factory.gauge("pending_entries", "help").unwrap();
        factory.gauges("lag_records", "help", "partition").unwrap().with_label_values(&["0"]);
        factory.seconds("log_sync", "help", &[0.1]).unwrap();
        assert!(factory.gauge("pending_entries", "help").is_err());
        let names: Vec<_> =
            registry.gather().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "millrace_collector_dead_letters_total",
                "millrace_collector_lag_records",
                "millrace_collector_log_sync_seconds",
                "millrace_collector_pending_entries",
                "millrace_collector_received_messages_total",
            ]
        );
    }
}
