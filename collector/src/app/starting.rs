//! How the sources are started, each as its kind needs.

use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::clock::Clock;
use common::message_log::{MessageLog, Sequence};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::config::{Config, Source as Section};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::intake::{Intake, Queues};
use crate::leases::{Follow, Last, Leased, Leases};
use crate::metrics::{Metrics, SourceMetrics};
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

/// How long a feed waits whose settings cannot be used any more, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The sources that were started so far, and what is needed to start more.
pub(super) struct Starting<'c> {
    pub(super) config: &'c Config,
    pub(super) log: &'c MessageLog,
    /// What was in it at the start is before.
    pub(super) start: Sequence,
    pub(super) metrics: &'c Metrics,
    pub(super) connections: Connections,
    pub(super) stop: CancellationToken,
    pub(super) queues: Queues,
    pub(super) running: Running,
    /// Those that are started when this collector has their leases.
    pub(super) leased: Vec<Leased>,
}

/// What a source begins with, whatever its kind is.
#[derive(Clone)]
struct Begin {
    name: Arc<str>,
    connection: Connection,
    intake: Intake,
    metrics: SourceMetrics,
}

impl Starting<'_> {
    /// Starts the source of this name, or prepares its lease.
    ///
    /// # Errors
    /// When its settings cannot be used, or the log cannot be written.
    pub(super) fn source(&mut self, name: &str, section: &Section) -> Result<(), Error> {
        let (config, metrics) = (self.config, self.metrics.of_source(name));
        let name: Arc<str> = name.into();
        let is_leased = config.leases.enabled && section.is_feed();
        if is_leased {
            self.queues.progress().share(&name);
        }
        let (clock, common) = (Clock::new(&config.service), section.common());
        let intake = self.queues.add(&name, &config.event, common, clock, metrics.clone());
        if let Some(caveat) = section.caveat(&config.event) {
            tracing::warn!(source = &*name, "{caveat}");
        }
        let begin = Begin { connection: self.connections.of(&name), name, intake, metrics };
        let (name, feed) = (Arc::clone(&begin.name), section.cursor_of());
        let follow = begin.follow(section)?;
        if is_leased && let Some(follow) = follow {
            let (metrics, Begin { intake, connection, .. }) = (self.metrics.of_lease(&name), begin);
            self.leased.push(Leased { name, feed, intake, connection, metrics, follow });
            return Ok(());
        }
        let resume = self.log.begin_source(&name, &feed)?.map(Cursor);
        if let Some(follow) = follow {
            let following = follow(resume, self.stop.clone());
            self.running.spawn(&name, async move { Ok(following.await) });
            return Ok(());
        }
        let (all, connection) = (self.metrics, begin.connection.clone());
        match section {
            // They are followed, see above.
            Section::Websocket(_)
            | Section::HttpStream(_)
            | Section::Sse(_)
            | Section::LongPoll(_)
            | Section::Mqtt(_) => {}
            Section::File(section) => {
                let (own, metrics) = (all.of_file(&name), begin.metrics.clone());
                let file = File::new(&name, section, metrics, own, connection)?;
                self.run(begin, file, resume);
            }
            Section::Kafka(section) => {
                let (own, metrics) = (all.of_kafka(&name), begin.metrics.clone());
                let kafka = Kafka::new(&name, section, &config.kafka, metrics, own, connection);
                self.run(begin, kafka, resume);
            }
            Section::HttpPush(section) => {
                let own = all.of_push(&name);
                let push = HttpPush::new(&name, section, own, connection, &self.stop)?;
                self.queues.acks().follow(&name);
                self.run(begin, push, resume);
            }
            Section::Udp(section) => {
                let udp = Udp::new(&name, section, all.of_udp(&name), connection)?;
                self.run(begin, udp, resume);
            }
        }
        Ok(())
    }

    fn run(&mut self, begin: Begin, source: impl Source, resume: Option<Cursor>) {
        let Begin { name, intake, .. } = begin;
        let running = source.run(intake, resume, self.stop.clone());
        self.running.spawn(&name, async move { Ok(running.await) });
    }

    /// All of them, with the leases.
    ///
    /// # Errors
    /// When the client for the leases cannot be made.
    pub(super) fn all(self) -> Result<(Queues, Running), Error> {
        let Self { config, log, start, stop, queues, mut running, leased, .. } = self;
        if !leased.is_empty() {
            let last = Last::of(&config.log.path, Clock::new(&config.service));
            let (log, progress) = ((log.clone(), start, last), queues.progress().clone());
            let leases = Leases::new(&config.kafka, &config.leases, log, progress, leased)?;
            running.spawn(&"leases".into(), async move {
                leases.run(stop).await.map(|()| End::Stopped)
            });
        }
        Ok((queues, running))
    }
}

impl Begin {
    /// How the source is followed, if it is a feed.
    fn follow(&self, section: &Section) -> Result<Option<Follow>, Error> {
        let follow = match section.clone() {
            Section::Websocket(section) => self.feed(move || Websocket::new(&section)),
            Section::HttpStream(section) => self.feed(move || HttpStream::new(&section)),
            Section::Sse(section) => self.feed(move || Sse::new(&section)),
            Section::LongPoll(section) => self.feed(move || LongPoll::new(&section)),
            Section::Mqtt(section) => {
                let name = Arc::clone(&self.name);
                self.feed(move || Mqtt::new(&name, &section))
            }
            Section::File(_) | Section::Kafka(_) | Section::HttpPush(_) | Section::Udp(_) => {
                return Ok(None);
            }
        };
        follow.map(Some)
    }

    /// How a feed is followed by this protocol, which is made anew each time.
    fn feed<P: Protocol>(
        &self,
        protocol: impl Fn() -> Result<P, Error> + Send + Sync + 'static,
    ) -> Result<Follow, Error> {
        // What cannot be used ends the start.
        protocol()?;
        let (begin, protocol) = (self.clone(), Arc::new(protocol));
        Ok(Box::new(move |resume, stop| {
            let (begin, protocol) = (begin.clone(), Arc::clone(&protocol));
            Box::pin(async move {
                let Self { name, connection, intake, metrics } = begin;
                let [base, cap] = AGAIN;
                let mut backoff = Backoff::new(base, cap);
                loop {
                    match protocol() {
                        Ok(protocol) => {
                            let feed = Feed::new(&name, protocol, metrics, connection);
                            return feed.run(intake, resume, stop).await;
                        }
                        Err(error) => connection.unset(format!("{name}: {error}")),
                    }
                    let delay = backoff.next_delay(&mut rand::rng());
                    let waiting = sleep(delay);
                    if stop.run_until_cancelled(waiting).await.is_none() {
                        return End::Stopped;
                    }
                }
            })
        }))
    }
}
