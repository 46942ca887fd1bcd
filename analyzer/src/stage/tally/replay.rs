//! Reading the raw topic a second time, for queries that are behind, while the others go on.

use std::time::Duration;

use common::kafka::Kafka;
use common::kafka::reader::{Error, Polled, Reader};
use rdkafka::message::BorrowedMessage;

/// A consumer of the partitions in which a query is behind.
pub struct Replay {
    reader: Reader,
}

/// What a round of replaying ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// There is more to read, now or later.
    More,
    /// What was to be read next is not in the log any more.
    OutOfRange,
}

impl Replay {
    /// Reads each of these partitions from its offset on.
    pub fn start(kafka: &Kafka, starts: &[(i32, i64)]) -> Result<Self, Error> {
        let reader = Reader::new(kafka)?;
        let topic = kafka.topics.raw.as_str();
        reader.assign(starts.iter().map(|&(partition, offset)| (topic, partition, offset)))?;
        Ok(Self { reader })
    }

    /// Hands up to `batch` records that have arrived to `handle`.
    pub fn read(
        &self,
        batch: usize,
        mut handle: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<Replayed, Error> {
        for _ in 0..batch {
            match self.reader.poll(Duration::ZERO)? {
                Polled::Record(message) => handle(&message),
                Polled::PositionLost => return Ok(Replayed::OutOfRange),
                // The end is only the present one: the others go on meanwhile.
                Polled::End(_) => {}
                Polled::Nothing => break,
                Polled::Trouble(error) => {
                    tracing::warn!(%error, "replaying goes on after a problem");
                    break;
                }
            }
        }
        Ok(Replayed::More)
    }
}
