//! What the collector counts.
//!
//! For each source, and at every scrape,
//!
//! ```text
//! received + recovered = published + dead letters + pending + failed + evicted + damaged + dropped
//! ```
//!
//! | term | metric, of `millrace_collector_` | what is in it |
//! |---|---|---|
//! | received | `received_messages_total` | what was taken from the source: it is in the log, or it was dropped |
//! | recovered | `recovered_entries_total` | what the log held at the start |
//! | published | `published_events_total` | events that Kafka has |
//! | dead letters | `dead_letters_total` | what is no event (too large, not UTF-8, …) or was refused by Kafka, once Kafka has it as a dead letter |
//! | pending | `pending_entries` | what waits for Kafka |
//! | failed | `failed_entries` | refused by Kafka, and kept until its dead letter is acknowledged |
//! | evicted | `evicted_entries_total` | refused by Kafka, and removed because more than `log.max_failed` were kept |
//! | damaged | `damaged_entries_total` | what a damaged disk has lost of the log |
//! | dropped | `dropped_messages_total` | what a source of kind `udp` has read when its queue was full; what may be in Kafka, and is not to be there twice |
//!
//! A term that is not there is 0. What the log held at the start is one account, `source="(recovered)"`, to its end: of whom
//! each entry was is only known when it is read. What a peer still has because it was told so is not received: requests that
//! were answered 429 (`rate_limit`), 503 or with another error.
//!
//! This holds by how the [ledger](crate::ledger) is kept, and would hide a message that was entered twice or not at all. That
//! shows because the log is counted a second time, by sequences and without sources: the sum of `pending_entries` and
//! `failed_entries` over all sources is `log_entries`, also at every scrape, and neither is ever negative.

use std::path::Path;

use common::disk;
use common::metrics::{Age, Factory, Timestamp, Timestamps};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use crate::ledger::{Account, Ledger, LeftOut};

mod books;
mod file;
mod kafka;
mod push;
mod udp;

pub use file::FileMetrics;
pub use kafka::KafkaMetrics;
pub use push::PushMetrics;
pub use udp::UdpMetrics;

/// In seconds, from what a Kafka nearby takes to an outage of hours.
const RECEIPT_TO_KAFKA: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3_600.0, 21_600.0,
];

/// The collector's metrics; all start at 0 with the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What became of every message.
    pub ledger: Ledger,
    /// Entries that were found in Kafka and not sent again.
    pub read_back: IntCounter,
    /// How long ago the oldest entry was received that Kafka has not acknowledged.
    pub oldest_pending: Age,
    /// Durations of the log's fsyncs.
    pub log_sync: Histogram,
    /// Bytes of the groups in the log that are not settled.
    pub log_held: IntGauge,
    /// How many of them there may be.
    pub log_limit: IntGauge,
    /// Errors of the log, each failed attempt to reopen it included.
    pub log_errors: IntCounter,
    /// 1 if the log's files were repaired at the start.
    pub log_repaired: IntGauge,
    /// Producers that were given up for a new one.
    pub producer_rebuilds: IntCounter,
    /// Times that librdkafka's queue was full.
    pub queue_full: IntCounter,
    /// How far records are dated back because Kafka's clock is behind, in milliseconds.
    pub dated_back: IntGauge,
    /// What is counted for each source.
    sources: Sources,
}

/// The metrics with a label `source`.
#[derive(Debug, Clone)]
struct Sources {
    received_bytes: IntCounterVec,
    last_received: Timestamps,
    connected: IntGaugeVec,
    connects: IntCounterVec,
    disconnects: IntCounterVec,
    gaps: IntCounterVec,
    gap_ms: IntCounterVec,
    cursor: IntGaugeVec,
    lease: IntGaugeVec,
    takeovers: IntCounterVec,
    receipt_to_kafka: HistogramVec,
    file: file::File,
    kafka: kafka::Kafka,
    push: push::Push,
    udp: udp::Udp,
}

/// The metrics of the lease of one source.
#[derive(Debug, Clone)]
pub struct LeaseMetrics {
    /// 1 while the source is followed here.
    pub held: IntGauge,
    /// How often it was taken over.
    pub takeovers: IntCounter,
}

