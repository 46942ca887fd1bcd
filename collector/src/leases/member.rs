//! A member of the collectors' consumer group: a thread that polls, and what librdkafka calls meanwhile.
//!
//! The partitions of the topic of cursors are the leases. None of their records is read here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::kafka::{ClientError, Heard, Kafka, Rotation, STATISTICS, Stranded, Topic};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::Leases as Section;
use crate::error::Error;

/// How often it is looked whether the thread is to end.
const POLL: Duration = Duration::from_millis(200);
/// How long Kafka may take to say how many partitions there are.
const ANSWER: Duration = Duration::from_secs(5);
/// How many events may wait.
const EVENTS: usize = 16;
/// How long a client waits that could not be made.
const AGAIN: Duration = Duration::from_secs(1);

/// What the group decides.
#[derive(Debug)]
pub(super) enum Event {
    /// These partitions are this collector's, perhaps none, beside those that it has.
    Granted {
        partitions: Vec<usize>,
        /// How many there are, if Kafka says so. When that changes the group is asked again.
        of: Option<usize>,
    },
    /// These partitions are to be given up. The others wait until that is told.
    Revoked(Vec<usize>, oneshot::Sender<()>),
    /// Kafka was not heard for too long. Who has which partition will be known with the next [`Event::Granted`], which then
    /// names all that are this collector's.
    Lost,
    /// Why there is no connection.
    Trouble(String),
}

struct Member {
    topic: String,
    events: mpsc::Sender<Event>,
    heard: Heard,
    stranded: Stranded,
    /// Whether another client takes its place.
    is_replaced: AtomicBool,
}

/// The thread, and what it tells.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

// === impl Membership ===

impl Membership {
    /// Joins the group.
    pub(super) fn join(kafka: &Kafka, section: &Section) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(EVENTS);
        let (stop, (done, ended)) = (CancellationToken::new(), oneshot::channel());
        let rotation = kafka.watch_credentials(stop.clone());
        let (kafka, section, token) = (kafka.clone(), section.clone(), stop.clone());
        let work = move || {
            poll(&kafka, &section, rotation, &sender, &token);
            // Sending fails only if nobody waits for the end.
            let _unheard = done.send(());
        };
        thread::Builder::new().name("leases".to_owned()).spawn(work).map_err(Error::Thread)?;
        Ok(Self { events, stop, ended })
    }

    /// Leaves the group, so that others take over at once.
    pub(super) async fn leave(self) {
        let Self { events, stop, ended } = self;
        // Nobody waits for what it still tells.
        drop(events);
        stop.cancel();
        let _gone = ended.await;
    }
}

/// Is a member until `stop`, with a new client whenever one is of no use any more.
fn poll(
    kafka: &Kafka,
    section: &Section,
    mut rotation: Rotation,
    events: &mpsc::Sender<Event>,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        rotation.acknowledge();
        let consumer = match consumer(kafka, section, events) {
            Ok(consumer) => consumer,
            Err(error) => {
                tell(events, Event::Trouble(error.to_string()));
                thread::sleep(AGAIN);
                continue;
            }
        };
        let member = consumer.context();
        let mut told = None;
        while !(stop.is_cancelled()
            || rotation.is_due()
            || member.stranded.is_certain(Instant::now()))
        {
            let Some(Err(error)) = consumer.poll(POLL) else { continue };
            let why = member.heard.explain(&error, kafka);
            if told.as_ref() != Some(&why) {
                tracing::warn!(why, "the group of collectors cannot be reached");
                tell(events, Event::Trouble(why.clone()));
                told = Some(why);
            }
        }
        if !stop.is_cancelled() {
            // The sources are followed on meanwhile.
            member.is_replaced.store(true, Ordering::Relaxed);
            tell(events, Event::Lost);
        }
    }
}

fn consumer(
    kafka: &Kafka,
    section: &Section,
    events: &mpsc::Sender<Event>,
) -> Result<BaseConsumer<Member>, Error> {
    let mut config: ClientConfig = kafka.consumer(Some(&section.group), None)?;
    config
        // A lease stays where it is when others move.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", section.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", (section.session_timeout.as_millis() / 5).to_string())
        // There is no position: nothing is read.
        .set("auto.offset.reset", "latest")
        // Another collector may just have added a partition.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set(STATISTICS.0, STATISTICS.1);
    let member = Member {
        topic: kafka.name(Topic::Cursors).to_owned(),
        events: events.clone(),
        heard: Heard::default(),
        stranded: Stranded::default(),
        is_replaced: AtomicBool::new(false),
    };
    let consumer: BaseConsumer<Member> =
        config.create_with_context(member).map_err(ClientError::from)?;
    consumer.subscribe(&[kafka.name(Topic::Cursors)]).map_err(ClientError::from)?;
    Ok(consumer)
}

/// Whoever does not listen any more needs to be told nothing.
fn tell(events: &mpsc::Sender<Event>, event: Event) {
    let _unheard = events.blocking_send(event);
}

fn numbers(partitions: &TopicPartitionList) -> Vec<usize> {
    let all = partitions.elements();
    all.iter().filter_map(|one| usize::try_from(one.partition()).ok()).collect()
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if self.is_replaced.load(Ordering::Relaxed) {
            return;
        }
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(_) if consumer.assignment_lost() => tell(&self.events, Event::Lost),
            Rebalance::Revoke(partitions) => {
                let (done, is_done) = oneshot::channel();
                tell(&self.events, Event::Revoked(numbers(partitions), done));
                // Dropped if nobody is there who has any.
                let _given_up = is_done.blocking_recv();
            }
            Rebalance::Error(error) => tell(&self.events, Event::Trouble(error.to_string())),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        if let Err(error) = consumer.pause(partitions) {
            tracing::debug!(%error, "the records of the leases are read, to no purpose");
        }
        let metadata = consumer.fetch_metadata(Some(&self.topic), ANSWER);
        let of = metadata.ok().and_then(|found| Some(found.topics().first()?.partitions().len()));
        tell(&self.events, Event::Granted { partitions: numbers(partitions), of });
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ClientContext::log(&self.heard, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.heard, error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.stranded.look(&statistics, Instant::now());
    }
}
