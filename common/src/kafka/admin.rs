//! What an administrator's client asks and changes about topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::difference::Found;
use super::heard::list_topics;
use super::topics::TAKE_ANY_TIME;
use super::{ClientError, Error, Heard, Kafka, Topic};

/// How long Kafka may take to answer.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// An administrator's client.
pub(super) struct Admin<'k> {
    kafka: &'k Kafka,
    client: AdminClient<DefaultClientContext>,
    /// A client that can be polled, and therefore hears why there is no connection.
    asking: Arc<BaseProducer<Heard>>,
    options: AdminOptions,
}

impl<'k> Admin<'k> {
    /// A client, which connects by itself.
    pub(super) fn new(kafka: &'k Kafka) -> Result<Self, Error> {
        let client = kafka.client()?.create().map_err(ClientError::from)?;
        let asking = Heard::client(kafka)?;
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_DEADLINE))
            .operation_timeout(Some(ANSWER_DEADLINE));
        Ok(Self { kafka, client, asking: Arc::new(asking), options })
    }

    /// Finds those of `topics` that exist. It lists all topics, because asking for one by name can make a broker
    /// create it with defaults.
    pub(super) async fn find(&self, topics: &[Topic]) -> Result<BTreeMap<Topic, Found>, Error> {
        self.find_within(topics, ANSWER_DEADLINE).await
    }

    /// The same, but waits no longer than `patience` for the list.
    pub(super) async fn find_within(
        &self,
        topics: &[Topic],
        patience: Duration,
    ) -> Result<BTreeMap<Topic, Found>, Error> {
        let asking = Arc::clone(&self.asking);
        let listing = tokio::task::spawn_blocking(move || list_topics(&asking, patience));
        let metadata = listing.await.map_err(|_| Error::Interrupted)?;
        let metadata = self.answered(metadata).await?;
        let mut found = BTreeMap::new();
        for &topic in topics {
            let listed = metadata.topics().iter().find(|t| t.name() == self.kafka.name(topic));
            if let Some(listed) = listed.filter(|listed| listed.error().is_none()) {
                let partitions = listed.partitions();
                let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
                let (partitions, replicas) = (partitions.len(), replicas.unwrap_or(0));
                found.insert(topic, Found { partitions, replicas, ..Found::default() });
            }
        }
        self.describe(&mut found).await;
        Ok(found)
    }

    /// Adds the settings to what was found, or why they cannot be read.
    async fn describe(&self, found: &mut BTreeMap<Topic, Found>) {
        let names: Vec<_> =
            found.keys().map(|&topic| ResourceSpecifier::Topic(self.kafka.name(topic))).collect();
        if names.is_empty() {
            return;
        }
        let (described, why) = match self.client.describe_configs(&names, &self.options).await {
            Ok(described) => {
                let why =
                    described.iter().find_map(|one| one.as_ref().err()).map(ToString::to_string);
                (described, why)
            }
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if let Some(why) = &why {
            tracing::debug!(why, "cannot read the settings of some topics, they are not checked");
        }
        for described in described.into_iter().flatten() {
            let its = |topic: &Topic| {
                described.specifier
                    == OwnedResourceSpecifier::Topic(self.kafka.name(*topic).to_owned())
            };
            let Some((_, found)) = found.iter_mut().find(|(topic, _)| its(topic)) else { continue };
            for entry in described.entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::DynamicTopic {
                    found.own.insert(entry.name.clone(), value.clone());
                }
                found.settings.insert(entry.name, value);
            }
        }
        for found in found.values_mut().filter(|found| found.settings.is_empty()) {
            found.unread = Some(why.clone().unwrap_or_else(|| "no answer".to_owned()));
        }
    }

    /// Creates topics; it is not an error if another process does so at the same time.
    pub(super) async fn create(&self, topics: &[Topic]) -> Result<(), Error> {
        let new: Vec<_> =
            topics.iter().map(|&topic| (topic, self.kafka.settings_of(topic))).collect();
        let create = async |all: bool| {
            let wanted: Vec<_> =
                new.iter().map(|(topic, settings)| self.new_topic(*topic, settings, all)).collect();
            self.answered(self.client.create_topics(&wanted, &self.options).await).await
        };
        let mut outcomes = create(true).await?;
        let is_unknown_setting =
            |outcome: &TopicResult| matches!(outcome, Err((_, RDKafkaErrorCode::InvalidConfig)));
        if outcomes.iter().any(is_unknown_setting) {
            outcomes = create(false).await?;
        }
        for outcome in outcomes {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) if is_passing(code) => {
                    return Err(Error::Unsettled { topic, code });
                }
                Err((
                    topic,
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed,
                )) => return Err(Error::Forbidden { topic }),
                Err((topic, code)) => return Err(Error::Refused { topic, code }),
            }
        }
        Ok(())
    }

    /// A topic to create, with `all` settings, or without the one that old brokers do not know.
    fn new_topic<'a>(
        &'a self,
        topic: Topic,
        settings: &'a BTreeMap<String, String>,
        all: bool,
    ) -> NewTopic<'a> {
        let replication = TopicReplication::Fixed(self.kafka.replication);
        let new = NewTopic::new(self.kafka.name(topic), topic.partitions(self.kafka), replication);
        let known = settings.iter().filter(|(key, _)| all || *key != TAKE_ANY_TIME.0);
        known.fold(new, |new, (key, value)| new.set(key, value))
    }

    /// Adds partitions to a topic until it has `partitions` of them.
    pub(super) async fn add_partitions(&self, topic: Topic, partitions: i32) -> Result<(), Error> {
        let count = usize::try_from(partitions).unwrap_or(0);
        let wanted = NewPartitions::new(self.kafka.name(topic), count);
        let outcomes = self.client.create_partitions([&wanted], &self.options).await;
        for outcome in self.answered(outcomes).await? {
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

    /// Changes settings of a topic that was found. The request that this client has replaces all settings of a topic,
    /// therefore its own ones are sent with it. A change that somebody else makes in the same moment is lost.
    pub(super) async fn set(
        &self,
        topic: Topic,
        found: &Found,
        changes: &[(&str, &str)],
    ) -> Result<(), Error> {
        let mut own: BTreeMap<&str, &str> =
            found.own.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        own.extend(changes.iter().copied());
        let name = self.kafka.name(topic);
        let wanted = AlterConfig::new(ResourceSpecifier::Topic(name));
        let wanted = own.iter().fold(wanted, |wanted, (key, value)| wanted.set(key, value));
        let outcomes = self.client.alter_configs([&wanted], &self.options).await;
        // rdkafka does not give the error of a topic: the caller looks whether it has changed.
        self.answered(outcomes).await.map(drop)
    }

    /// The answer, or why there is none.
    async fn answered<T>(&self, answer: Result<T, KafkaError>) -> Result<T, Error> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let (heard, kafka) = (Heard::clone(self.asking.context()), self.kafka.clone());
                let explaining = tokio::task::spawn_blocking(move || heard.explain(&error, &kafka));
                let why = explaining.await.map_err(|_| Error::Interrupted)?;
                Err(Error::Unreachable { brokers: self.kafka.brokers.clone(), why })
            }
        }
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
