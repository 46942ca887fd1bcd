//! The analyzer's process: it prepares the topics, then runs the two stages until one of them ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::kafka::reader::Reader;
use common::kafka::{Kafka, Topic};
use common::tier::Host;
use tokio::time::sleep;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::stage::context::{Context, Partitions};
use crate::stage::{Running, merge, tally};

/// A member that is fenced again within this time shares its `instance_id` with another process. Once may be Kafka's
/// doing: a broker that is killed while a member joins knows only the member before it.
const FENCED_AGAIN: Duration = Duration::from_secs(60);

/// How long to wait while a certificate was replaced and its key not yet.
const CREDENTIALS_PAUSE: Duration = Duration::from_secs(1);

/// Runs both stages until `host` is shut down. When the credentials for Kafka change, or Kafka fences a member, they stop
/// and start again with new clients, from the state in Kafka, as after a restart of the process.
///
/// # Errors
/// When a stage fails or panics, or is fenced twice within [`FENCED_AGAIN`]; the other one is stopped first. The process
/// should then be started again: it continues from the state in Kafka.
pub async fn run(config: Config, host: Host) -> Result<(), Error> {
    let plan = Arc::new(config.plan()?);
    let metrics = Metrics::new(&host.registry, &plan, &config.kafka.topics)?;
    let conditions = Conditions {
        topics: host.readiness.condition("topics"),
        tallies: host.readiness.condition("tally group"),
        merges: host.readiness.condition("merge group"),
    };
    let config = Arc::new(config);
    let mut rotation = config.kafka.watch_credentials(host.shutdown.clone());

    let partitions = tokio::select! {
        () = host.shutdown.cancelled() => return Ok(()),
        partitions = prepare(Arc::clone(&config), &conditions.topics) => partitions?,
    };
    conditions.topics.set();
    let mut fenced: Option<Instant> = None;
    loop {
        let stop = host.shutdown.child_token();
        let context = Context {
            config: Arc::clone(&config),
            plan: Arc::clone(&plan),
            partitions,
            metrics: metrics.clone(),
            stop: stop.clone(),
            tracer: host.tracer.clone(),
        };
        // What changed before is known to the clients that are made now.
        rotation.acknowledge();
        let stages = stages(context, &conditions);
        tokio::pin!(stages);
        let (why, pause) = tokio::select! {
            outcome = &mut stages => match outcome {
                Err(error) if error.is_fenced() && fenced.is_none_or(|at| at.elapsed() > FENCED_AGAIN) => {
                    tracing::warn!(%error, "joining again");
                    fenced = Some(Instant::now());
                    ("joining the group again", Duration::ZERO)
                }
                // The topics were made ready by such clients, so the configuration can be used.
                Err(error) if error.is_of_client() => {
                    tracing::warn!(%error, "trying again");
                    ("the credentials for kafka cannot be used now", CREDENTIALS_PAUSE)
                }
                outcome => return outcome,
            },
            () = rotation.due() => {
                stop.cancel();
                stages.await?;
                ("starting again with changed credentials for kafka", Duration::ZERO)
            }
        };
        for condition in [&conditions.tallies, &conditions.merges] {
            condition.unset(why);
        }
        if host.shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
            return Ok(());
        }
    }
}

/// The conditions under which the analyzer can do its work.
struct Conditions {
    topics: Condition,
    tallies: Condition,
    merges: Condition,
}

/// Runs both stages until one of them ends, and then stops the other one.
async fn stages(context: Context, conditions: &Conditions) -> Result<(), Error> {
    let stop = context.stop.clone();
    let (tallies, merges) = (conditions.tallies.clone(), conditions.merges.clone());
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
async fn prepare(config: Arc<Config>, condition: &Condition) -> Result<Partitions, Error> {
    let (kafka, topics) = (&config.kafka, &config.kafka.topics);
    kafka.ensure_topics(&[Topic::Raw, Topic::Partials, Topic::Results], Some(condition)).await?;
    let raw = partitions_of(&config, &topics.raw).await?;
    let as_raw = Kafka { partitions: raw, ..kafka.clone() };
    as_raw.ensure_topics(&[Topic::State], Some(condition)).await?;
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
