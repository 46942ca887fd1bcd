//! What the collector counts.
//!
//! When no message is between the queue and the log, received + recovered = published + dead letters +
//! pending + failed + evicted.

use common::event::Reason;
use common::metrics::Factory;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

/// The collector's metrics; all start at 0 with the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Messages taken from the source.
    pub received: IntCounter,
    /// Bytes of those messages.
    pub received_bytes: IntCounter,
    /// Entries that the log held at the start.
    pub recovered: IntCounter,
    /// Of those, the ones that had reached Kafka.
    pub read_back: IntCounter,
    /// Entries of the log that could not be read at the start.
    pub damaged: IntCounter,
    /// Events that Kafka acknowledged.
    pub published: IntCounter,
    /// Dead letters that Kafka acknowledged, by reason.
    pub dead_letters: IntCounterVec,
    /// Entries in the log that Kafka has not acknowledged.
    pub pending: IntGauge,
    /// Entries that Kafka refused and whose dead letter is not acknowledged.
    pub failed: IntGauge,
    /// Refused entries that were removed because too many were kept.
    pub evicted: IntCounter,
    /// Writes of the log, fsync included.
    pub log_sync: Histogram,
    /// Errors of the log, each failed attempt to reopen it included.
    pub log_errors: IntCounter,
    /// Producers that were given up for a new one.
    pub producer_rebuilds: IntCounter,
    /// Times that the writer waited because librdkafka's queue was full.
    pub queue_full: IntCounter,
    /// How far records are dated back because Kafka's clock is behind, in milliseconds.
    pub dated_back: IntGauge,
    /// Established connections to the source.
    pub connects: IntCounter,
    /// Connections that ended, and attempts that failed.
    pub disconnects: IntCounter,
    /// Interruptions of the source whose messages are missing.
    pub gaps: IntCounter,
    /// How long those interruptions were, from the last message before to the first one after, in milliseconds.
    pub gap_ms: IntCounter,
    /// Where the source would resume, see [`Cursor`](crate::source::cursor::Cursor); in milliseconds since 1970.
    pub cursor: IntGauge,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let make = Factory::new(registry, "collector");
        let dead_letters = make.counters(
            "dead_letters",
            "Dead letters that Kafka acknowledged, by reason",
            "reason",
        )?;
        for reason in Reason::ALL {
            // Creates the series at 0, so that `increase()` sees the first dead letter.
            dead_letters.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            received: make.counter("received_messages", "Messages taken from the source")?,
            received_bytes: make
                .counter("received_bytes", "Bytes of the messages taken from the source")?,
            recovered: make
                .counter("recovered_entries", "Entries that the message log held at the start")?,
            read_back: make.counter(
                "read_back_entries",
                "Recovered entries that were found in Kafka and not sent again",
            )?,
            damaged: make.counter(
                "damaged_entries",
                "Entries of the message log that could not be read at the start",
            )?,
            published: make.counter("published_events", "Events that Kafka acknowledged")?,
            dead_letters,
            pending: make.gauge(
                "pending_entries",
                "Entries in the message log that Kafka has not acknowledged",
            )?,
            failed: make.gauge(
                "failed_entries",
                "Entries that Kafka refused and whose dead letter is not acknowledged",
            )?,
            evicted: make.counter(
                "evicted_entries",
                "Refused entries that were removed because too many were kept",
            )?,
            log_sync: make.seconds(
                "log_sync",
                "Duration of a write of the message log, fsync included",
                &[
                    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                    0.5, 1.0, 2.5,
                ],
            )?,
            log_errors: make.counter(
                "log_errors",
                "Errors of the message log, each failed attempt to reopen it included",
            )?,
            producer_rebuilds: make
                .counter("producer_rebuilds", "Kafka producers that were given up for a new one")?,
            queue_full: make.counter(
                "queue_full_waits",
                "Times the writer waited because the producer's queue was full",
            )?,
            dated_back: make.gauge(
                "records_dated_back_milliseconds",
                "How far records are dated back because this clock is ahead of Kafka's",
            )?,
            connects: make.counter("source_connects", "Established connections to the source")?,
            disconnects: make.counter(
                "source_disconnects",
                "Connections to the source that ended, and attempts that failed",
            )?,
            gaps: make.counter("source_gaps", "Interruptions of the source whose messages are missing")?,
            gap_ms: make.counter(
                "source_gap_milliseconds",
                "Length of those interruptions, from the last message before to the first one after",
            )?,
            cursor: make.gauge(
                "source_cursor_milliseconds",
                "Where the source would resume: an event time, or when its last message came; since 1970",
            )?,
        })
    }
}
