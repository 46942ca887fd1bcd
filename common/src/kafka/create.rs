//! Makes the topics ready: creates those that are missing, checks those that exist.

use std::time::{Duration, Instant};

use super::admin::{ANSWER_DEADLINE, Admin};
use super::difference::Difference;
use super::{Error, Kafka, Remedy, Topic};
use crate::admin::Condition;
use crate::backoff::Backoff;

/// How long to wait before looking again whether topics have changed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a cluster that has just started may refuse to create topics before the refusal counts as final.
const SETTLING: Duration = Duration::from_secs(30);

impl Kafka {
    /// Creates those of `topics` that are missing, and returns when all are listed. While the broker does not
    /// answer it logs a warning, says why on the `condition`, and tries again, without end; drop the future to stop it.
    ///
    /// # Errors
    /// When trying again cannot help, see [`Error::retryable`].
    pub async fn ensure_topics(
        &self,
        topics: &[Topic],
        condition: Option<&Condition>,
    ) -> Result<(), Error> {
        let mut retry = Retry::new(condition);
        loop {
            let outcome = self.try_ensure_topics(topics).await;
            if let Some(()) = retry.after(outcome).await? {
                return Ok(());
            }
        }
    }

    /// How `topics` differ from what they should be. Waits for the broker until then. No request is under way any more when
    /// it returns, so that the process may end.
    ///
    /// # Errors
    /// When trying again cannot help, or when it is too late, which is a retryable error.
    pub async fn compare_topics(
        &self,
        topics: &[Topic],
        until: Instant,
    ) -> Result<Vec<Difference>, Error> {
        let mut retry = Retry { until: Some(until), ..Retry::new(None) };
        let found = loop {
            let outcome = Admin::new(self)?.find_within(topics, retry.patience()).await;
            if let Some(found) = retry.after(outcome).await? {
                break found;
            }
        };
        let differences = |&topic| self.differences(topic, found.get(&topic));
        Ok(topics.iter().flat_map(differences).collect())
    }

    /// Creates those of `topics` that are missing, and changes settings by which nothing is lost. Returns what it
    /// found before. Waits for the broker until then, like [`compare_topics`](Self::compare_topics).
    ///
    /// # Errors
    /// As those of `compare_topics`.
    pub async fn apply_topics(
        &self,
        topics: &[Topic],
        until: Instant,
    ) -> Result<Vec<Difference>, Error> {
        let differences = self.compare_topics(topics, until).await?;
        let missing: Vec<_> = differences
            .iter()
            .filter(|difference| difference.remedy == Remedy::Create)
            .map(|difference| difference.topic)
            .collect();
        let mut retry = Retry { until: Some(until), ..Retry::new(None) };
        loop {
            let outcome = self.try_apply_topics(topics, &missing).await;
            if let Some(()) = retry.after(outcome).await? {
                return Ok(differences);
            }
        }
    }

    /// Adds partitions to an existing topic until it has `partitions` of them.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn add_partitions(&self, topic: Topic, partitions: i32) -> Result<(), Error> {
        Admin::new(self)?.add_partitions(topic, partitions).await
    }

    /// The largest record, or batch of records, that a topic takes, in bytes; `None` if the broker does not
    /// answer or does not know.
    pub async fn max_message_bytes(&self, topic: Topic) -> Option<usize> {
        let found = Admin::new(self).ok()?.find(&[topic]).await.ok()?;
        found.get(&topic)?.settings.get("max.message.bytes")?.parse().ok()
    }

    /// Does the same once, and is silent about it: for topics without which a tier does its work.
    ///
    /// # Errors
    /// When the broker does not answer, or a topic is missing or cannot be used.
    pub async fn try_ensure_topics(&self, topics: &[Topic]) -> Result<(), Error> {
        let admin = Admin::new(self)?;
        let found = admin.find(topics).await?;
        let missing: Vec<_> =
            topics.iter().copied().filter(|topic| !found.contains_key(topic)).collect();
        for (&topic, found) in &found {
            self.unsuitable(topic, found).map_or(Ok(()), Err)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        admin.create(&missing).await?;
        self.listed(&admin, &missing).await
    }

    async fn try_apply_topics(&self, topics: &[Topic], missing: &[Topic]) -> Result<(), Error> {
        let admin = Admin::new(self)?;
        if !missing.is_empty() {
            admin.create(missing).await?;
            self.listed(&admin, missing).await?;
        }
        let mut changed = Vec::new();
        for (topic, found) in admin.find(topics).await? {
            let differences = self.differences(topic, Some(&found));
            let changes: Vec<_> = differences.iter().filter_map(Difference::change).collect();
            if !changes.is_empty() {
                admin.set(topic, &found, &changes).await?;
                changed.push(topic);
            }
        }
        self.have_changed(&admin, &changed).await
    }

    /// Waits until topics have the settings that were set just now, which takes a moment; not being allowed to set them
    /// looks like a change that does not come.
    async fn have_changed(&self, admin: &Admin<'_>, topics: &[Topic]) -> Result<(), Error> {
        let asked = Instant::now();
        loop {
            let found = admin.find(topics).await?;
            let is_left = |topic: &&Topic| {
                let differences = self.differences(**topic, found.get(*topic));
                differences.iter().any(|difference| difference.change().is_some())
            };
            let Some(&topic) = topics.iter().find(is_left) else { return Ok(()) };
            if asked.elapsed() >= ANSWER_DEADLINE {
                return Err(Error::Unchanged { topic: self.name(topic).to_owned() });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Checks that topics that were created just now are listed. Another process may have created one meanwhile, with
    /// other settings.
    async fn listed(&self, admin: &Admin<'_>, created: &[Topic]) -> Result<(), Error> {
        let found = admin.find(created).await?;
        for &topic in created {
            let Some(found) = found.get(&topic) else {
                return Err(Error::NotListed { topic: self.name(topic).to_owned() });
            };
            self.unsuitable(topic, found).map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

/// Decides whether an attempt is made again, and waits before that.
struct Retry<'c> {
    backoff: Backoff,
    started: Instant,
    /// Whether Kafka was asked at least once.
    asked: bool,
    /// When it is too late for another attempt.
    until: Option<Instant>,
    condition: Option<&'c Condition>,
}

impl<'c> Retry<'c> {
    fn new(condition: Option<&'c Condition>) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        Self { backoff, started: Instant::now(), asked: false, until: None, condition }
    }

    /// How long the next attempt may wait for an answer.
    fn patience(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.map_or(ANSWER_DEADLINE, |left| left.min(ANSWER_DEADLINE))
    }

    /// What the attempt gave; `None`, after a wait, if it is to be made again.
    async fn after<T>(&mut self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Err(Error::Unsettled { topic, code }) if self.started.elapsed() >= SETTLING => {
                Err(Error::Refused { topic, code })
            }
            // If a client could be made before, the files of its credentials are being replaced.
            Err(error)
                if error.retryable() || (self.asked && matches!(error, Error::Client(_))) =>
            {
                self.asked = true;
                tracing::warn!(%error, "waiting for kafka");
                if let Some(condition) = self.condition {
                    condition.unset(error.to_string());
                }
                let delay = self.backoff.next_delay(&mut rand::rng());
                if self.until.is_some_and(|until| Instant::now() + delay >= until) {
                    return Err(error);
                }
                tokio::time::sleep(delay).await;
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}
