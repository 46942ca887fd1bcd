//! Builds a collector from its configuration, runs it, and drains it.

use std::thread;
use std::time::Duration;

use common::admin::Condition;
use common::clock::Clock;
use common::message_log::{self, MessageLog, Recovered};
use common::tier::{Host, Tier};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Log};
use crate::error::Error;
use crate::metrics::{self, Metrics};
use crate::pipeline::{Conditions, Pipeline};
use crate::source::websocket::Websocket;
use crate::source::{Intake, Logged};

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
        let connected = host.readiness.condition("source");
        let metrics = Metrics::new(&host.registry)?;
        metrics::watch_log(&host.registry, &config.log.path)?;

        let opened = open(&config.log, &conditions.log, &host.shutdown).await?;
        let Some((mut log, recovered)) = opened else { return Ok(()) };
        metrics.recovered.inc_by((recovered.pending + recovered.failed) as u64);
        metrics.damaged.inc_by(recovered.damaged as u64);
        let (name, source) = config.source.only().map_err(Error::Address)?;
        let cursor = log.begin_source(name, &source.cursor_of())?;
        tracing::info!(
            path = %config.log.path.display(), instance = log.instance(), pending = recovered.pending,
            failed = recovered.failed, damaged = recovered.damaged, cursor, "message log open"
        );

        let (logged, whenever_logged) = watch::channel(Logged::default());
        let (intake, messages) = Intake::new(whenever_logged, Clock::new(&config.service));
        let source_stop = host.shutdown.child_token();
        let source =
            Websocket::new(name, source, intake, metrics.clone(), connected, source_stop.clone())?;

        // This leaves some time to close the log after the producer was given up.
        let drain = Duration::from_millis(config.service.drain_deadline_ms).mul_f64(0.8);
        let stop = CancellationToken::new();
        let pipeline =
            Pipeline::new(&config, log, logged, metrics, conditions, stop.clone(), host.tracer)?;
        let (done, finished) = oneshot::channel();
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                // Sending fails only if the process has given up waiting for the writer.
                let _unheard = done.send(pipeline.run(messages));
            })
            .map_err(Error::Thread)?;

        let writer = async {
            let outcome = finished.await;
            source_stop.cancel();
            outcome.unwrap_or(Err(Error::Writer))
        };
        let deadline = async {
            host.shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
            stop.cancel();
        };
        // At the deadline the writer is told to end, and its own outcome is still awaited.
        let work = async { tokio::join!(writer, source.run(cursor)).0 };
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
) -> Result<Option<(MessageLog, Recovered)>, Error> {
    let mut told = false;
    loop {
        let (path, options) = (log.path.clone(), log.options());
        // A recovery may take long, and the admin port is to answer meanwhile.
        let opened = tokio::task::spawn_blocking(move || MessageLog::open(&path, options)).await;
        match opened.map_err(|_| Error::Writer)? {
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
