//! The merge stage: partials of all raw partitions in, each query's result out.
//!
//! A query's partials are all in one partition of the partials topic, and whoever owns that
//! partition publishes the query. Since the topic is compacted, an owner knows everything when it
//! has read the partition from its start: until then it publishes nothing, so that no result goes
//! backwards. Partials are replaced by key, never added up; reading one twice changes nothing.
//!
//! The audit is one more task beside the queries, and is published more rarely.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::admin::Condition;
use common::kafka::header;
use common::protocol::StreamId;
use common::trace::Span;
use rdkafka::message::{BorrowedMessage, Message};

use super::context::Context;
use super::exchange::{Exchange, Read, Round, Wait};
use crate::core::audit;
use crate::core::merge::Applied;
use crate::core::partial::Key;
use crate::error::Error;
use crate::group::Change;
use crate::metrics;
use crate::placement::partition_of;
use crate::publisher::Record;

mod stream;
mod task;
mod traces;

use task::{Publication, Task};

/// The consumer group of this stage.
pub const GROUP: &str = "analyzer-merge";

/// Records read between two looks at the clock; each may be megabytes.
const BATCH: usize = 64;

/// How often the lag is brought up to date.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the stage on the calling thread until it is told to stop. `ready` holds while the group has
/// given it its partitions (which may be none) and it has read them to their end.
///
/// # Errors
/// When it cannot go on: the process has to start anew.
pub fn run(context: &Context, ready: &Condition) -> Result<(), Error> {
    Stage::open(context, ready).and_then(Stage::run)
}

struct Stage<'a> {
    context: &'a Context,
    ready: &'a Condition,
    exchange: Exchange,
    /// The identity of the topic of results.
    stream: StreamId,
    /// By the query's name, and the audit's.
    tasks: BTreeMap<String, Task>,
    /// Partitions that are not read through yet, with the end that they had at the assignment.
    unread: BTreeMap<i32, i64>,
    /// The partitions of the partials topic that this process reads.
    partitions: Vec<i32>,
    next_report: Instant,
}

impl<'a> Stage<'a> {
    fn open(context: &'a Context, ready: &'a Condition) -> Result<Self, Error> {
        let kafka = &context.config.kafka;
        // Where compaction removed the last records, only the end itself tells that all is read.
        let properties = [("enable.partition.eof", "true")];
        let exchange = Exchange::open(context, GROUP, &kafka.topics.partials, &properties)?;
        Ok(Self {
            context,
            ready,
            stream: stream::identify(kafka, &exchange.out, &context.stop)?,
            exchange,
            tasks: BTreeMap::new(),
            unread: BTreeMap::new(),
            partitions: Vec::new(),
            next_report: Instant::now(),
        })
    }

    fn run(mut self) -> Result<(), Error> {
        while !self.context.stop.is_cancelled() {
            self.read()?;
            self.publish()?;
            self.report();
        }
        self.exchange.flush()
    }

    fn read(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let is_due = self.tasks.values().any(|task| task.is_due(now));
        let wait = if is_due { Wait::UntilPublication } else { Wait::Idle };
        let Self { exchange, tasks, unread, context, .. } = self;
        let before = unread.len();
        let round = exchange.read(BATCH, wait, |read| match read {
            Read::Record(message) => {
                // What is read through at the beginning was in results of others before.
                let is_news = !unread.contains_key(&message.partition());
                take(tasks, message, is_news, context);
                let (partition, next) = (message.partition(), message.offset() + 1);
                if unread.get(&partition).is_some_and(|&end| next >= end) {
                    unread.remove(&partition);
                }
            }
            Read::End(partition) => drop(unread.remove(&partition)),
        })?;
        if unread.len() < before {
            self.show_readiness();
        }
        match round {
            Round::More => Ok(()),
            Round::OutOfRange => {
                let topic = self.context.config.kafka.topics.partials.clone();
                Err(Error::PartialsLost { topic })
            }
            Round::CaughtUp(changes) => changes.into_iter().try_for_each(|change| match change {
                Change::Assigned(partitions) => self.take_over(&partitions),
                Change::Revoked { .. } => {
                    self.give_up();
                    Ok(())
                }
            }),
        }
    }

