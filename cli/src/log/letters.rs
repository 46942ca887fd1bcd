//! Reads the topic of dead letters.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::clock::Clock;
use common::config::{Flags, Invalid, Service, TierConfig};
use common::event::{Reason, Schema};
use common::kafka::{Kafka, Reader, Topic, header};
use common::output::print;
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::reason::reasons;
use crate::units;

/// Which dead letters of which Kafka.
#[derive(Debug, clap::Args)]
pub struct Which {
    #[command(flatten)]
    pub flags: Flags,

    /// Only those with this reason
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<Reason>,

    /// Only those that were written within this time before now, for example 2h
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub since: Option<Duration>,
}

impl Which {
    /// The configuration; `None` if it was only to be printed, which is done.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn config(&self) -> Result<Option<Config>, Error> {
        let environment = common::config::environment();
        let config: Config = common::config::load("dead-letters", &self.flags, &environment)?;
        if self.flags.dump_config {
            print(&common::config::to_toml(&config)?)?;
            return Ok(None);
        }
        Ok(Some(config))
    }
}

/// The parts of the configuration that are about dead letters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub service: Service,
    pub kafka: Kafka,
    pub event: Schema,
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut problems = self.kafka.problems();
        problems
            .extend(self.event.problems().into_iter().map(|problem| format!("event.{problem}")));
        Invalid::when_any(problems)
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    /// `None` if its header says none that is known.
    pub reason: Option<Reason>,
    pub source: Option<String>,
    /// When the record was written or received, in milliseconds since 1970; `None` if the record does not say.
    pub time_ms: Option<i64>,
    pub payload: Bytes,
}

/// Shows `each` the dead letters that are there now and are asked for, in the order of each partition.
///
/// # Errors
/// When they cannot be read, `each` fails, or it is stopped.
pub fn read(
    kafka: &Kafka,
    which: &Which,
    stop: &CancellationToken,
    mut each: impl FnMut(Letter) -> Result<(), Error>,
) -> Result<(), Error> {
    let topic = kafka.name(Topic::DeadLetters);
    let reader = Reader::new(kafka)?;
    // It fails if one partition has no leader: what is there would not be complete.
    let all = reader.spans(topic, &reader.partitions(topic)?)?;
    let spans = match which.since {
        None => all,
        Some(since) => {
            let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            let now = Clock::new(&Service::default()).now_ms();
            reader.spans_since(topic, now.saturating_sub(since))?
        }
    };
    let stop = stop.child_token();
    let mut failed = None;
    let done = reader.read_to_end(topic, &spans, &stop, |record| {
        let text = |name| str::from_utf8(header::value(record, name)?).ok();
        let reason = text(header::REASON).and_then(|reason| reason.parse().ok());
        if failed.is_some() || which.reason.is_some() && reason != which.reason {
            return;
        }
        let letter = Letter {
            partition: record.partition(),
            offset: record.offset(),
            reason,
            source: text(header::SOURCE).map(str::to_owned),
            time_ms: record.timestamp().to_millis(),
            payload: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        };
        if let Err(error) = each(letter) {
            failed = Some(error);
            stop.cancel();
        }
    });
    match (failed, done) {
        (Some(error), _) => Err(error),
        (None, Err(_)) if stop.is_cancelled() => Err(Error::Interrupted),
        (None, done) => Ok(done?),
    }
}

/// Counts by reason, of which `None` is one that is not known.
pub type ByReason<T> = BTreeMap<Option<Reason>, T>;

/// The name of a reason.
pub const fn name(reason: Option<Reason>) -> &'static str {
    match reason {
        Some(reason) => reason.as_str(),
        None => "unknown",
    }
}
