//! The analyzer's process: it prepares the topics, then runs the two stages until one of them ends.

use std::sync::Arc;

use common::kafka::reader::Reader;
use common::kafka::{Kafka, Topic};
use common::tier::Host;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::stage::context::{Context, Partitions};
use crate::stage::{Running, merge, tally};

/// Runs both stages until `host` is shut down.
///
/// # Errors
/// When a stage fails or panics; the other one is stopped first. The process should then be started again: it
/// continues from the state in Kafka.
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
        partitions = prepare(Arc::clone(&config)) => partitions?,
    };
    topics.set();
    let context = Context {
        config,
        plan,
        partitions: prepared,
        metrics,
        stop: stop.clone(),
        tracer: host.tracer,
    };
    let tally = Running::start("tally", stop.clone(), {
        let context = context.clone();
        move || tally::run(&context, &tallies)
    })?;
    let merge = Running::start("merge", stop.clone(), move || merge::run(&context, &merges))?;

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

/// Creates missing topics, and asks how many partitions they have. The state topic gets at least as many as the
/// raw topic, even if somebody else created that one, because partition p of the state topic holds the state
/// of partition p.
async fn prepare(config: Arc<Config>) -> Result<Partitions, Error> {
    let (kafka, topics) = (&config.kafka, &config.kafka.topics);
    kafka.ensure_topics(&[Topic::Raw, Topic::Partials, Topic::Results]).await?;
    let raw = partitions_of(&config, &topics.raw).await?;
    let as_raw = Kafka { partitions: raw, ..kafka.clone() };
    as_raw.ensure_topics(&[Topic::State]).await?;
    let mut state = partitions_of(&config, &topics.state).await?;
    if state < raw {
        tracing::info!(
            topic = topics.state,
            from = state,
            to = raw,
            "adding partitions, because the raw topic has more"
        );
        kafka.add_partitions(Topic::State, raw).await?;
        state = raw;
    }
    Ok(Partitions { partials: partitions_of(&config, &topics.partials).await?, state })
}

async fn partitions_of(config: &Arc<Config>, topic: &str) -> Result<i32, Error> {
    let (config, topic) = (Arc::clone(config), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let partitions = Reader::new(&config.kafka)?.partitions(&topic)?;
        Ok(i32::try_from(partitions.len()).unwrap_or(i32::MAX))
    });
    asked
        .await
        .unwrap_or_else(|error| Err(Error::Panicked { stage: "start", message: error.to_string() }))
}

#[cfg(test)]
mod tests;
