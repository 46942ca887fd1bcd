//! The analyzer as one process: topics, then the two stages, until one of them ends.

use std::sync::Arc;

use common::kafka::Topic;
use common::tier::Host;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::plan::Plan;
use crate::error::Error;
use crate::group;
use crate::metrics::Metrics;
use crate::stage::{Running, merge, tally};

/// What both stages are given.
#[derive(Clone)]
pub struct Setting {
    /// The configuration.
    pub config: Arc<Config>,
    /// The queries.
    pub plan: Arc<Plan>,
    /// How many partitions the topics have.
    pub width: Width,
    /// Where they count what they do.
    pub metrics: Metrics,
    /// Cancelled when they are to stop.
    pub stop: CancellationToken,
}

/// Numbers of partitions at the start of the process.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// Of the partials topic; a query's place depends on it.
    pub partials: i32,
    /// Of the state topic.
    pub state: i32,
}

/// Runs both stages until `host` is shut down.
///
/// # Errors
/// When a stage fails or panics; the other one is stopped first. Whoever started the process is to
/// start it again: it goes on from what stands in Kafka.
pub async fn run(config: Config, host: Host) -> Result<(), Error> {
    let metrics = Metrics::new(&host.registry)?;
    let topics = host.readiness.condition("topics");
    let tallies = host.readiness.condition("tally group");
    let merges = host.readiness.condition("merge group");
    let plan = Arc::new(config.plan()?);
    let config = Arc::new(config);
    let stop = host.shutdown.child_token();

    let prepared = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        width = prepare(Arc::clone(&config)) => width?,
    };
    topics.set();
    let setting = Setting { config, plan, width: prepared, metrics, stop: stop.clone() };
    let tally = Running::start("tally", stop.clone(), {
        let setting = setting.clone();
        move || tally::run(&setting, &tallies)
    })?;
    let merge = Running::start("merge", stop.clone(), move || merge::run(&setting, &merges))?;

    let (first, second) = {
        let (tally, merge) = (tally.outcome(), merge.outcome());
        tokio::pin!(tally, merge);
        let first = tokio::select! {
            outcome = &mut tally => (outcome, true),
            outcome = &mut merge => (outcome, false),
        };
        stop.cancel();
        let second = if first.1 { merge.await } else { tally.await };
        (first.0, second)
    };
    first.and(second)
}

/// Sees to it that the topics are there, and asks how wide they are.
async fn prepare(config: Arc<Config>) -> Result<Width, Error> {
    config
        .kafka
        .ensure_topics(&[Topic::Raw, Topic::Partials, Topic::State, Topic::Results])
        .await?;
    let asked = tokio::task::spawn_blocking(move || {
        let kafka = &config.kafka;
        let consumer: BaseConsumer = kafka
            .consumer(None, None)
            .create()
            .map_err(|source| group::Error::Create { group: "metadata".to_owned(), source })?;
        Ok(Width {
            partials: width(&consumer, &kafka.topics.partials)?,
            state: width(&consumer, &kafka.topics.state)?,
        })
    });
    asked
        .await
        .unwrap_or_else(|error| Err(Error::Panicked { stage: "start", message: error.to_string() }))
}

fn width(consumer: &BaseConsumer, topic: &str) -> Result<i32, Error> {
    let failed =
        |source| group::Error::Watermarks { topic: topic.to_owned(), partition: 0, source };
    let metadata = consumer.fetch_metadata(Some(topic), group::ANSWER_PATIENCE).map_err(failed)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    Ok(i32::try_from(partitions).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
