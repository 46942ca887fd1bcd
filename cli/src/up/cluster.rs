//! What `up` asks Kafka at the start: whether it answers, which cluster it is, which topics it has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::kafka::Kafka;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
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
    #[error("cannot set up a Kafka client: {0}; check --brokers, -X and [kafka.properties]")]
    Client(#[source] KafkaError),
    /// Kafka does not answer.
    #[error(
        "no answer from Kafka at {brokers} within {} s ({why}); check that it runs, the address in --brokers, and the security properties of -X", waited.as_secs()
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
    let client: BaseConsumer<Heard> =
        kafka.consumer(None, None).create_with_context(heard.clone()).map_err(Error::Client)?;
    let client = Arc::new(client);
    let mut reminded = Instant::now();
    loop {
        let asked = Arc::clone(&client);
        if let Some(found) = tokio::task::spawn_blocking(move || ask(&asked)).await? {
            return Ok(found);
        }
        let why = heard.newest();
        if started.elapsed() >= deadline {
            let brokers = kafka.brokers.clone();
            return Err(Error::Unreachable { brokers, waited: deadline, why });
        }
        if reminded.elapsed() >= REMINDER {
            reminded = Instant::now();
            console.warn(format!("waiting for Kafka at {}: {why}", kafka.brokers));
        }
        sleep(EVERY).await;
    }
}

fn ask(client: &BaseConsumer<Heard>) -> Option<Cluster> {
    let metadata = client.fetch_metadata(None, ANSWER_DEADLINE);
    if let Err(error) = &metadata {
        client.context().note(&error.to_string(), false);
        // librdkafka reports the reason of the error to the context, but only in a poll.
        let _none = client.poll(Duration::ZERO);
    }
    let metadata = metadata.ok().filter(|metadata| !metadata.brokers().is_empty())?;
    let topics = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
    Some(Cluster { id: client.client().fetch_cluster_id(ANSWER_DEADLINE), topics })
}

/// What librdkafka logs about the connection: the reason, which the error of a call does not contain. The flag says
/// whether the text is such a reason, or only the error of a call.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<(String, bool)>>);

impl Heard {
    /// Keeps `why`, unless it is only the error of a call and a reason is known.
    fn note(&self, why: &str, reason: bool) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reason || !newest.1 {
            // librdkafka adds how often it has logged the same; this part is removed.
            let why = why.split(" (after ").next().unwrap_or(why);
            *newest = (why.to_owned(), reason);
        }
    }

    fn newest(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(?level, "{message}");
        if matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning
        ) {
            self.note(message, true);
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.note(reason, true);
    }
}

impl ConsumerContext for Heard {}
