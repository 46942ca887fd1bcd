//! The in-memory broker: librdkafka's `MockCluster` behind a real port, for trying Millrace out without
//! Java.
//!
//! It keeps [`KEPT_PER_PARTITION`] of each partition and drops older records, compacts nothing, and writes nothing
//! to disk. A reader that comes too late finds that its offset no longer exists, which every tier reports as an
//! error or a gap, never as a smaller count.

use std::io::Write;

use common::kafka::{Kafka, Topic};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio_util::sync::CancellationToken;

/// How much librdkafka's mock keeps of each partition.
pub const KEPT_PER_PARTITION: &str = "5 MiB";

/// Run the in-memory broker, for trying out.
///
/// The first line on stdout is the bootstrap address; the broker runs until Ctrl-C or SIGTERM. It keeps nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace broker
  analyzer --brokers 127.0.0.1:40123     (the address that it printed)

Exit codes: 0 stopped, 1 it cannot be started")]
pub struct Args {
    /// Partitions of the topics that have several
    #[arg(long, value_name = "N", default_value_t = Kafka::default().partitions, value_parser = clap::value_parser!(i32).range(1..=1024))]
    partitions: i32,
}

/// Why the in-memory broker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refused.
    #[error("cannot start the in-memory broker: {0}")]
    Start(#[source] KafkaError),
    /// A topic could not be created.
    #[error("cannot create the topic {topic} in the in-memory broker: {source}")]
    Topic {
        /// Its name.
        topic: String,
        /// The error of librdkafka.
        source: KafkaError,
    },
    /// The address cannot be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[source] std::io::Error),
}

impl Error {
    /// Whether trying again can help. It cannot: each of these depends on the state of the machine.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Start(_) | Self::Topic { .. } | Self::Stdout(_) => false,
        }
    }
}

/// A broker in this process. It ends when it is dropped.
pub struct MemoryBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MemoryBroker {
    /// Starts one node with the topics that `kafka` names.
    ///
    /// # Errors
    /// When librdkafka cannot start it or create a topic.
    pub fn start(kafka: &Kafka) -> Result<Self, Error> {
        let cluster = MockCluster::new(1).map_err(Error::Start)?;
        for topic in Topic::ALL {
            let name = kafka.name(topic);
            cluster
                .create_topic(name, topic.partitions(kafka), 1)
                .map_err(|source| Error::Topic { topic: name.to_owned(), source })?;
        }
        Ok(Self { cluster })
    }

    /// Where clients find it, `host:port`.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

/// `millrace broker`: runs until `shutdown`.
///
/// # Errors
/// When the broker cannot be started, or stdout cannot be written to.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    let kafka = Kafka { partitions: args.partitions, ..Kafka::default() };
    let broker = MemoryBroker::start(&kafka)?;
    eprintln!(
        "in-memory broker: nothing is kept when it stops, and only the newest {KEPT_PER_PARTITION} of each partition while it runs"
    );
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", broker.bootstrap_servers())
        .and_then(|()| stdout.flush())
        .map_err(Error::Stdout)?;
    drop(stdout);
    shutdown.cancelled().await;
    Ok(())
}
