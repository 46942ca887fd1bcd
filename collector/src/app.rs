//! Builds a collector from its configuration, runs it, and drains it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::admin::Condition;
use common::clock::Clock;
use common::message_log::{self, Appender, MessageLog, Recovered};
use common::tier::{Host, Tier};
use tokio::task::{Id, JoinSet};
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
        metrics.log_repaired.set(found.is_repaired.into());
        tracing::info!(
            path = %config.log.path.display(), instance = log.instance(), pending = found.pending(),
            failed = found.failed.len(), damaged = found.damaged, "message log open"
        );

        let mut queues = Queues::default();
        let (mut sources, source_stop) = (Running::default(), host.shutdown.child_token());
        for (name, section) in config.source.iter() {
            let source_metrics = metrics.of_source(name);
            let resume = log.begin_source(name, &section.cursor_of())?.map(Cursor);
            let clock = Clock::new(&config.service);
            let intake =
                queues.add(name, &config.event, section.common(), clock, source_metrics.clone());
            if let Some(caveat) = section.caveat(&config.event) {
                tracing::warn!(source = name, "{caveat}");
            }
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
                    let (own, connection) =
                        (metrics.of_file(&start.name), start.connection.clone());
                    let file = File::new(&start.name, section, source_metrics, own, connection)?;
                    start.run(file, &mut sources);
                }
                Section::Kafka(section) => {
                    let (own, connection) =
                        (metrics.of_kafka(&start.name), start.connection.clone());
                    let (name, published) = (&start.name, &config.kafka);
                    let kafka =
                        Kafka::new(name, section, published, source_metrics, own, connection);
                    start.run(kafka, &mut sources);
                }
                Section::HttpPush(section) => {
                    let (own, connection) =
                        (metrics.of_push(&start.name), start.connection.clone());
                    let push = HttpPush::new(&start.name, section, own, connection, &start.stop)?;
                    queues.acks().follow(&start.name);
                    start.run(push, &mut sources);
                }
                Section::Udp(section) => {
                    let (own, connection) = (metrics.of_udp(&start.name), start.connection.clone());
                    let udp = Udp::new(&start.name, section, own, connection)?;
                    start.run(udp, &mut sources);
                }
            }
        }

        // This leaves some time to close the log after the producer was given up.
        let drain = Duration::from_millis(config.service.drain_deadline_ms).mul_f64(0.8);
        let stop = CancellationToken::new();
        let opened = (log, appender, found);
        // One that fails cancels its own: the sources still have their time to end.
        let own = stop.child_token();
        let pipeline =
            Pipeline::new(&config, opened, queues, metrics, conditions, own, host.tracer)?;
        let pipeline = async {
            let outcome = pipeline.run().await;
            source_stop.cancel();
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
    fn follow(self, protocol: impl Protocol, metrics: SourceMetrics, sources: &mut Running) {
        let feed = Feed::new(&self.name, protocol, metrics, self.connection.clone());
        self.run(feed, sources);
    }

    fn run(self, source: impl Source, sources: &mut Running) {
        let Self { name, intake, resume, stop, .. } = self;
        sources.spawn(&name, source.run(intake, resume, stop));
    }
}

/// The sources that run.
#[derive(Default)]
struct Running {
    tasks: JoinSet<End>,
    /// The names of those that have not ended, by their tasks.
    names: BTreeMap<Id, Arc<str>>,
}

impl Running {
    fn spawn(&mut self, name: &Arc<str>, source: impl Future<Output = End> + Send + 'static) {
        let name = Arc::clone(name);
        let task = self.tasks.spawn(source);
        self.names.insert(task.id(), name);
    }

    /// Waits until all sources have ended, and gives up those that have not when `deadline` is cancelled. If one panics, the
    /// others are told to end, because a collector that goes on without one of its sources looks healthy and is not.
    async fn ended(
        &mut self,
        stop: &CancellationToken,
        deadline: &CancellationToken,
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.tasks.join_next_with_id() => ended,
                () = deadline.cancelled() => {
                    let sources: Vec<_> = self.names.values().collect();
                    tracing::warn!(
                        ?sources,
                        "given up, because they did not end in time; what they hold is not acknowledged, and comes again where the source can"
                    );
                    self.tasks.abort_all();
                    return outcome;
                }
            };
            let (task, ended) = match ended {
                None => return outcome,
                Some(Ok((task, ended))) => (task, Ok(ended)),
                Some(Err(error)) => (error.id(), Err(error)),
            };
            let source = self.names.remove(&task);
            tracing::debug!(?source, ?ended, "a source has ended");
            if ended.is_err() {
                stop.cancel();
                outcome = Err(Error::Panicked);
            }
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
