//! `millrace topics retire`: takes removed queries out of the topic of results.
//!
//! The topic keeps the newest result of each query for ever. A record with the query's key and no value retires it: the
//! access-apis no longer serve it, and Kafka deletes both records in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::kafka::{ClientError, Kafka, Reader, Remedy, Topic, reader};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio_util::sync::CancellationToken;

/// Why queries are not retired.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic is not there.
    #[error("there is no topic {0}, and so no result to retire; check kafka.topics.results")]
    NoTopic(String),
    /// No result of a query is there, or it is retired already.
    #[error(
        "{topic} has no result of {asked}; there are: {known}. Nothing was retired; check the name"
    )]
    NoResult {
        /// The topic of results.
        topic: String,
        /// The queries without a result.
        asked: String,
        /// The queries with one.
        known: String,
    },
    /// Kafka did not answer a question about the topic.
    #[error(transparent)]
    Kafka(#[from] common::kafka::Error),
    /// The results cannot be read.
    #[error(transparent)]
    Read(#[from] reader::Error),
    /// The client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Kafka did not take the record.
    #[error(
        "Kafka does not take the record that retires {query}: {source}; grant Write on the topic"
    )]
    Refused {
        /// The query.
        query: String,
        /// What librdkafka said.
        source: KafkaError,
    },
    /// The runtime is going down.
    #[error("interrupted while reading the results")]
    Interrupted,
}

impl Error {
    /// Whether the same command may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Kafka(error) => error.retryable(),
            Self::Read(error) => error.retryable(),
            Self::Refused { source, .. } => {
                source.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut)
            }
            Self::NoTopic(_) | Self::NoResult { .. } | Self::Client(_) | Self::Interrupted => false,
        }
    }
}

/// Retires `queries`, all of them or none, and says so in a line for each. The caller drops it when it is too late.
///
/// # Errors
/// See [`Error`].
pub async fn retire(kafka: &Kafka, queries: &[String], until: Instant) -> Result<String, Error> {
    let topic = kafka.name(Topic::Results);
    let differences = kafka.compare_topics(&[Topic::Results], until).await?;
    if differences.iter().any(|difference| difference.remedy == Remedy::Create) {
        return Err(Error::NoTopic(topic.to_owned()));
    }
    let served = served(kafka).await?;
    let missing: Vec<&str> =
        queries.iter().filter(|query| !served.contains(query)).map(String::as_str).collect();
    if !missing.is_empty() {
        let known = if served.is_empty() { "none".to_owned() } else { served.join(", ") };
        return Err(Error::NoResult { topic: topic.to_owned(), asked: missing.join(", "), known });
    }
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut settings = kafka.producer()?;
    settings.set("message.timeout.ms", left.as_millis().to_string());
    let producer: FutureProducer = settings.create().map_err(ClientError::from)?;
    let mut said = String::new();
    for query in queries {
        let record = FutureRecord::<str, str>::to(topic).key(query);
        let sent = producer.send(record, left).await;
        sent.map_err(|(source, _)| Error::Refused { query: query.clone(), source })?;
        said.push_str(&format!("{topic}: {query}: retired, and served no longer\n"));
    }
    Ok(said)
}

/// The queries that have a result, in order.
async fn served(kafka: &Kafka) -> Result<Vec<String>, Error> {
    // When this future is dropped, the reading ends.
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let kafka = kafka.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let topic = kafka.name(Topic::Results);
        let reader = Reader::new(&kafka)?;
        let spans = reader.spans(topic, &reader.partitions(topic)?)?;
        let mut served: BTreeMap<String, bool> = BTreeMap::new();
        reader.read_to_end(topic, &spans, &stop, |record| {
            let key = record.key().and_then(|key| std::str::from_utf8(key).ok());
            // Other keys are those of the audit and of the stream.
            if let Some(query) = key.filter(|key| !key.is_empty() && !key.contains('/')) {
                served.insert(query.to_owned(), record.payload().is_some());
            }
        })?;
        Ok(served.into_iter().filter(|(_, has_value)| *has_value).map(|(query, _)| query).collect())
    });
    reading.await.map_err(|_| Error::Interrupted)?
}
