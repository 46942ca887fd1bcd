//! Creates the topics that are missing and checks those that exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::suitability::{Found, Unsuitable};
use super::{Kafka, Topic};
use crate::backoff::Backoff;

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a cluster that has just started may refuse to create topics before the refusal counts as final.
const SETTLING: Duration = Duration::from_secs(30);

/// Makes a topic accept any timestamp. Without it a broker refuses records more than an hour ahead of its own
/// clock, and a tier's clock may be further ahead. Brokers before 3.6 do not know this setting, and accept
/// any timestamp.
const TAKE_ANY_TIME: (&str, &str) = ("message.timestamp.after.max.ms", "9223372036854775807");

/// Why topics could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client cannot be built from the settings.
    #[error("cannot set up a Kafka client: {0}; check kafka.brokers and kafka.properties")]
    Client(#[source] KafkaError),
    /// The broker does not answer.
    #[error(
        "no answer from Kafka at {brokers}: {source}; check that the broker runs and that kafka.brokers names it"
    )]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The broker refused to create a topic.
    #[error(
        "Kafka refused to create the topic {topic}: {code}; create it by hand or grant the right to"
    )]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// The broker refused to add partitions to a topic.
    #[error(
        "Kafka refused to add partitions to the topic {topic}: {code}; add some by hand until it has {partitions}, or \
         grant the right to"
    )]
    TooNarrow {
        /// The topic.
        topic: String,
        /// How many partitions it needs.
        partitions: i32,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// An existing topic cannot be used as it is.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// The cluster cannot create a topic or partitions yet, because it is still starting.
    #[error("Kafka does not create the topic {topic} yet: {code}")]
    Unsettled {
        /// The topic.
        topic: String,
        /// The broker's answer.
        code: RDKafkaErrorCode,
    },
    /// The broker has confirmed that a topic was created, but does not list it yet.
    #[error("the topic {topic} is not listed yet")]
    NotListed {
        /// The topic.
        topic: String,
    },
    /// The runtime is going down.
    #[error("interrupted while asking Kafka for its topics")]
    Interrupted,
}

impl Error {
    /// Whether trying again may succeed without anybody changing anything.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unsettled { .. } | Self::NotListed { .. } => true,
            Self::Client(_)
            | Self::Refused { .. }
            | Self::TooNarrow { .. }
            | Self::Unsuitable(_)
            | Self::Interrupted => false,
        }
    }
}

impl Kafka {
    /// Creates those of `topics` that are missing, and returns when all are listed. While the broker does not
    /// answer it logs a warning and tries again, without end; drop the future to stop it.
    ///
    /// # Errors
    /// When trying again cannot help, see [`Error::retryable`].
    pub async fn ensure_topics(&self, topics: &[Topic]) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let started = Instant::now();
        loop {
            match self.try_ensure_topics(topics).await {
                Err(Error::Unsettled { topic, code }) if started.elapsed() >= SETTLING => {
                    return Err(Error::Refused { topic, code });
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "waiting for kafka");
                    let delay = backoff.next_delay(&mut rand::rng());
                    tokio::time::sleep(delay).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Adds partitions to an existing topic until it has `partitions` of them.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn add_partitions(&self, topic: Topic, partitions: i32) -> Result<(), Error> {
        let admin: AdminClient<DefaultClientContext> =
            self.with_properties(self.client()).create().map_err(Error::Client)?;
        let count = usize::try_from(partitions).unwrap_or(0);
        let wanted = NewPartitions::new(self.name(topic), count);
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_DEADLINE));
        let unreachable = |source| Error::Unreachable { brokers: self.brokers.clone(), source };
        for outcome in admin.create_partitions([&wanted], &options).await.map_err(unreachable)? {
            match outcome {
                // Another process may have added them first.
                Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
                Err((topic, code)) if is_passing(code) => {
                    return Err(Error::Unsettled { topic, code });
                }
                Err((topic, code)) => return Err(Error::TooNarrow { topic, partitions, code }),
            }
        }
        Ok(())
    }

