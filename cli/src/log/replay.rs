//! `millrace log replay`: publishes dead letters that are events now.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use common::event::Id;
use common::event::identity::{Identity, identify};
use common::kafka::{ClientError, Kafka, Topic, header};
use common::output::print;
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

Exit codes: 0 all are published, 65 some are no events still and are not published, 69 Kafka did not answer, 64 the
configuration cannot be used, 1 Kafka did not take one: the message says which; what was before it is published")]
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
    let environment = common::config::environment();
    let config: Config = common::config::load("dead-letters", &args.which.flags, &environment)?;
    if args.which.flags.dump_config {
        print(&common::config::to_toml(&config)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if config.event.id == Id::None {
        eprintln!("millrace: [event] has id = \"none\": what is replayed twice counts twice");
    }
    let replayed = replay(&config, &args.which, args.timeout, stop)?;
    print(&report(&replayed, &config.kafka))?;
    let is_all = replayed.refused.is_empty();
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) })
}

/// What became of the dead letters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replayed {
    /// How many were published.
    published: u64,
    /// How many are no events, by the reason that they have now.
    refused: ByReason<u64>,
}

fn report(replayed: &Replayed, kafka: &Kafka) -> String {
    let Replayed { published, refused } = replayed;
    let mut text = format!("{} published to {}\n", grouped(*published), kafka.name(Topic::Raw));
    for (reason, count) in refused {
        text += &format!("{} not published: {}\n", grouped(*count), letters::name(*reason));
    }
    text
}

fn replay(
    config: &Config,
    which: &Which,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<Replayed, Error> {
    let mut replayed = Replayed::default();
    let mut publisher = Publisher::new(&config.kafka, timeout)?;
    letters::read(&config.kafka, which, stop, |letter| {
        match identify(&letter.payload, &config.event) {
            Ok(identity) => publisher.publish(&letter, &identity)?,
            Err(reason) => *replayed.refused.entry(Some(reason)).or_default() += 1,
        }
        Ok(())
    })?;
    replayed.published = publisher.finish()?;
    Ok(replayed)
}

/// Publishes events in their order.
struct Publisher<'k> {
    topic: &'k str,
    producer: FutureProducer,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    published: u64,
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
        let producer = settings.create().map_err(ClientError::from).map_err(Error::Client)?;
        let topic = kafka.name(Topic::Raw);
        Ok(Self { topic, producer, waiting: VecDeque::new(), waiting_bytes: 0, published: 0 })
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
        let answer = self.producer.send_result(record);
        let answer = answer.map_err(|(source, _)| Error::Refused { partition, offset, source })?;
        self.waiting.push_back(Waiting { partition, offset, bytes, answer });
        self.waiting_bytes += bytes;
        Ok(())
    }

    /// Waits for the answer for the oldest record.
    fn hear(&mut self) -> Result<(), Error> {
        let Some(Waiting { partition, offset, bytes, answer }) = self.waiting.pop_front() else {
            return Ok(());
        };
        // The future ends when the message's time is over.
        match Handle::current().block_on(answer) {
            Ok(Ok(_)) => {}
            Ok(Err((source, _))) => return Err(Error::Refused { partition, offset, source }),
            Err(_) => return Err(Error::Interrupted),
        }
        self.waiting_bytes -= bytes;
        self.published += 1;
        Ok(())
    }

    /// Waits for all answers. Returns how many were published.
    fn finish(mut self) -> Result<u64, Error> {
        while !self.waiting.is_empty() {
            self.hear()?;
        }
        Ok(self.published)
    }
}

#[cfg(test)]
mod tests;