/// The metrics of one source.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    ledger: Ledger,
    /// Its account in the ledger.
    pub account: Account,
    /// Bytes of its messages that are in the log.
    pub received_bytes: IntCounter,
    /// When the last of them was received.
    pub last_received: Timestamp,
    /// 1 while a connection stands.
    pub connected: IntGauge,
    /// Established connections.
    pub connects: IntCounter,
    /// Connections that ended, and attempts that failed.
    pub disconnects: IntCounter,
    /// Interruptions whose messages are missing.
    pub gaps: IntCounter,
    /// How long those interruptions were, from the last message before to the first one after, in milliseconds.
    pub gap_ms: IntCounter,
    /// Where the source would resume, see [`ResumePoint`](crate::source::resume_point::ResumePoint); in milliseconds
    /// since 1970.
    pub cursor: IntGauge,
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let make = Factory::new(registry, "collector");
        let ledger = Ledger::default();
        books::register(make, ledger.clone())?;
        Ok(Self {
            ledger,
            read_back: make.counter(
                "read_back_entries",
                "Recovered entries that were found in Kafka and not sent again",
            )?,
            oldest_pending: make.age(
                "oldest_pending",
                "How long ago the oldest pending entry was received; 0 while there is none",
            )?,
            log_sync: make.seconds(
                "log_sync",
                "Duration of an fsync of the message log",
                &[
                    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                    0.5, 1.0, 2.5,
                ],
            )?,
            log_held: make.gauge(
                "log_held_bytes",
                "Bytes in the message log that Kafka has not acknowledged",
            )?,
            log_limit: make.gauge("log_limit_bytes", "How many of them there may be: log.max_bytes")?,
            log_errors: make.counter(
                "log_errors",
                "Errors of the message log, each failed attempt to reopen it included",
            )?,
            log_repaired: make.gauge(
                "log_repaired",
                "1 if files of the message log were too damaged to be opened at the start, and were repaired",
            )?,
            producer_rebuilds: make
                .counter("producer_rebuilds", "Kafka producers that were given up for a new one")?,
            queue_full: make.counter(
                "queue_full_waits",
                "Times the producer's queue was full",
            )?,
            dated_back: make.gauge(
                "records_dated_back_milliseconds",
                "How far records are dated back because this clock is ahead of Kafka's",
            )?,
            sources: Sources {
                received_bytes: make.counters(
                    "received_bytes",
                    "Bytes of the messages taken from the source",
                    "source",
                    [],
                )?,
                last_received: make.timestamps(
                    "last_received",
                    "When the last message was taken from the source",
                    "source",
                )?,
                connected: make.gauges(
                    "source_connected",
                    "1 while a connection to this source stands, else 0",
                    "source",
                    [],
                )?,
                connects: make.counters(
                    "source_connects",
                    "Established connections to the source",
                    "source",
                    [],
                )?,
                disconnects: make.counters(
                    "source_disconnects",
                    "Connections to the source that ended, and attempts that failed",
                    "source",
                    [],
                )?,
                gaps: make.counters(
                    "source_gaps",
                    "Interruptions of the source whose messages are missing",
                    "source",
                    [],
                )?,
                gap_ms: make.counters(
                    "source_gap_milliseconds",
                    "Length of those interruptions, from the last message before to the first one after",
                    "source",
                    [],
                )?,
                cursor: make.gauges(
                    "source_cursor_milliseconds",
                    "Where the source would resume: an event time, or when its last message came; since 1970",
                    "source",
                    [],
                )?,
                lease: make.gauges(
                    "lease_held",
                    "1 while this collector follows the source, 0 while another one may",
                    "source",
                    [],
                )?,
                takeovers: make.counters(
                    "lease_takeovers",
                    "Times that this collector has taken the source over from another one, or from its former self",
                    "source",
                    [],
                )?,
                receipt_to_kafka: make.seconds_of(
                    "receipt_to_kafka",
                    "From a message's receipt to Kafka's acknowledgement; of what was received since the start",
                    "source",
                    &RECEIPT_TO_KAFKA,
                )?,
                file: file::File::new(make)?,
                kafka: kafka::Kafka::new(make)?,
                push: push::Push::new(make)?,
                udp: udp::Udp::new(make)?,
            },
        })
    }

    /// The metrics of the source of this name, which are there from then on.
    pub fn of_source(&self, name: &str) -> SourceMetrics {
        let of = &self.sources;
        let (counter, gauge) = (
            |counters: &IntCounterVec| counters.with_label_values(&[name]),
            |gauges: &IntGaugeVec| gauges.with_label_values(&[name]),
        );
        of.receipt_to_kafka.with_label_values(&[name]);
        SourceMetrics {
            ledger: self.ledger.clone(),
            account: self.ledger.open(name),
            received_bytes: counter(&of.received_bytes),
            last_received: of.last_received.with_label_value(name),
            connected: gauge(&of.connected),
            connects: counter(&of.connects),
            disconnects: counter(&of.disconnects),
            gaps: counter(&of.gaps),
            gap_ms: counter(&of.gap_ms),
            cursor: gauge(&of.cursor),
        }
    }

    /// The metrics of the lease of the source of this name.
    pub fn of_lease(&self, name: &str) -> LeaseMetrics {
        LeaseMetrics {
            held: self.sources.lease.with_label_values(&[name]),
            takeovers: self.sources.takeovers.with_label_values(&[name]),
        }
    }

    /// How long messages take from their receipt to Kafka's acknowledgement, for each account of the ledger but the first.
    /// What the log held at the start is left out, because it would show how long the collector was away.
    pub fn receipt_to_kafka(&self) -> Vec<Histogram> {
        let of = &self.sources.receipt_to_kafka;
        let sources = self.ledger.sources();
        sources.iter().map(|(name, _)| of.with_label_values(&[&**name])).collect()
    }

    /// All accounts together.
    #[cfg(test)]
    pub(crate) fn total(&self) -> crate::ledger::Counts {
        self.ledger.statement().total()
    }

    /// The further metrics of the source of this name, which is of kind `file`.
    pub fn of_file(&self, name: &str) -> FileMetrics {
        self.sources.file.of_source(name)
    }

    /// The further metrics of the source of this name, which is of kind `kafka`.
    pub fn of_kafka(&self, name: &str) -> KafkaMetrics {
        self.sources.kafka.of_source(name)
    }

    /// The further metrics of the source of this name, which is of kind `http_push`.
    pub fn of_push(&self, name: &str) -> PushMetrics {
        self.sources.push.of_source(name)
    }

    /// The further metrics of the source of this name, which is of kind `udp`.
    pub fn of_udp(&self, name: &str) -> UdpMetrics {
        self.sources.udp.of_source(name)
    }
}

