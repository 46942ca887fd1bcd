//! Leases: which of several collectors follows which source.
//!
//! Every collector of a group has the same sources in its configuration. One that is connected to is followed by the collector
//! that has its lease: a partition of the topic of cursors, given by Kafka's consumer group. Others, to which events are sent,
//! and those that divide themselves (`kafka`) or are a machine's own (`file`), run on each collector, without a lease.
//!
//! | what happens | what is done |
//! |---|---|
//! | a lease is granted | the newest [cursor](records) of the source is read and claimed, and the source is followed from there |
//! | a lease is revoked, because a collector has joined | the source is stopped; what it brought goes to Kafka and its cursor is published, as far as that takes no longer than [`HAND_OVER`] |
//! | the collector stops | the same, and then it leaves the group, so that others take over at once |
//! | the collector is killed | others take over within the session timeout, at the cursor that was published last; what they read again has the same event ids, and counts once |
//! | Kafka is not heard | the sources are followed on, because the outage may be everybody's. Two collectors may then follow one source, which does no harm to events that have ids |
//! | the collector starts again within the session timeout of its former self | it follows at once what that had followed, because nobody else can have the leases yet |
//! | the collector starts while Kafka is away | after [`ALONE`] it follows what it followed last, for the same reason as above |

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::kafka::{Kafka, Reader, Topic};
use common::message_log::MessageLog;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Leases as Section;
use crate::cursor::{Cursor, Progress};
use crate::error::Error;
use crate::intake::Intake;
use crate::metrics::LeaseMetrics;
use crate::source::End;
use crate::source::connection::Connection;
pub use last::Last;
use member::{Event, Membership};
use takeover::Takeover;

mod last;
mod member;
mod records;
mod takeover;
#[cfg(test)]
mod tests;

/// How long a source may take to stop, and what it brought to be in Kafka, before another collector follows it.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How long a step of a takeover waits before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long a collector that has not reached Kafka since its start follows what it followed last.
const ALONE: Duration = Duration::from_secs(3);

/// Begins to follow a source at a cursor, until the token is cancelled.
pub type Follow = Box<
    dyn Fn(Option<Cursor>, CancellationToken) -> Pin<Box<dyn Future<Output = End> + Send>>
        + Send
        + Sync,
>;

/// A source that is followed by whoever has its lease.
pub struct Leased {
    /// Its name.
    pub name: Arc<str>,
    /// Which feed its cursors are of.
    pub feed: String,
    /// Its queue, which stays open while nobody pushes into it here.
    pub intake: Intake,
    /// Whether it is ready, which it is also if another collector has it.
    pub connection: Connection,
    /// What is counted of its lease.
    pub metrics: LeaseMetrics,
    /// Follows it.
    pub follow: Follow,
}

/// The sources that are leased, and those of them that are followed here.
pub struct Leases {
    kafka: Kafka,
    section: Section,
    progress: Progress,
    takeover: Arc<Takeover>,
    last: Last,
    sources: Vec<Arc<Leased>>,
    tasks: JoinSet<End>,
    /// The sources that are followed, by their places in `sources`.
    followed: BTreeMap<usize, Followed>,
}

struct Followed {
    task: Id,
    stop: CancellationToken,
    /// Whether Kafka was asked where the source was, and told that it is here.
    is_claimed: bool,
}

impl Leases {
    /// The leases of these sources. They are told apart by their places in the order of their names, so that all collectors
    /// need the same sources. Inside a runtime.
    ///
    /// # Errors
    /// When the producer cannot be made.
    pub fn new(
        kafka: &Kafka,
        section: &Section,
        (log, last): (MessageLog, Last),
        progress: Progress,
        mut sources: Vec<Leased>,
    ) -> Result<Self, Error> {
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let sources: Vec<_> = sources.into_iter().map(Arc::new).collect();
        for source in &sources {
            progress.follow(&source.name);
        }
        Ok(Self {
            kafka: kafka.clone(),
            section: section.clone(),
            takeover: Arc::new(Takeover::new(kafka, log, progress.clone())?),
            progress,
            last,
            sources,
            tasks: JoinSet::new(),
            followed: BTreeMap::new(),
        })
    }

