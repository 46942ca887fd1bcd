//! Builds a collector from its configuration, runs it, and drains it.

use std::time::Duration;

use common::admin::Condition;
use common::message_log::{self, Appender, MessageLog, Recovered};
use common::tier::{Host, Tier};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Log};
use crate::error::Error;
use crate::intake::Queues;
use crate::metrics::{self, Metrics};
use crate::pipeline::{Conditions, Pipeline};
use crate::source::connection::Connections;
use running::Running;
use starting::Starting;

mod running;
mod starting;
#[cfg(test)]
mod tests;

/// How often a log that another process has is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(500);

/// The tier.
#[derive(Debug)]
pub struct Collector;

impl Tier for Collector {
    const NAME: &'static str = "collector";
    const ABOUT: &'static str = "Takes events in, logs them, publishes them to Kafka";
    type Config = Config;
    type Error = Error;

    async fn run(config: Config, host: Host) -> Result<(), Error> {
        let conditions = Conditions {
            log: host.readiness.condition("message_log"),
            kafka: host.readiness.condition("kafka"),
        };
        let connections = Connections::new(host.readiness.condition("source"));
        let metrics = Metrics::new(&host.registry)?;
        metrics::watch_log(&host.registry, &config.log.path)?;

        let opened = open(&config.log, &conditions.log, &host.shutdown).await?;
        let Some((log, appender, found)) = opened else { return Ok(()) };
        metrics.log_repaired.set(found.is_repaired.into());
        tracing::info!(
            path = %config.log.path.display(), instance = log.instance(), pending = found.pending(),
            failed = found.failed.len(), damaged = found.damaged, "message log open"
        );

        let source_stop = host.shutdown.child_token();
        let mut starting = Starting {
            config: &config,
            log: &log,
            start: found.end,
            metrics: &metrics,
            connections,
            stop: source_stop.clone(),
            queues: Queues::default(),
            running: Running::default(),
            leased: Vec::new(),
        };
        for (name, section) in config.source.iter() {
            starting.source(name, section)?;
        }
        let (queues, mut sources) = starting.all()?;

        // This leaves some time to close the log after the producer was given up.
        let drain = Duration::from_millis(config.service.drain_deadline_ms).mul_f64(0.8);
        let stop = CancellationToken::new();
        let opened = (log, appender, found);
        // One that fails cancels its own: the sources still have their time to end.
        let own = stop.child_token();
        let acks = queues.acks().clone();
        let pipeline =
            Pipeline::new(&config, opened, queues, metrics, conditions, own, host.tracer)?;
        let sharing = acks.share(&config.kafka)?;
        let pipeline = async {
            let outcome = pipeline.run().await;
            source_stop.cancel();
            if let Some(sharing) = sharing {
                sharing.close().await;
            }
            outcome
        };
        let sources = sources.ended(&source_stop, &stop);
        let deadline = async {
            source_stop.cancelled().await;
            tokio::time::sleep(drain).await;
            stop.cancel();
        };
        // At the deadline the threads are told to end, and their own outcome is still awaited. The sources are given up.
        let work = async {
            let (pipeline, sources) = tokio::join!(pipeline, sources);
            pipeline.and(sources)
        };
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => outcome,
            () = deadline => work.await,
        }
    }
}

/// Opens the log, and waits while another process has it: when Kubernetes replaces a pod by force, the former one may
/// still run for a while. `None` if `stop` is cancelled before that.
async fn open(
    log: &Log,
    condition: &Condition,
    stop: &CancellationToken,
) -> Result<Option<(MessageLog, Appender, Recovered)>, Error> {
    let mut told = false;
    let options = log.options()?;
    loop {
        let (path, options) = (log.path.clone(), options.clone());
        // A recovery may take long, and the admin port is to answer meanwhile.
        let opened = tokio::task::spawn_blocking(move || MessageLog::open(&path, options)).await;
        match opened.map_err(|_| Error::Panicked)? {
            Err(error @ message_log::Error::Locked { .. }) => {
                if !told {
                    tracing::warn!(%error, "waiting until that process ends");
                    condition.unset(error.to_string());
                    told = true;
                }
            }
            outcome => return Ok(Some(outcome?)),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(LOCK_RETRY) => {}
        }
    }
}
