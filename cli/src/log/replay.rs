//! `millrace log replay`: publishes dead letters that are events now.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use common::event::Id;
use common::event::identity::{Identity, identify};
use common::kafka::{ClientError, Kafka, Topic, header};
use common::output::print;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::letters::{self, ByReason, Config, Letter, Which};
use crate::text::grouped;
use crate::{exit, units};

/// So many records wait for Kafka's answer at most, and so many bytes of payload, or one record.
const IN_FLIGHT: usize = 1_000;
const IN_FLIGHT_BYTES: usize = 16 << 20;

/// Publish dead letters again that are events by the rules of [event], after these were corrected
///
/// Each dead letter that is there at the start and that is an event now is published once, byte for byte, with the key and the
/// id that the collector would give it. The dead letters stay. A second replay publishes copies, which the analyzer
/// recognises by their id; with id = "none" it cannot, and they count again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log replay --config millrace.toml --reason missing_id
  millrace log replay --brokers kafka:9092 --since 2h

Exit codes: 0 all are published, 65 some are not published, because they are no events still or Kafka does not take them,
69 Kafka did not answer, 64 the configuration cannot be used, 1 something else; how many were published is told in any case")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// How long to wait for Kafka to take a record
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    timeout: Duration,
}

/// Publishes the dead letters that are events, and prints how many there were.
///
/// # Errors
/// When the configuration is not valid, Kafka does not answer, or refuses a record.
pub fn run(args: &Args, stop: &CancellationToken) -> Result<ExitCode, Error> {
    let Some(config) = args.which.config()? else { return Ok(ExitCode::SUCCESS) };
    if config.event.id == Id::None {
        eprintln!("millrace: [event] has id = \"none\": what is replayed twice counts twice");
    }
    let (replayed, done) = replay(&config, &args.which, args.timeout, stop)?;
    print(&report(&replayed, &config.kafka))?;
    done?;
    let is_all = replayed.refused.is_empty() && replayed.not_taken.is_empty();
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) })
}

/// What became of the dead letters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    /// How many were published.
    published: u64,
    /// How many are no events, by the reason that they have now.
    refused: ByReason<u64>,
    /// How many Kafka does not take, by what it says.
    not_taken: BTreeMap<String, u64>,
}

fn report(replayed: &Replayed, kafka: &Kafka) -> String {
    let Replayed { published, refused, not_taken } = replayed;
    let mut text = format!("{} published to {}\n", grouped(*published), kafka.name(Topic::Raw));
    for (reason, count) in refused {
        text += &format!("{} not published: {}\n", grouped(*count), letters::name(*reason));
    }
    for (why, count) in not_taken {
        text += &format!("{} not published: kafka says: {why}\n", grouped(*count));
    }
    text
}

/// What was done, also if it was not done to the end.
fn replay(
    config: &Config,
    which: &Which,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<(Replayed, Result<(), Error>), Error> {
    let mut replayed = Replayed::default();
    let mut publisher = Publisher::new(&config.kafka, timeout)?;
    let read = letters::read(&config.kafka, which, stop, |letter| {
        match identify(&letter.payload, &config.event) {
            Ok(identity) => publisher.publish(&letter, &identity)?,
            Err(reason) => *replayed.refused.entry(Some(reason)).or_default() += 1,
        }
        Ok(())
    });
    let heard = publisher.finish();
    (replayed.published, replayed.not_taken) = (publisher.published, publisher.not_taken);
    Ok((replayed, read.and(heard)))
}

/// Publishes events in their order.
struct Publisher<'k> {
    topic: &'k str,
    producer: FutureProducer,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    published: u64,
    not_taken: BTreeMap<String, u64>,
}

/// A record that Kafka has not answered for.
struct Waiting {
    partition: i32,
    offset: i64,
    bytes: usize,
    answer: DeliveryFuture,
}

impl<'k> Publisher<'k> {
    fn new(kafka: &'k Kafka, timeout: Duration) -> Result<Self, Error> {
        let mut settings = kafka.producer().map_err(Error::Client)?;
        settings.set("message.timeout.ms", timeout.as_millis().to_string());
        // A record that is refused does not take others with it.
        settings.set("batch.num.messages", "1");
        let producer = settings.create().map_err(ClientError::from).map_err(Error::Client)?;
        let topic = kafka.name(Topic::Raw);
        Ok(Self {
            topic,
            producer,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            published: 0,
            not_taken: BTreeMap::new(),
        })
    }

    /// Gives the event to the producer. Waits while as much as may wait does so.
    fn publish(&mut self, letter: &Letter, identity: &Identity) -> Result<(), Error> {
        let bytes = letter.payload.len();
        while self.waiting.len() >= IN_FLIGHT
            || !self.waiting.is_empty() && self.waiting_bytes + bytes > IN_FLIGHT_BYTES
        {
            self.hear()?;
        }
        // It has no `mr-seq`, because it comes from no message log.
        let named =
            [(header::ID, identity.id.as_deref()), (header::SOURCE, letter.source.as_deref())];
        let known = named.into_iter().filter(|(_, value)| value.is_some());
        let headers = known.fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value })
        });
        let mut record =
            FutureRecord::<str, [u8]>::to(self.topic).payload(&letter.payload).headers(headers);
        if let Some(key) = identity.key.as_deref() {
            record = record.key(key);
        }
        let (partition, offset) = (letter.partition, letter.offset);
        let answer = match self.producer.send_result(record) {
            Ok(answer) => answer,
            Err((source, _)) => return self.not_taken(partition, offset, source),
        };
        self.waiting.push_back(Waiting { partition, offset, bytes, answer });
        self.waiting_bytes += bytes;
        Ok(())
    }

    /// Waits for the answer for the oldest record.
    fn hear(&mut self) -> Result<(), Error> {
        let Some(Waiting { partition, offset, bytes, answer }) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.waiting_bytes -= bytes;
        // The future ends when the message's time is over.
        match Handle::current().block_on(answer) {
            Ok(Ok(_)) => self.published += 1,
            Ok(Err((source, _))) => self.not_taken(partition, offset, source)?,
            Err(_) => return Err(Error::Interrupted),
        }
        Ok(())
    }

    /// Kafka does not take a record. If that is about this record alone, it is counted.
    fn not_taken(&mut self, partition: i32, offset: i64, source: KafkaError) -> Result<(), Error> {
        use RDKafkaErrorCode::{InvalidRecord, MessageSizeTooLarge, PolicyViolation};
        match source.rdkafka_error_code() {
            Some(code @ (InvalidRecord | MessageSizeTooLarge | PolicyViolation)) => {
                *self.not_taken.entry(code.to_string()).or_default() += 1;
                Ok(())
            }
            _ => Err(Error::Refused { partition, offset, source }),
        }
    }

    /// Waits for all answers.
    fn finish(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        while !self.waiting.is_empty() {
            outcome = outcome.and(self.hear());
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