    /// Follows the sources whose leases this collector has, until `stop`.
    ///
    /// # Errors
    /// When a client cannot be made, or Kafka refuses the topic.
    ///
    /// # Panics
    /// When a source does.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let publishing = tokio::spawn(Arc::clone(&self.takeover).publish());
        // It goes on until the cursors of the last sources are there.
        let _publishing = AbortOnDropHandle::new(publishing);
        let leases = tokio::select! {
            leases = self.leases() => leases,
            () = stop.cancelled() => Ok(1),
        };
        let outcome = match leases {
            Ok(leases) => self.hold(leases, &stop).await,
            Err(error) => Err(error),
        };
        let all = self.followed.keys().copied().collect();
        self.give_up(&all).await;
        outcome
    }

    async fn hold(&mut self, leases: usize, stop: &CancellationToken) -> Result<(), Error> {
        let mut membership = Membership::join(&self.kafka, &self.section)?;
        let mut granted = BTreeSet::new();
        let mut is_known = false;
        let mut noting = interval(self.section.session_timeout / 10);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => break,
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.ended(ended);
                    continue;
                }
                _ = noting.tick() => {
                    self.note();
                    continue;
                }
                event = membership.events.recv() => event,
            };
            match event {
                // The thread ends only after this does.
                None => return Err(Error::Panicked),
                Some(Event::Trouble(why)) => {
                    for source in self.others() {
                        source.connection.unset(format!("who has its lease is not known: {why}"));
                    }
                }
                Some(Event::Lost) => {
                    is_known = false;
                    granted.clear();
                    tracing::warn!(
                        "kafka is not heard, so that who has which source is not known; those that are followed here are followed on"
                    );
                }
                Some(Event::Granted(partitions)) => {
                    granted.extend(self.sources_of(&partitions, leases));
                    if !std::mem::replace(&mut is_known, true) {
                        let others = self.followed.keys().filter(|place| !granted.contains(place));
                        let others = others.copied().collect();
                        self.give_up(&others).await;
                    }
                    for &place in &granted {
                        self.follow(place, true);
                    }
                    self.others().for_each(|source| source.connection.set());
                    self.note();
                }
                Some(Event::Revoked(partitions, done)) => {
                    let revoked: BTreeSet<_> = self.sources_of(&partitions, leases).collect();
                    granted.retain(|place| !revoked.contains(place));
                    self.give_up(&revoked).await;
                    self.last.write(self.followed.keys().map(|place| &*self.sources[*place].name));
                    // The thread waits for it.
                    let _unheard = done.send(());
                }
            }
        }
        let all = self.followed.keys().copied().collect();
        self.give_up(&all).await;
        // Whoever is still there follows them from now on.
        self.note();
        membership.leave().await;
        Ok(())
    }

    /// Makes the topic ready, with a lease for each source, and returns how many it has. While Kafka is away it follows what
    /// was followed last.
    async fn leases(&mut self) -> Result<usize, Error> {
        let ready = tokio::spawn(make_leases(self.kafka.clone(), self.sources.len()));
        let mut ready = AbortOnDropHandle::new(ready);
        let alone = Instant::now() + ALONE;
        let mut is_alone = false;
        self.follow_last(self.section.session_timeout);
        loop {
            tokio::select! {
                ready = &mut ready => return ready.map_err(|_panicked| Error::Panicked)?,
                () = sleep_until(alone), if !is_alone => {
                    is_alone = true;
                    self.follow_last(Duration::MAX);
                }
            }
        }
    }

    /// Follows what was followed last, unless that is longer ago.
    fn follow_last(&mut self, at_most: Duration) {
        for name in self.last.read(at_most) {
            if let Some(place) = self.sources.iter().position(|one| *one.name == *name) {
                self.follow(place, false);
            }
        }
    }

    /// Notes what is followed.
    fn note(&self) {
        self.last.write(self.followed.keys().map(|place| &*self.sources[*place].name));
    }

    /// The sources whose lease is one of these partitions. If there are fewer partitions than sources, some have the same.
    fn sources_of(
        &self,
        partitions: &[usize],
        leases: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let partitions: BTreeSet<_> = partitions.iter().copied().collect();
        (0..self.sources.len()).filter(move |place| partitions.contains(&(place % leases)))
    }

    /// Those that are not followed here.
    fn others(&self) -> impl Iterator<Item = &Arc<Leased>> {
        let is_other = |(place, _): &(usize, _)| !self.followed.contains_key(place);
        self.sources.iter().enumerate().filter(is_other).map(|(_, source)| source)
    }

    /// Follows a source. With `claim` it begins where the sources of all collectors have come to, else where this one has.
    fn follow(&mut self, place: usize, claim: bool) {
        let (source, takeover) = (Arc::clone(&self.sources[place]), Arc::clone(&self.takeover));
        if let Some(followed) = self.followed.get_mut(&place) {
            if claim && !std::mem::replace(&mut followed.is_claimed, true) {
                let stop = followed.stop.clone();
                tokio::spawn(stop.run_until_cancelled_owned(async move {
                    takeover.claim(&source).await;
                }));
            }
            return;
        }
        source.metrics.held.set(1);
        source.connection.unset(format!("{}: taking it over", source.name));
        tracing::info!(source = &*source.name, claim, "follows the source");
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = self.tasks.spawn(async move {
            let begin = async {
                if claim {
                    takeover.begin(&source).await
                } else {
                    takeover.begin_alone(&source).await
                }
            };
            match token.run_until_cancelled(begin).await {
                Some(resume) => (source.follow)(resume, token).await,
                None => End::Stopped,
            }
        });
        self.followed.insert(place, Followed { task: task.id(), stop, is_claimed: claim });
    }

    /// Stops following these sources, and waits until what they brought is in Kafka and their cursors are published, no longer
    /// than [`HAND_OVER`].
    async fn give_up(&mut self, places: &BTreeSet<usize>) {
        for followed in places.iter().filter_map(|place| self.followed.get(place)) {
            followed.stop.cancel();
        }
        let until = Instant::now() + HAND_OVER;
        for place in places {
            let Some(Followed { task, .. }) = self.followed.get(place) else { continue };
            let (task, source) = (*task, Arc::clone(&self.sources[*place]));
            let has_ended = tokio::time::timeout_at(until, async {
                while self.followed.get(place).is_some_and(|followed| followed.task == task) {
                    let ended = self.tasks.join_next_with_id().await;
                    self.ended(ended);
                }
                source.intake.written().await;
                self.progress.settled(&source.name).await;
            });
            if has_ended.await.is_err() {
                tracing::warn!(
                    source = &*source.name,
                    "given up before all of it is in kafka; who follows it now reads that again"
                );
            }
            self.followed.remove(place);
            self.progress.given_up(&source.name);
            source.metrics.held.set(0);
            source.connection.set();
        }
    }

    /// A task has ended.
    fn ended(&mut self, ended: Option<Result<(Id, End), tokio::task::JoinError>>) {
        let task = match ended {
            None => return,
            Some(Ok((task, _))) => task,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(error)) => error.id(),
        };
        self.followed.retain(|_, followed| followed.task != task);
    }
}

/// Makes the topic ready and returns how many leases there are: its partitions. They are as many as sources, if this collector
/// may add some.
async fn make_leases(kafka: Kafka, wanted: usize) -> Result<usize, Error> {
    kafka.ensure_topics(&[Topic::Cursors], None).await?;
    let found = count_leases(&kafka).await?;
    if found >= wanted {
        return Ok(found);
    }
    let partitions = i32::try_from(wanted).unwrap_or(i32::MAX);
    if let Err(error) = kafka.add_partitions(Topic::Cursors, partitions).await {
        tracing::warn!(%error, found, wanted, "not a partition for each source, so that some move together");
    }
    count_leases(&kafka).await
}

async fn count_leases(kafka: &Kafka) -> Result<usize, Error> {
    let mut backoff = Backoff::new(AGAIN, AGAIN * 10);
    loop {
        let kafka = kafka.clone();
        let found = tokio::task::spawn_blocking(move || {
            Reader::new(&kafka)?.partitions(kafka.name(Topic::Cursors))
        });
        match found.await.map_err(|_panicked| Error::Panicked)? {
            Ok(found) => return Ok(found.len()),
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "asking again for the leases");
                let delay = backoff.next_delay(&mut rand::rng());
                sleep(delay).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