    async fn try_ensure_topics(&self, topics: &[Topic]) -> Result<(), Error> {
        let admin: AdminClient<DefaultClientContext> =
            self.with_properties(self.client()).create().map_err(Error::Client)?;
        let (admin, found) = self.list(admin, topics).await?;
        self.check(&admin, &found).await?;
        let missing: Vec<_> =
            topics.iter().copied().filter(|topic| !found.contains_key(topic)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = missing.iter().map(|&topic| self.new_topic(topic)).collect();
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_DEADLINE));
        let unreachable = |source| Error::Unreachable { brokers: self.brokers.clone(), source };
        let mut outcomes = admin.create_topics(&new, &options).await.map_err(unreachable)?;
        let is_unknown_setting =
            |outcome: &TopicResult| matches!(outcome, Err((_, RDKafkaErrorCode::InvalidConfig)));
        if outcomes.iter().any(is_unknown_setting) {
            let new: Vec<_> = missing.iter().map(|&topic| self.plain_topic(topic)).collect();
            outcomes = admin.create_topics(&new, &options).await.map_err(unreachable)?;
        }
        for outcome in outcomes {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) if is_passing(code) => {
                    return Err(Error::Unsettled { topic, code });
                }
                Err((topic, code)) => return Err(Error::Refused { topic, code }),
            }
        }
        let (admin, found) = self.list(admin, topics).await?;
        match missing.iter().find(|topic| !found.contains_key(topic)) {
            Some(&topic) => Err(Error::NotListed { topic: self.name(topic).to_owned() }),
            // Another process may have created one meanwhile, with other settings.
            None => self.check(&admin, &found).await,
        }
    }

    /// Finds those of `topics` that exist. It lists all topics, because asking for one by name can make a broker
    /// create it with defaults.
    async fn list(
        &self,
        admin: AdminClient<DefaultClientContext>,
        topics: &[Topic],
    ) -> Result<(AdminClient<DefaultClientContext>, BTreeMap<Topic, Found>), Error> {
        let listing = tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(None, ANSWER_DEADLINE);
            (admin, metadata)
        });
        let (admin, metadata) = listing.await.map_err(|_| Error::Interrupted)?;
        let metadata = metadata
            .map_err(|source| Error::Unreachable { brokers: self.brokers.clone(), source })?;
        let mut found = BTreeMap::new();
        for &topic in topics {
            let listed = metadata.topics().iter().find(|t| t.name() == self.name(topic));
            if let Some(listed) = listed.filter(|listed| listed.error().is_none()) {
                let partitions = listed.partitions();
                let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
                let replicas = replicas.unwrap_or(0);
                found.insert(topic, Found { partitions: partitions.len(), replicas });
            }
        }
        Ok((admin, found))
    }

    /// Checks the topics that exist. Settings that the broker does not return, because it cannot or because this
    /// client may not see them, are not checked.
    async fn check(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        found: &BTreeMap<Topic, Found>,
    ) -> Result<(), Error> {
        let names: Vec<_> =
            found.keys().map(|&topic| ResourceSpecifier::Topic(self.name(topic))).collect();
        if names.is_empty() {
            return Ok(());
        }
        let options = AdminOptions::new().request_timeout(Some(ANSWER_DEADLINE));
        let described = admin.describe_configs(&names, &options).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read the settings of the topics, they are not checked");
            Vec::new()
        });
        let described: Vec<_> = described.into_iter().flatten().collect();
        for (&topic, found) in found {
            let name = self.name(topic);
            let its = OwnedResourceSpecifier::Topic(name.to_owned());
            let described = described.iter().find(|described| described.specifier == its);
            let setting = |key: &str| described?.get(key)?.value.as_deref();
            found.check(topic, name, &self.brokers, setting)?;
        }
        Ok(())
    }

    fn new_topic(&self, topic: Topic) -> NewTopic<'_> {
        let (key, value) = TAKE_ANY_TIME;
        self.plain_topic(topic).set(key, value)
    }

    fn plain_topic(&self, topic: Topic) -> NewTopic<'_> {
        let replication = TopicReplication::Fixed(self.replication);
        let new = NewTopic::new(self.name(topic), topic.partitions(self), replication);
        topic.settings().iter().fold(new, |new, &(key, value)| new.set(key, value))
    }

    /// The largest record, or batch of records, that a topic takes, in bytes; `None` if the broker does not
    /// answer or does not know.
    pub async fn max_message_bytes(&self, topic: Topic) -> Option<usize> {
        let admin: AdminClient<DefaultClientContext> =
            self.with_properties(self.client()).create().ok()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_DEADLINE));
        let asked = [ResourceSpecifier::Topic(self.name(topic))];
        let described = admin.describe_configs(&asked, &options).await.ok()?;
        let settings = described.into_iter().next()?.ok()?;
        settings.get("max.message.bytes")?.value.as_ref()?.parse().ok()
    }
}

/// Whether a cluster that is starting may give this error now and succeed later. For example, it refuses a
/// replication factor as too high until enough brokers have registered.
const fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::InvalidReplicationFactor
            | Code::NotController
            | Code::LeaderNotAvailable
            | Code::BrokerNotAvailable
            | Code::RequestTimedOut
            | Code::OperationTimedOut
    )
}