    /// Starts every query of `partitions` from nothing and reads them from their start.
    fn take_over(&mut self, partitions: &[i32]) -> Result<(), Error> {
        self.give_up();
        let mut starts = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let Some(marks) =
                self.exchange.consumer.watermarks_until(partition, &self.context.stop)?
            else {
                return Ok(());
            };
            starts.push((partition, marks.low));
            if marks.low < marks.high {
                self.unread.insert(partition, marks.high);
            }
        }
        let place = |query: &str| {
            let partition = partition_of(query, self.context.partitions.partials);
            partitions.contains(&partition).then_some(partition)
        };
        for planned in self.context.plan.queries() {
            if let Some(partition) = place(&planned.query.name) {
                let task = Task::of_query(planned, partition);
                self.tasks.insert(planned.query.name.clone(), task);
            }
        }
        if let Some(partition) = place(audit::QUERY) {
            self.tasks.insert(audit::QUERY.to_owned(), Task::of_audit(partition));
        }
        let assigned = partitions.len().try_into().unwrap_or(i64::MAX);
        let gauge = &self.context.metrics.assigned;
        gauge.with_label_values(&[metrics::Stage::Merge.as_str()]).set(assigned);
        self.partitions = partitions.to_vec();
        tracing::info!(?partitions, queries = ?self.tasks.keys().collect::<Vec<_>>(), "queries taken over");
        self.exchange.consumer.assign(&starts)?;
        self.show_readiness();
        Ok(())
    }

    fn give_up(&mut self) {
        self.ready.unset("the group is handing out its partitions anew");
        let metrics = &self.context.metrics;
        metrics.assigned.with_label_values(&[metrics::Stage::Merge.as_str()]).set(0);
        metrics.merge_lag.reset();
        metrics.forget_audit();
        self.partitions.clear();
        self.tasks.clear();
        self.unread.clear();
    }

    fn report(&mut self) {
        let now = Instant::now();
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_INTERVAL;
        for &partition in &self.partitions {
            if let Some(lag) = self.exchange.consumer.known_lag(partition) {
                let lags = &self.context.metrics.merge_lag;
                lags.with_label_values(&[partition.to_string().as_str()]).set(lag);
            }
        }
    }

    fn show_readiness(&self) {
        if self.unread.is_empty() {
            self.ready.set();
        } else {
            self.ready.unset("reading the partial results from their start");
        }
    }

    fn publish(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        if !self.exchange.publication_due(started) {
            return Ok(());
        }
        let topic = &self.context.config.kafka.topics.results;
        let mut done = false;
        for task in self.tasks.values_mut() {
            if !task.is_due(started) || self.unread.contains_key(&task.partition) {
                continue;
            }
            done = true;
            let Some(Publication { key, value, span }) =
                task.publish(self.stream, started, &self.context.metrics)
            else {
                continue;
            };
            let traceparent = span.as_ref().map(|span| span.context.to_string());
            let header = traceparent.as_deref().map(|text| (header::TRACEPARENT, text));
            let (key, value) = (key.as_bytes(), Some(value));
            let record = Record { topic, partition: None, key, value, header };
            self.exchange.out.send(record, &self.exchange.sent)?;
            if let Some(span) = span {
                let tracer = &self.context.tracer;
                tracer.record(Span { end_ns: tracer.now_ns(), ..span });
            }
        }
        if done {
            self.exchange.published(started, Instant::now());
        }
        Ok(())
    }
}

/// Takes a partial in; one of a query that is not configured any more is passed over.
fn take(
    tasks: &mut BTreeMap<String, Task>,
    message: &BorrowedMessage<'_>,
    is_news: bool,
    context: &Context,
) {
    let damaged = |what: &str, error: &dyn std::fmt::Display| {
        context.metrics.damaged_partials.inc();
        let (partition, offset) = (message.partition(), message.offset());
        tracing::warn!(partition, offset, %error, what, "a partial cannot be read and is left out");
    };
    let key = match Key::parse(message.key().unwrap_or_default()) {
        Ok((key, _)) => key,
        Err(error) => return damaged("key", &error),
    };
    let Some(task) = tasks.get_mut(&key.query) else { return };
    match task.apply(&key, message.payload()) {
        Ok(Applied::Changed) if is_news => task.links.take(message, &context.tracer),
        Ok(Applied::Changed | Applied::Staged | Applied::Ignored) => {}
        Err(error) => damaged("value", &error),
    }
}
