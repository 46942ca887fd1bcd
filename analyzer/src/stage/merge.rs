//! The merge stage: partials of all raw partitions in, each query's result out.
//!
//! A query's partials are all in one partition of the partials topic, and whoever owns that
//! partition publishes the query. Since the topic is compacted, an owner knows everything when it
//! has read the partition from its start: until then it publishes nothing, so that no result goes
//! backwards. Partials are replaced by key, never added up; reading one twice changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::admin::Condition;
use rdkafka::message::{BorrowedMessage, Message};

use super::{FLUSH_PATIENCE, IDLE_WAIT, SHORTEST_WAIT};
use crate::app::Setting;
use crate::core::merge::{Applied, Merge};
use crate::core::partial::Key;
use crate::error::Error;
use crate::group::{Change, GroupConsumer, Polled};
use crate::pace::Pace;
use crate::placement::partition_of;
use crate::publisher::{Publisher, Record, Ticket};

/// The consumer group of this stage.
pub const GROUP: &str = "analyzer-merge";

/// Records read between two looks at the clock; each may be megabytes.
const BATCH: usize = 64;

/// Runs the stage on the calling thread until it is told to stop. `ready` holds while the group has
/// given it its partitions (which may be none) and it has read them to their end.
///
/// # Errors
/// When it cannot go on: the process has to start anew.
pub fn run(setting: &Setting, ready: &Condition) -> Result<(), Error> {
    Stage::open(setting, ready).and_then(Stage::run)
}

/// One query that this process publishes.
struct Desk {
    merge: Merge,
    /// The partition of the partials topic that it is made from.
    partition: i32,
    /// Whether there may be something new to publish.
    changed: bool,
    /// What was published last.
    published: Option<Vec<u8>>,
}

struct Stage<'a> {
    setting: &'a Setting,
    ready: &'a Condition,
    consumer: GroupConsumer,
    out: Publisher,
    desks: BTreeMap<String, Desk>,
    /// Partitions that are not read through yet, with the end that they had at the assignment.
    unread: BTreeMap<i32, i64>,
    /// The results sent last.
    sent: Arc<Ticket>,
    pace: Pace,
    /// When the last record was read.
    last_read: Instant,
    /// Whether everything that had arrived is read.
    caught_up: bool,
}

