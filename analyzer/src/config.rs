//! The analyzer's configuration.

use common::config::{Invalid, Service, TierConfig};
use common::event::Schema;
use common::kafka::Kafka;
use common::trace::Trace;
use serde::{Deserialize, Serialize};

use crate::core::plan::{Plan, Settings};
use crate::core::query::Query;

/// The analyzer's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Kafka's `group.instance.id`. A process that restarts with the same one within the session timeout gets
    /// its partitions back at once. Processes that run at the same time need different ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// How many counters are kept for each query, partition and pane, unless the query says otherwise.
    pub capacity: usize,
    /// How often changed results are published, in milliseconds; sooner when the stream is quiet.
    pub emit_interval_ms: u64,
    /// How often a partition's state is stored, in milliseconds; more often at first after the partition was taken over.
    pub snapshot_interval_ms: u64,
    /// After how many records the state is stored at the latest, so that a replay stays short.
    pub snapshot_records: u64,
    /// How many event ids are remembered for each partition.
    pub dedupe_capacity: usize,
    /// How long an event id is remembered, in milliseconds of record time.
    pub dedupe_horizon_ms: u64,
    /// The settings that every tier has.
    pub service: Service,
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// Whether events are traced, and where to.
    pub trace: Trace,
    /// What identifies an event, and when it happened.
    pub event: Schema,
    /// What is counted.
    pub query: Vec<Query>,
}

impl Default for Config {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            instance_id: None,
            capacity: settings.capacity,
            emit_interval_ms: 100,
            snapshot_interval_ms: 5_000,
            snapshot_records: 500_000,
            dedupe_capacity: settings.dedupe_capacity,
            dedupe_horizon_ms: settings.dedupe_horizon_ms,
            service: Service::on_port(9102),
            kafka: Kafka::default(),
            trace: Trace::default(),
            event: settings.schema,
            query: Query::defaults(),
        }
    }
}

impl Config {
    /// The queries and what they share, checked and compiled.
    ///
    /// # Errors
    /// Every problem found.
    pub fn plan(&self) -> Result<Plan, Invalid> {
        let settings = Settings {
            capacity: self.capacity,
            dedupe_capacity: self.dedupe_capacity,
            dedupe_horizon_ms: self.dedupe_horizon_ms,
            schema: self.event.clone(),
        };
        Plan::new(&self.query, settings).map_err(Invalid)
    }
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn trace(&self) -> Option<&Trace> {
        Some(&self.trace)
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = self.kafka.problems();
        problems.extend(self.trace.problems());
        for (key, value, least) in [
            ("emit_interval_ms", self.emit_interval_ms, 1),
            ("snapshot_interval_ms", self.snapshot_interval_ms, 100),
            ("snapshot_records", self.snapshot_records, 1_000),
        ] {
            if value < least {
                problems.push(format!("{key}: is {value}; set it to at least {least}"));
            }
        }
        if self.instance_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            problems.push(
                "instance_id: must not be blank; remove it, or give each process its own name"
                    .to_owned(),
            );
        }
        if let Err(Invalid(more)) = self.plan() {
            problems.extend(more);
        }
        Invalid::when_any(problems)
    }
}

#[cfg(test)]
mod tests;
