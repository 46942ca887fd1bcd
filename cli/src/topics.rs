//! `millrace topics`: creates and checks the topics, and takes removed queries out of the results.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::config::{Flags, Invalid, Service, TierConfig};
use common::kafka::{Difference, Kafka, Remedy, Topic};
use common::output::print;
use serde::{Deserialize, Serialize};

use crate::exit;
use crate::run::Failure;
use crate::units;

mod retire;

/// Create and check the topics in Kafka: partitions, replicas, retention, compaction, sizes.
///
/// The tiers create missing topics themselves. These commands are for clusters where they may not, and for looking
/// whether topics are still as configured. The section [kafka] says what they should be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace topics diff --config millrace.toml
  millrace topics apply --brokers kafka:9092
  millrace topics apply --set kafka.replication=3 --set kafka.partitions=12
  millrace topics apply --set kafka.settings.raw='{ \"retention.ms\" = \"604800000\" }'
  millrace topics retire countries --config millrace.toml

`apply` changes only settings by which nothing is lost. For the rest it prints the command of Kafka's own tools, which
needs --command-config where Kafka asks for a password or a certificate.

`retire` is for queries that were removed from [[query]], when no analyzer has them any more: one that still has a query
publishes it again.

Keys of [kafka] can also come from the environment: TOPICS__KAFKA__KEY=value

Exit codes:
    0  the topics are as they should be (retire: the queries are retired)
    1  something differs (apply: and has to be changed by hand; retire: a query has no result), or Kafka refused a change
    2  an unknown flag, or an invalid value
   64  the configuration cannot be used
   69  Kafka did not answer within --timeout")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say how the topics differ from the configuration, and change nothing
    Diff(Cluster),
    /// Create missing topics, and change what can be changed without a loss
    Apply(Cluster),
    /// Take removed queries out of the topic of results, so that the access-apis serve them no longer
    Retire {
        /// The removed queries; each has a result in the topic, or nothing is done
        #[arg(value_name = "QUERY", required = true)]
        queries: Vec<String>,

        #[command(flatten)]
        cluster: Cluster,
    },
}

impl Command {
    const fn cluster(&self) -> &Cluster {
        match self {
            Self::Diff(cluster) | Self::Apply(cluster) | Self::Retire { cluster, .. } => cluster,
        }
    }
}

#[derive(Debug, clap::Args)]
struct Cluster {
    #[command(flatten)]
    flags: Flags,

    /// How long to wait for Kafka
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    timeout: Duration,
}

/// The part of the configuration that is about topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    service: Service,
    kafka: Kafka,
}

impl TierConfig for Config {
    fn service(&self) -> &Service {
        &self.service
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::when_any(self.kafka.problems())
    }
}

/// Why the topics could not be compared or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("bad configuration\n{0}")]
    Config(#[from] common::config::Error),
    /// Kafka refused.
    #[error(transparent)]
    Kafka(#[from] common::kafka::Error),
    /// Queries are not retired.
    #[error(transparent)]
    Retire(#[from] retire::Error),
    /// Kafka did not answer.
    #[error(
        "not done within {} s, because Kafka at {brokers} does not answer or is not ready: the warnings above say why",
        waited.as_secs()
    )]
    TimedOut {
        /// The bootstrap servers.
        brokers: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The findings cannot be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] io::Error),
}

impl Error {
    /// Whether the same command may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Kafka(error) => error.retryable(),
            Self::Retire(error) => error.retryable(),
            Self::Config(_) | Self::Stdout(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => exit::USAGE,
            Self::TimedOut { .. } => exit::UNAVAILABLE,
            Self::Kafka(_) | Self::Retire(_) | Self::Stdout(_) => 1,
        }
    }
}

/// Compares the topics with the configuration, changes them if asked to, and prints what differs; or retires queries.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: Args) -> Result<ExitCode, Error> {
    let cluster = args.command.cluster();
    let environment = common::config::environment();
    let config: Config = common::config::load("topics", &cluster.flags, &environment)?;
    if cluster.flags.dump_config {
        print(&common::config::to_toml(&config)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &args.command {
        Command::Diff(_) => compare(&config.kafka, cluster.timeout, false).await,
        Command::Apply(_) => compare(&config.kafka, cluster.timeout, true).await,
        Command::Retire { queries, .. } => {
            print(&retired(&config.kafka, cluster.timeout, queries).await?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn compare(kafka: &Kafka, timeout: Duration, apply: bool) -> Result<ExitCode, Error> {
    let until = Instant::now() + timeout;
    let work = async {
        if apply {
            kafka.apply_topics(&Topic::ALL, until).await
        } else {
            kafka.compare_topics(&Topic::ALL, until).await
        }
    };
    let differences = work.await.map_err(|error| match error {
        error if error.retryable() => late(kafka, timeout),
        error => Error::Kafka(error),
    })?;
    let is_left = |one: &Difference| !apply || matches!(one.remedy, Remedy::ByHand(_));
    let code = if differences.iter().any(is_left) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let text: String =
        differences.iter().map(|difference| line(kafka, difference, apply)).collect();
    print(&text)?;
    Ok(code)
}

/// Retires queries, and says so.
async fn retired(kafka: &Kafka, timeout: Duration, queries: &[String]) -> Result<String, Error> {
    let work = retire::retire(kafka, queries, Instant::now() + timeout);
    match tokio::time::timeout(timeout, work).await {
        Ok(Err(error)) if error.retryable() => {
            tracing::warn!(%error, "waiting for kafka");
            Err(late(kafka, timeout))
        }
        Ok(done) => Ok(done?),
        Err(_) => Err(late(kafka, timeout)),
    }
}

fn late(kafka: &Kafka, waited: Duration) -> Error {
    Error::TimedOut { brokers: kafka.brokers.clone(), waited }
}

/// A line for a difference: the topic, what it is, and what was done or is to be done.
fn line(kafka: &Kafka, difference: &Difference, applied: bool) -> String {
    let done = match (&difference.remedy, applied) {
        (Remedy::Create, true) => "created".to_owned(),
        (Remedy::Set { .. }, true) => "changed".to_owned(),
        (Remedy::Create | Remedy::Set { .. }, false) => "`millrace topics apply`".to_owned(),
        (Remedy::ByHand(command), _) => format!("by hand: {command}"),
    };
    let by_hand = matches!(difference.remedy, Remedy::ByHand(_));
    let grave = if difference.unusable && by_hand { "UNUSABLE  " } else { "" };
    format!("{grave}{}: {}; {done}\n", kafka.name(difference.topic), difference.what)
}