impl<'a> Stage<'a> {
    fn open(setting: &'a Setting, ready: &'a Condition) -> Result<Self, Error> {
        let config = &setting.config;
        let kafka = &config.kafka;
        // Where compaction removed the last records, only the end itself tells that all is read.
        let properties = [("enable.partition.eof", "true")];
        let instance = config.instance_id.as_deref();
        Ok(Self {
            setting,
            ready,
            consumer: GroupConsumer::join(
                kafka,
                GROUP,
                &kafka.topics.partials,
                instance,
                &properties,
            )?,
            out: Publisher::new(
                &kafka.producer(),
                setting.stop.clone(),
                setting.metrics.published_bytes.clone(),
            )?,
            desks: BTreeMap::new(),
            unread: BTreeMap::new(),
            sent: Ticket::new(),
            pace: Pace::new(Duration::from_millis(config.emit_interval_ms)),
            last_read: Instant::now(),
            caught_up: false,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        while !self.setting.stop.is_cancelled() {
            self.read()?;
            self.out.check()?;
            self.publish()?;
        }
        Ok(self.out.flush(FLUSH_PATIENCE)?)
    }

    fn read(&mut self) -> Result<(), Error> {
        let mut patience = if self.caught_up { self.idle_wait() } else { Duration::ZERO };
        self.caught_up = false;
        let mut found = false;
        for _ in 0..BATCH {
            match self.consumer.poll(patience)? {
                Polled::Record(message) => {
                    found = true;
                    take(&mut self.desks, &message, self.setting);
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    if self.unread.get(&partition).is_some_and(|&end| next >= end) {
                        self.read_through(partition);
                    }
                }
                Polled::End(partition) => self.read_through(partition),
                Polled::Nothing => {
                    self.caught_up = true;
                    break;
                }
                Polled::OutOfRange => {
                    let topic = self.setting.config.kafka.topics.partials.clone();
                    return Err(Error::PartialsLost { topic });
                }
            }
            patience = Duration::ZERO;
        }
        if found {
            self.last_read = Instant::now();
        }
        if self.caught_up { self.follow_group() } else { Ok(()) }
    }

    fn idle_wait(&self) -> Duration {
        if self.desks.values().any(|desk| desk.changed) {
            self.pace.wait(Instant::now(), self.last_read).clamp(SHORTEST_WAIT, IDLE_WAIT)
        } else {
            IDLE_WAIT
        }
    }

    fn follow_group(&mut self) -> Result<(), Error> {
        for change in self.consumer.changes() {
            match change {
                Change::Assigned(partitions) => self.take_over(&partitions)?,
                Change::Revoked => self.take_leave(),
            }
        }
        Ok(())
    }

    /// Starts every query of `partitions` from nothing and reads them from their start.
    fn take_over(&mut self, partitions: &[i32]) -> Result<(), Error> {
        self.take_leave();
        let mut starts = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let Some(marks) = self.consumer.watermarks_until(partition, &self.setting.stop)? else {
                return Ok(());
            };
            starts.push((partition, marks.low));
            if marks.low < marks.high {
                self.unread.insert(partition, marks.high);
            }
        }
        for planned in self.setting.plan.queries() {
            let partition = partition_of(&planned.query.name, self.setting.width.partials);
            if partitions.contains(&partition) {
                let desk =
                    Desk { merge: Merge::new(planned), partition, changed: true, published: None };
                self.desks.insert(planned.query.name.clone(), desk);
            }
        }
        let assigned = partitions.len().try_into().unwrap_or(i64::MAX);
        self.setting.metrics.assigned.with_label_values(&["merge"]).set(assigned);
        tracing::info!(?partitions, queries = ?self.desks.keys().collect::<Vec<_>>(), "queries taken over");
        self.consumer.assign(&starts)?;
        self.show_readiness();
        Ok(())
    }

    fn take_leave(&mut self) {
        self.ready.unset("the group is handing out its partitions anew");
        self.setting.metrics.assigned.with_label_values(&["merge"]).set(0);
        self.desks.clear();
        self.unread.clear();
    }

    fn read_through(&mut self, partition: i32) {
        if self.unread.remove(&partition).is_some() {
            self.show_readiness();
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
        if !self.sent.settled() || !self.pace.wait(started, self.last_read).is_zero() {
            return Ok(());
        }
        let metrics = &self.setting.metrics;
        let mut done = false;
        for (query, desk) in &mut self.desks {
            if !desk.changed || self.unread.contains_key(&desk.partition) {
                continue;
            }
            done = true;
            desk.changed = false;
            let result = encode(&mut desk.merge);
            if desk.published.as_ref() != Some(&result) {
                let topic = &self.setting.config.kafka.topics.results;
                let record =
                    Record { topic, partition: None, key: query.as_bytes(), value: Some(&result) };
                self.out.send(record, &self.sent)?;
                desk.published = Some(result);
                metrics.results.with_label_values(&[query]).inc();
            }
        }
        if done {
            self.pace.done(started, Instant::now());
        }
        Ok(())
    }
}

/// Takes a partial in. One of a query that is not configured any more is nobody's.
fn take(desks: &mut BTreeMap<String, Desk>, message: &BorrowedMessage<'_>, setting: &Setting) {
    let damaged = |what: &str, error: &dyn std::fmt::Display| {
        setting.metrics.damaged_partials.inc();
        let (partition, offset) = (message.partition(), message.offset());
        tracing::warn!(partition, offset, %error, what, "a partial cannot be read and is left out");
    };
    let key = match Key::parse(message.key().unwrap_or_default()) {
        Ok(key) => key,
        Err(error) => return damaged("key", &error),
    };
    let Some(desk) = desks.get_mut(&key.query) else { return };
    match desk.merge.apply(&key, message.payload()) {
        Ok(Applied::Changed) => desk.changed = true,
        Ok(Applied::Staged | Applied::Ignored) => {}
        Err(error) => damaged("value", &error),
    }
}

#[expect(clippy::expect_used, reason = "a result is made of numbers, strings and lists of them")]
fn encode(merge: &mut Merge) -> Vec<u8> {
    serde_json::to_vec(&merge.result()).expect("numbers, strings and lists are JSON")
}
