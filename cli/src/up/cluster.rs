//! What `up` asks Kafka at the start: whether it answers, which cluster it is, which topics it has.

use std::sync::Arc;
use std::time::Duration;

use common::kafka::{ClientError, Heard, Kafka};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Instant, sleep};

use super::console::Console;

const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(200);
/// How often the user is told what `up` waits for.
const REMINDER: Duration = Duration::from_secs(10);

/// A cluster that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// The names of its topics.
    pub topics: Vec<String>,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client can be made with the settings.
    #[error("{0} (or --brokers and -X)")]
    Client(#[from] ClientError),
    /// Kafka does not answer.
    #[error(
        "no answer from Kafka at {brokers} within {} s: {why} (or --brokers and -X)", waited.as_secs()
    )]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// How long `up` tried.
        waited: Duration,
        /// The newest reason.
        why: String,
    },
    /// The client's thread panicked.
    #[error("a thread that asked Kafka died: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether the same command may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Client(_) | Self::Broken(_) => false,
        }
    }
}

/// Asks until there is an answer, or until `deadline` has passed. Tells the user every [`REMINDER`] what it waits for.
///
/// # Errors
/// When there is no answer in time, or no client can be made.
pub async fn reach(kafka: &Kafka, deadline: Duration, console: &Console) -> Result<Cluster, Error> {
    let started = Instant::now();
    let heard = Heard::default();
    let settings = kafka.consumer(None, None)?;
    let client: BaseConsumer<Heard> =
        settings.create_with_context(heard.clone()).map_err(ClientError::from)?;
    let client = Arc::new(client);
    let mut reminded = Instant::now();
    loop {
        let asked = Arc::clone(&client);
        let error = match tokio::task::spawn_blocking(move || ask(&asked)).await? {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let too_late = started.elapsed() >= deadline;
        if too_late || reminded.elapsed() >= REMINDER {
            reminded = Instant::now();
            let (heard, of, brokers) = (heard.clone(), kafka.clone(), kafka.brokers.clone());
            let why = tokio::task::spawn_blocking(move || heard.explain(&error, &of)).await?;
            if too_late {
                return Err(Error::Unreachable { brokers, waited: deadline, why });
            }
            console.warn(format!("waiting for Kafka at {brokers}: {why}"));
        }
        sleep(EVERY).await;
    }
}

fn ask(client: &BaseConsumer<Heard>) -> Result<Cluster, KafkaError> {
    let metadata = client.fetch_metadata(None, ANSWER_DEADLINE).inspect_err(|_| {
        // librdkafka reports the reason of the error to the context, but only in a poll.
        let _none = client.poll(Duration::ZERO);
    })?;
    if metadata.brokers().is_empty() {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerNotAvailable));
    }
    let topics = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    Ok(Cluster { id: client.client().fetch_cluster_id(ANSWER_DEADLINE), topics })
}
