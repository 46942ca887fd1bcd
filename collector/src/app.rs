//! Builds a collector from its configuration, runs it, and drains it.

use std::sync::Arc;
use std::time::Duration;

use common::admin::Condition;
use common::clock::Clock;
use common::message_log::{self, Appender, MessageLog, Recovered};
use common::tier::{Host, Tier};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Log, Source as Section};
use crate::error::Error;
use crate::intake::{Cursor, Intake, Queues};
use crate::metrics::{self, Metrics, SourceMetrics};
use crate::pipeline::{Conditions, Pipeline};
use crate::source::connection::{Connection, Connections};
use crate::source::feed::{Feed, Protocol};
use crate::source::file::File;
use crate::source::http_push::HttpPush;
use crate::source::http_stream::HttpStream;
use crate::source::kafka::Kafka;
use crate::source::long_poll::LongPoll;
use crate::source::mqtt::Mqtt;
use crate::source::sse::Sse;
use crate::source::udp::Udp;
use crate::source::websocket::Websocket;
use crate::source::{End, Source};

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
        metrics.recovered.inc_by(found.pending() + (found.failed.len() + found.damaged) as u64);
        metrics.damaged.inc_by(found.damaged as u64);
        tracing::info!(
            path = %config.log.path.display(), instance = log.instance(), pending = found.pending(),
            failed = found.failed.len(), damaged = found.damaged, "message log open"
        );

        let mut queues = Queues::default();
        let (mut sources, source_stop) = (JoinSet::new(), host.shutdown.child_token());
        for (name, section) in config.source.iter() {
            let source_metrics = metrics.of_source(name);
            let resume = log.begin_source(name, &section.cursor_of())?.map(Cursor);
            let clock = Clock::new(&config.service);
            let limit = section.common().max_event_bytes;
            let intake = queues.add(name, &config.event, limit, clock, source_metrics.clone());
            let (name, stop) = (Arc::from(name), source_stop.clone());
            let connection = connections.of(&name);
            let start = Start { name, connection, intake, resume, stop };
            match section {
                Section::Websocket(section) => {
                    start.follow(Websocket::new(section)?, source_metrics, &mut sources);
                }
                Section::HttpStream(section) => {
                    start.follow(HttpStream::new(section)?, source_metrics, &mut sources);
                }
                Section::Sse(section) => {
                    start.follow(Sse::new(section)?, source_metrics, &mut sources);
                }
                Section::LongPoll(section) => {
                    start.follow(LongPoll::new(section)?, source_metrics, &mut sources);
                }
                Section::Mqtt(section) => {
                    let mqtt = Mqtt::new(&start.name, section)?;
                    start.follow(mqtt, source_metrics, &mut sources);
                }
                Section::File(section) => {
                    let Start { name, connection, intake, resume, stop } = start;
                    let metrics = metrics.of_file(&name);
                    let file = File::new(&name, section, source_metrics, metrics, connection)?;
                    sources.spawn(file.run(intake, resume, stop));
                }
                Section::Kafka(section) => {
                    let Start { name, connection, intake, resume, stop } = start;
                    let (own, metrics) = (&config.kafka, metrics.of_kafka(&name));
                    let kafka =
                        Kafka::new(&name, section, own, source_metrics, metrics, connection);
                    sources.spawn(kafka.run(intake, resume, stop));
                }
                Section::HttpPush(section) => {
                    let Start { name, connection, intake, resume, stop } = start;
                    let metrics = metrics.of_push(&name);
                    let push = HttpPush::new(&name, section, metrics, connection, &stop)?;
                    queues.acks().follow(&name);
                    sources.spawn(push.run(intake, resume, stop));
                }
                Section::Udp(section) => {
                    let Start { name, connection, intake, resume, stop } = start;
                    let metrics = metrics.of_udp(&name);
                    let udp = Udp::new(&name, section, metrics, connection)?;
                    sources.spawn(udp.run(intake, resume, stop));
                }
            }
        }

        // This leaves some time to close the log after the producer was given up.
        let drain = Duration::from_millis(config.service.drain_deadline_ms).mul_f64(0.8);
        let stop = CancellationToken::new();
        let opened = (log, appender, found);
        let pipeline =
            Pipeline::new(&config, opened, queues, metrics, conditions, stop.clone(), host.tracer)?;
        let pipeline = async {
            let outcome = pipeline.run().await;
            source_stop.cancel();
            outcome
        };
        let sources = ended(&mut sources, &source_stop);
        let deadline = async {
            source_stop.cancelled().await;
            tokio::time::sleep(drain).await;
            stop.cancel();
        };
        // At the deadline the threads are told to end, and their own outcome is still awaited.
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

/// What a source begins with, whatever its kind is.
struct Start {
    name: Arc<str>,
    connection: Connection,
    intake: Intake,
    resume: Option<Cursor>,
    stop: CancellationToken,
}

impl Start {
    /// Follows a feed by this protocol.
    fn follow(self, protocol: impl Protocol, metrics: SourceMetrics, sources: &mut JoinSet<End>) {
        let Self { name, connection, intake, resume, stop } = self;
        let feed = Feed::new(&name, protocol, metrics, connection);
        sources.spawn(feed.run(intake, resume, stop));
    }
}

/// Waits until all sources have ended. If one panics, the others are told to end, because a collector that goes on without
/// one of its sources looks healthy and is not.
async fn ended<T: std::fmt::Debug + 'static>(
    sources: &mut JoinSet<T>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    while let Some(ended) = sources.join_next().await {
        tracing::debug!(?ended, "a source has ended");
        if ended.is_err() {
            stop.cancel();
            outcome = Err(Error::Panicked);
        }
    }
    outcome
}

/// Opens the log, and waits while another process has it: when Kubernetes replaces a pod by force, the former one may
/// still run for a while. `None` if `stop` is cancelled before that.
async fn open(
    log: &Log,
    condition: &Condition,
    stop: &CancellationToken,
) -> Result<Option<(MessageLog, Appender, Recovered)>, Error> {
    let mut told = false;
    loop {
        let (path, options) = (log.path.clone(), log.options());
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
