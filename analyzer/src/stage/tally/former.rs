//! What former owners of a partition left in the partials topic, and when it may go.
//!
//! A successor publishes under keys of its own, so that a former owner's values stay until somebody
//! deletes them. They go when the successor's own reflect as much and have arrived: until then they are
//! the newest, and a merge that starts anew needs them.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use common::kafka::Kafka;
use rdkafka::message::Message;
use tokio_util::sync::CancellationToken;

use crate::core::audit;
use crate::core::owner::Owner;
use crate::core::partial::{self, Key};
use crate::core::plan::Plan;
use crate::error::Error;
use crate::reader;

/// Values of former owners: key in Kafka, and what each is about.
pub type Left = Vec<(String, Key)>;

/// Looks for what former owners left, on a thread of its own: the topic holds the counts of whole windows.
pub struct Search {
    found: Receiver<BTreeMap<i32, Found>>,
}

/// What was found of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The values.
    pub left: Left,
    /// The first offset that none of them reflects.
    pub next_offset: i64,
}

impl Search {
    /// Searches for values about `owners`' partitions that others wrote, of queries of the plan and of the audit.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        kafka: &Kafka,
        width: i32,
        plan: &Plan,
        owners: BTreeMap<i32, Owner>,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let (send, found) = mpsc::sync_channel(1);
        let planned = plan.queries().iter().map(|planned| planned.query.name.as_str());
        let queries: Vec<String> = planned.chain([audit::QUERY]).map(str::to_owned).collect();
        let (kafka, stop) = (kafka.clone(), stop.clone());
        let partitions: Vec<i32> = (0..width).collect();
        let search = move || {
            let topic = &kafka.topics.partials;
            let read =
                reader::read(&kafka, topic, &partitions, &stop, BTreeMap::new, |all, message| {
                    let key = message.key().unwrap_or_default();
                    note(all, &queries, &owners, key, message.payload());
                });
            match read {
                Ok(all) => drop(send.send(by_partition(all))),
                Err(error) => {
                    tracing::warn!(%error, "what former owners published is left to the next owner");
                }
            }
        };
        thread::Builder::new()
            .name("former owners".to_owned())
            .spawn(search)
            .map_err(|source| Error::Thread { stage: "former owners", source })?;
        Ok(Self { found })
    }

    /// What was found, once all is read; an error when there will be nothing more.
    pub fn result(&self) -> Result<BTreeMap<i32, Found>, TryRecvError> {
        self.found.try_recv()
    }
}

/// The newest value of each key that a former owner wrote, with the offset that it does not reflect.
type All = BTreeMap<String, (Key, i64)>;

fn note(
    all: &mut All,
    queries: &[String],
    owners: &BTreeMap<i32, Owner>,
    bytes: &[u8],
    value: Option<&[u8]>,
) {
    let Ok((key, owner)) = Key::parse(bytes) else { return };
    let former = owners.get(&key.partition).is_some_and(|&successor| successor != owner);
    if !former || !queries.contains(&key.query) {
        return;
    }
    let text = key.written_by(owner);
    match value.map(partial::next_offset) {
        None => drop(all.remove(&text)),
        // One that cannot be read is another build's: it is not for this one to delete.
        Some(Err(_)) => {}
        Some(Ok(next_offset)) => drop(all.insert(text, (key, next_offset))),
    }
}

fn by_partition(all: All) -> BTreeMap<i32, Found> {
    let mut found: BTreeMap<i32, Found> = BTreeMap::new();
    for (text, (key, next_offset)) in all {
        let of_partition = found.entry(key.partition).or_default();
        of_partition.next_offset = of_partition.next_offset.max(next_offset);
        of_partition.left.push((text, key));
    }
    found
}

#[cfg(test)]
mod tests;
