//! The metrics of the [ledger]. All of them are of one moment of each scrape.
//!
//! [ledger]: crate::ledger

use common::event::Reason;
use common::metrics::Factory;
use prometheus::{Error, IntCounterVec, IntGauge, IntGaugeVec};

use crate::ledger::{Account, Counts, Ledger};

/// See the [module](self).
struct Books {
    received: IntCounterVec,
    recovered: IntCounterVec,
    published: IntCounterVec,
    dead_letters: IntCounterVec,
    pending: IntGaugeVec,
    failed: IntGaugeVec,
    evicted: IntCounterVec,
    damaged: IntCounterVec,
    dropped: IntCounterVec,
    shed: IntCounterVec,
    filtered: IntCounterVec,
    log_entries: IntGauge,
}

/// Registers the metrics of this ledger.
///
/// # Errors
/// When one is registered already.
pub(super) fn register(make: Factory<'_>, ledger: Ledger) -> Result<(), Error> {
    make.read_together(|make| {
        let counters = |name: &str, help: &str| make.counters(name, help, "source", []);
        let gauges = |name: &str, help: &str| make.gauges(name, help, "source", []);
        let books = Books {
            received: counters("received_messages", "Messages taken from the source")?,
            recovered: counters(
                "recovered_entries",
                "Entries that the message log held at the start",
            )?,
            published: counters("published_events", "Events that Kafka acknowledged")?,
            dead_letters: make.counters_of(
                "dead_letters",
                "Dead letters that Kafka acknowledged, by reason",
                &["source", "reason"],
            )?,
            pending: gauges(
                "pending_entries",
                "Entries in the message log that Kafka has not acknowledged",
            )?,
            failed: gauges(
                "failed_entries",
                "Entries that Kafka refused and whose dead letter is not acknowledged",
            )?,
            evicted: counters(
                "evicted_entries",
                "Refused entries that were removed because too many were kept",
            )?,
            damaged: counters(
                "damaged_entries",
                "Entries of the message log that could not be read",
            )?,
            dropped: counters(
                "dropped_messages",
                "Messages taken from the source and dropped: there was no room, or they may be in Kafka and are not sent twice",
            )?,
            shed: counters(
                "shed_messages",
                "Messages taken from the source and dropped by load shedding",
            )?,
            filtered: counters(
                "filtered_messages",
                "Messages taken from the source that its key keep leaves out",
            )?,
            log_entries: make.gauge(
                "log_entries",
                "Entries in the message log that are not settled, counted without their sources",
            )?,
        };
        Ok(move || books.show(&ledger))
    })
}

impl Books {
    fn show(&self, ledger: &Ledger) {
        let statement = ledger.statement();
        self.log_entries.set(i64::try_from(statement.log_entries).unwrap_or(i64::MAX));
        for (index, (name, counts)) in statement.accounts.iter().enumerate() {
            let is_recovered = index == Account::RECOVERED.index();
            let counter = |counters: &IntCounterVec, value| {
                let counter = counters.with_label_values(&[&**name]);
                counter.reset();
                counter.inc_by(value);
            };
            let Counts { received, recovered, published, dead_letters, .. } = counts;
            let Counts { failed, evicted, damaged, dropped, shed, filtered, .. } = counts;
            // One of them is 0 by its nature, and is left out.
            if is_recovered {
                counter(&self.recovered, *recovered);
            } else {
                counter(&self.received, *received);
            }
            counter(&self.published, *published);
            for reason in Reason::ALL {
                let counter = self.dead_letters.with_label_values(&[&**name, reason.as_str()]);
                counter.reset();
                counter.inc_by(dead_letters.get(&reason).copied().unwrap_or_default());
            }
            self.pending.with_label_values(&[&**name]).set(counts.pending());
            self.failed.with_label_values(&[&**name]).set(*failed);
            counter(&self.evicted, *evicted);
            counter(&self.damaged, *damaged);
            counter(&self.dropped, *dropped);
            counter(&self.shed, *shed);
            counter(&self.filtered, *filtered);
        }
    }
}
