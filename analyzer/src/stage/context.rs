//! What both stages are given.

use std::sync::Arc;

use common::trace::Tracer;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::plan::Plan;
use crate::metrics::Metrics;

/// What both stages are given.
#[derive(Clone)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// The queries.
    pub plan: Arc<Plan>,
    /// How many partitions the topics have.
    pub partitions: Partitions,
    /// Where they count what they do.
    pub metrics: Metrics,
    /// Cancelled when they are to stop.
    pub stop: CancellationToken,
    /// Takes their spans.
    pub tracer: Tracer,
}

/// Numbers of partitions at the start of the process.
#[derive(Debug, Clone, Copy)]
pub struct Partitions {
    /// Of the partials topic; where a query's partials go depends on it.
    pub partials: i32,
    /// Of the state topic.
    pub state: i32,
}
