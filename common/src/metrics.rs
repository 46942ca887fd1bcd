//! How every tier creates its metrics. They are named `millrace_<tier>_<noun>_<unit>`, counters end in
//! `_total`, and each is registered when it is created.
//!
//! The values of most labels are a closed set. All series of such a metric exist at 0 from the start, because
//! `rate()` and `increase()` do not see the step from no series to the first one.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

mod time;

pub use time::{Age, Timestamp, Timestamps};

/// Creates the metrics of one tier.
///
/// Every method fails when the name is taken already, or is not one that Prometheus allows.
#[derive(Debug, Clone, Copy)]
pub struct Factory<'a> {
    registry: &'a Registry,
    tier: &'a str,
}

/// A metric that is brought up to date whenever it is read.
struct Read<M, F> {
    metric: M,
    update: F,
}

impl<M: Collector, F: Fn(&M) + Send + Sync> Collector for Read<M, F> {
    fn desc(&self) -> Vec<&Desc> {
        self.metric.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.update)(&self.metric);
        self.metric.collect()
    }
}

/// Metrics that are brought up to date together whenever they are read.
struct ReadTogether<F> {
    metrics: Registry,
    update: Mutex<F>,
}

impl<F: Fn() + Send> Collector for ReadTogether<F> {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Another scrape must not change them before they are copied.
        let update = self.update.lock().unwrap_or_else(PoisonError::into_inner);
        update();
        self.metrics.gather()
    }
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

    fn read<M: Collector + 'static>(
        self,
        metric: M,
        update: impl Fn(&M) + Send + Sync + 'static,
    ) -> Result<()> {
        self.registry.register(Box::new(Read { metric, update }))
    }

    /// A counter; `_total` is added to its name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn counter(self, name: &str, help: &str) -> Result<IntCounter> {
        self.registered(IntCounter::with_opts(self.options(&format!("{name}_total"), help))?)
    }

    /// Counters distinguished by a label, which exist at 0 for these `values` of it; `_total` is added to their name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn counters<'v>(
        self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<IntCounterVec> {
        let options = self.options(&format!("{name}_total"), help);
        let counters = self.registered(IntCounterVec::new(options, &[label])?)?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        Ok(counters)
    }

    /// Counters distinguished by several labels; `_total` is added to their name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn counters_of(self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let options = self.options(&format!("{name}_total"), help);
        self.registered(IntCounterVec::new(options, labels)?)
    }

    /// A gauge.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge> {
        self.registered(IntGauge::with_opts(self.options(name, help))?)
    }

    /// Gauges distinguished by a label, which exist at 0 for these `values` of it.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn gauges<'v>(
        self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<IntGaugeVec> {
        let gauges = self.registered(IntGaugeVec::new(self.options(name, help), &[label])?)?;
        for value in values {
            gauges.with_label_values(&[value]);
        }
        Ok(gauges)
    }

    /// A gauge whose value is asked for when it is read, for what the system has to be asked for.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn read_gauge(
        self,
        name: &str,
        help: &str,
        value: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<()> {
        let gauge = IntGauge::with_opts(self.options(name, help))?;
        self.read(gauge, move |gauge| gauge.set(value()))
    }

    /// Gauges distinguished by a label, whose values are asked for when they are read.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn read_gauges<I: IntoIterator<Item = (&'static str, i64)>>(
        self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Fn() -> I + Send + Sync + 'static,
    ) -> Result<()> {
        let gauges = IntGaugeVec::new(self.options(name, help), &[label])?;
        self.read(gauges, move |gauges| {
            for (label, value) in values() {
                gauges.with_label_values(&[label]).set(value);
            }
        })
    }

    /// Metrics that are brought up to date together whenever they are read, so that they tell of one moment. `make` creates
    /// them and returns what brings them up to date; nothing else may change them. A tier has one such set, and their names
    /// must not be those of others.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn read_together<F: Fn() + Send + Sync + 'static>(
        self,
        make: impl FnOnce(Factory<'_>) -> Result<F>,
    ) -> Result<()> {
        let metrics = Registry::new();
        let update = Mutex::new(make(Factory { registry: &metrics, tier: self.tier })?);
        self.registry.register(Box::new(ReadTogether { metrics, update }))
    }

    /// A moment; `_timestamp_seconds` is added to its name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn timestamp(self, name: &str, help: &str) -> Result<Timestamp> {
        let options = self.options(&format!("{name}_timestamp_seconds"), help);
        Ok(Timestamp::new(self.registered(Gauge::with_opts(options)?)?))
    }

    /// Moments distinguished by a label; `_timestamp_seconds` is added to their name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn timestamps(self, name: &str, help: &str, label: &str) -> Result<Timestamps> {
        let options = self.options(&format!("{name}_timestamp_seconds"), help);
        Ok(Timestamps::new(self.registered(GaugeVec::new(options, &[label])?)?))
    }

    /// How long ago something was; `_age_seconds` is added to its name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn age(self, name: &str, help: &str) -> Result<Age> {
        let gauge = Gauge::with_opts(self.options(&format!("{name}_age_seconds"), help))?;
        let age = Age::default();
        let read = age.clone();
        self.read(gauge, move |gauge| gauge.set(read.seconds()))?;
        Ok(age)
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

    /// Histograms of durations in seconds, distinguished by a label; `_seconds` is added to their name.
    ///
    /// # Errors
    /// See [`Factory`].
    pub fn seconds_of(
        self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let name = format!("millrace_{}_{name}_seconds", self.tier);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(HistogramVec::new(options, &[label])?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::{Duration, Instant};

    use prometheus::TextEncoder;

    use super::*;

    fn scrape(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn metrics_are_named_by_tier_and_registered_once() {
        let registry = Registry::new();
        let factory = Factory::new(&registry, "collector");
        factory.counter("received_messages", "help").unwrap().inc();
        factory.counters("dead_letters", "help", "reason", ["empty"]).unwrap();
        factory.gauge("pending_entries", "help").unwrap();
        factory.gauges("lag_records", "help", "partition", ["0"]).unwrap();
        factory.seconds("log_sync", "help", &[0.1]).unwrap();
        factory.timestamp("last_received", "help").unwrap();
        factory.age("snapshot", "help").unwrap();
        assert!(factory.gauge("pending_entries", "help").is_err());
        let names: Vec<_> =
            registry.gather().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "millrace_collector_dead_letters_total",
                "millrace_collector_lag_records",
                "millrace_collector_last_received_timestamp_seconds",
                "millrace_collector_log_sync_seconds",
                "millrace_collector_pending_entries",
                "millrace_collector_received_messages_total",
                "millrace_collector_snapshot_age_seconds",
            ]
        );
    }

    #[test]
    fn the_series_of_a_closed_set_exist_at_0_before_anything_is_counted() {
        let registry = Registry::new();
        let make = Factory::new(&registry, "collector");
        make.counters("dead_letters", "help", "reason", ["empty", "not_json"]).unwrap();
        let text = scrape(&registry);
        for reason in ["empty", "not_json"] {
            let line = format!("millrace_collector_dead_letters_total{{reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&line), "{line} is missing in: {text}");
        }
    }

    #[test]
    fn what_is_asked_for_when_it_is_read_is_never_old() {
        let registry = Registry::new();
        let make = Factory::new(&registry, "collector");
        let free = Arc::new(AtomicI64::new(7));
        let asked = Arc::clone(&free);
        make.read_gauge("log_free_bytes", "help", move || asked.load(Ordering::Relaxed)).unwrap();
        assert!(scrape(&registry).contains("millrace_collector_log_free_bytes 7\n"));
        free.store(6, Ordering::Relaxed);
        assert!(scrape(&registry).contains("millrace_collector_log_free_bytes 6\n"));
    }

    #[test]
    fn an_age_grows_by_itself_and_is_0_while_there_is_nothing_that_ages() {
        let registry = Registry::new();
        let age = Factory::new(&registry, "analyzer").age("snapshot", "help").unwrap();
        let seconds = || {
            let text = scrape(&registry);
            let line = text.lines().last().unwrap().rsplit_once(' ').unwrap();
            assert_eq!(line.0, "millrace_analyzer_snapshot_age_seconds");
            line.1.parse::<f64>().unwrap()
        };
        assert!(seconds().abs() < f64::EPSILON);
        age.count_from(Instant::now().checked_sub(Duration::from_secs(90)));
        assert!((90.0..150.0).contains(&seconds()), "{}", seconds());
        age.count_from(None);
        assert!(seconds().abs() < f64::EPSILON);
    }

    #[test]
    fn a_timestamp_is_in_seconds_since_1970() {
        let registry = Registry::new();
        let time = Factory::new(&registry, "collector").timestamp("last_received", "help").unwrap();
        time.set_ms(1_425_790_000_250);
        let line = "millrace_collector_last_received_timestamp_seconds 1425790000.25\n";
        assert!(scrape(&registry).contains(line), "{}", scrape(&registry));
    }
}