impl SourceMetrics {
    /// So many messages were received and do not come into the log.
    pub fn leave_out(&self, why: LeftOut, messages: u64) {
        self.ledger.leave_out(self.account, why, messages);
    }

    /// How many messages had no room.
    #[cfg(test)]
    pub fn no_room(&self) -> u64 {
        self.ledger.statement().accounts[self.account.index()].1.dropped
    }
}

/// Adds the size of the message log at `path` on its disk, and the space that is left there, both read from the
/// disk at a scrape. `-1` while the file system does not say how much is free.
///
/// # Errors
/// When they are registered already.
pub fn watch_log(registry: &Registry, path: &Path) -> Result<(), prometheus::Error> {
    let make = Factory::new(registry, "collector");
    let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let log = path.to_owned();
    make.read_gauge("log_bytes", "Size of the files of the message log", move || {
        gauge(disk::size(&log))
    })?;
    let log = path.to_owned();
    make.read_gauge(
        "log_free_bytes",
        "What may still be written on the disk of the log",
        move || disk::free(&log).map_or(-1, gauge),
    )
}

#[cfg(test)]
mod tests {
    use common::event::Reason;
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn the_size_of_the_log_is_that_of_its_files_at_the_moment_of_the_scrape() {
        let log = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        watch_log(&registry, log.path()).unwrap();
        let value = |name: &str| {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse::<i64>().unwrap()
        };
        assert_eq!(value("millrace_collector_log_bytes"), 0);
        assert!(value("millrace_collector_log_free_bytes") > 0);
        std::fs::write(log.path().join("000001.log"), [0; 4_096]).unwrap();
        assert_eq!(value("millrace_collector_log_bytes"), 4_096);
    }

    #[test]
    fn a_dead_letter_of_each_reason_is_counted_from_0() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        metrics.of_source("feed");
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "millrace_collector_dead_letters_total")
            .unwrap();
        let accounts = 3;
        assert_eq!(family.get_metric().len(), accounts * Reason::ALL.len());
    }
}
