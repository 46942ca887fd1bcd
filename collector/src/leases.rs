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
//! | it starts again within the session timeout of its former self | it follows at once what that had followed, because nobody else can have been given the leases yet |
//! | Kafka is not heard | the sources are followed on, because the outage may be everybody's. Two collectors may then follow one source, which does no harm to events that have ids |
//! | the collector starts while Kafka is away | after [`ALONE`] it follows what it followed last, if that is not long ago: an outage is not to keep what nobody can be asked for again from being received |
//! | the group answers again | what is followed is claimed anew, or begun anew where another collector has come to |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::kafka::{Kafka, Reader, Topic};
use common::message_log::{MessageLog, Sequence};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Leases as Section;
use crate::cursor::Progress;
use crate::error::Error;
use crate::source::End;
pub use last::Last;
pub use leased::{Follow, Leased};
use member::{Event, Membership};
use takeover::{HadByAnother, Takeover};

mod last;
mod leased;
mod member;
mod records;
mod takeover;
#[cfg(test)]
mod tests;

/// How long a source may take to stop, and what it brought to be in Kafka, before another collector follows it.
const HAND_OVER: Duration = Duration::from_secs(5);
/// After how long without an answer about the topic a collector follows what it followed last.
const ALONE: Duration = Duration::from_secs(3);
/// How long ago that may be. Others have come further meanwhile, and what they had is read again.
const LAST: Duration = Duration::from_secs(3600);
/// How long a takeover may take before the source is followed from where this collector has come to.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How long the leases are looked for again after some were added, and how often.
const ADDED: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

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
    /// The partitions that the group has granted, and how many the topic has.
    granted: BTreeSet<usize>,
    leases: usize,
    /// Whether the group has said so since Kafka was heard last, and how often it has begun to.
    is_known: bool,
    grants: u64,
}

struct Followed {
    task: AbortHandle,
    stop: CancellationToken,
    /// The newest of the group's grants, which is to be claimed; 0 if there was none.
    grant: watch::Sender<u64>,
}

impl Leases {
    /// The leases of these sources. They are told apart by their places in the order of their names, so that all collectors
    /// need the same sources; `progress` shares them already. What was in the log at the start is before `start`. Inside a runtime.
    ///
    /// # Errors
    /// When the producer cannot be made.
    pub fn new(
        kafka: &Kafka,
        section: &Section,
        (log, start, last): (MessageLog, Sequence, Last),
        progress: Progress,
        mut sources: Vec<Leased>,
    ) -> Result<Self, Error> {
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        let sources: Vec<_> = sources.into_iter().map(Arc::new).collect();
        Ok(Self {
            kafka: kafka.clone(),
            section: section.clone(),
            takeover: Arc::new(Takeover::new(kafka, (log, start), progress.clone())?),
            progress,
            last,
            sources,
            tasks: JoinSet::new(),
            followed: BTreeMap::new(),
            granted: BTreeSet::new(),
            leases: 1,
            is_known: false,
            grants: 0,
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
        // It goes on until the cursors of the last sources are there, and ends when this is dropped.
        let mut publishing = JoinSet::new();
        for source in &self.sources {
            publishing.spawn(Arc::clone(&self.takeover).publish(Arc::clone(&source.name)));
        }
        let outcome = match stop.run_until_cancelled(self.make_leases()).await {
            Some(Ok(())) => self.hold(&stop).await,
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        self.keep(&BTreeSet::new()).await;
        outcome
    }

    /// Makes the topic ready, with a lease for each source. While Kafka is away it follows what was followed last.
    async fn make_leases(&mut self) -> Result<(), Error> {
        let ready = tokio::spawn(make_leases(self.kafka.clone(), self.sources.len()));
        let mut ready = AbortOnDropHandle::new(ready);
        let alone = Instant::now() + ALONE;
        let mut is_alone = false;
        self.follow_last(self.last.recent(self.section.session_timeout));
        loop {
            tokio::select! {
                ready = &mut ready => {
                    self.leases = ready.map_err(|_panicked| Error::Panicked)??;
                    return Ok(());
                }
                () = sleep_until(alone), if !is_alone => {
                    is_alone = true;
                    self.follow_last(self.last.within(LAST));
                }
            }
        }
    }

    async fn hold(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut membership = Membership::join(&self.kafka, &self.section)?;
        // A group takes a while to form, and at the most the session timeout of a member that was killed.
        let alone = Instant::now() + self.section.session_timeout + ALONE;
        let (mut is_alone, mut noting) = (false, interval(self.section.session_timeout / 10));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.ended(ended);
                }
                _ = noting.tick() => self.note(false),
                () = sleep_until(alone), if !is_alone => {
                    is_alone = true;
                    if self.grants == 0 {
                        self.follow_last(self.last.within(LAST));
                    }
                }
                event = membership.events.recv() => match event {
                    // The thread ends only after this does.
                    None => return Err(Error::Panicked),
                    Some(event) => self.take(event).await,
                },
            }
        }
        // Whoever is still there follows them from now on.
        self.note(true);
        self.keep(&BTreeSet::new()).await;
        membership.leave().await;
        Ok(())
    }

    /// Does what follows from what the group decides.
    async fn take(&mut self, event: Event) {
        match event {
            Event::Trouble(why) => {
                if !self.is_known {
                    for source in self.others() {
                        source.connection.unset(format!("who has its lease is not known: {why}"));
                    }
                }
            }
            Event::Lost => {
                self.is_known = false;
                self.granted.clear();
                tracing::warn!(
                    "kafka is not heard, so that who has which source is not known; those that are followed here are followed on"
                );
            }
            Event::Granted { partitions, of } => {
                self.granted.extend(partitions);
                self.leases = of.filter(|&leases| leases > 0).unwrap_or(self.leases);
                if !std::mem::replace(&mut self.is_known, true) {
                    self.grants += 1;
                }
                let wanted = self.wanted();
                self.keep(&wanted).await;
                for place in wanted {
                    self.follow(place, self.grants);
                }
                self.others().for_each(|source| source.connection.set());
                self.note(false);
            }
            Event::Revoked(partitions, done) => {
                self.granted.retain(|partition| !partitions.contains(partition));
                let wanted = self.wanted();
                self.keep(&wanted).await;
                self.note(false);
                // The thread waits for it.
                let _unheard = done.send(());
            }
        }
    }

    /// The sources whose leases were granted. If there are fewer partitions than sources, some have the same.
    fn wanted(&self) -> BTreeSet<usize> {
        let is_granted = |place: &usize| self.granted.contains(&(place % self.leases));
        (0..self.sources.len()).filter(is_granted).collect()
    }

    /// Those that are not followed here.
    fn others(&self) -> impl Iterator<Item = &Arc<Leased>> {
        let is_other = |(place, _): &(usize, _)| !self.followed.contains_key(place);
        self.sources.iter().enumerate().filter(is_other).map(|(_, source)| source)
    }

    /// Follows these sources without a lease.
    fn follow_last(&mut self, names: Vec<String>) {
        for name in names {
            if let Some(place) = self.sources.iter().position(|one| *one.name == *name) {
                self.follow(place, 0);
            }
        }
    }

    /// Notes what is followed, unless others may have the leases. `has_left`: they may from now on.
    fn note(&self, has_left: bool) {
        if self.is_known {
            let held = self.sources.iter().map(|source| &*source.name);
            self.last.write(held.filter(|name| self.progress.is_held(name)), has_left);
        }
    }

    /// Follows a source that this grant of the group has given to this collector, or none with 0. If it is followed already, the
    /// grant is claimed.
    fn follow(&mut self, place: usize, grant: u64) {
        if let Some(followed) = self.followed.get(&place) {
            followed.grant.send_replace(grant);
            return;
        }
        let (source, takeover) = (Arc::clone(&self.sources[place]), Arc::clone(&self.takeover));
        source.metrics.held.set(1);
        source.connection.unset(format!("{}: taking it over", source.name));
        tracing::info!(source = &*source.name, grant, "follows the source");
        let (stop, (grant, grants)) = (CancellationToken::new(), watch::channel(grant));
        let task = self.tasks.spawn(follow(source, takeover, grants, stop.clone()));
        self.followed.insert(place, Followed { task, stop, grant });
    }

    /// Stops following all but these sources, and waits until what they brought is in Kafka and their cursors are published, no
    /// longer than [`HAND_OVER`].
    async fn keep(&mut self, wanted: &BTreeSet<usize>) {
        let given_up = self.followed.extract_if(.., |place, _| !wanted.contains(place));
        let given_up: Vec<_> = given_up.collect();
        let mut open: BTreeSet<Id> = given_up.iter().map(|(_, one)| one.task.id()).collect();
        for (_, followed) in &given_up {
            followed.stop.cancel();
        }
        let until = Instant::now() + HAND_OVER;
        let all_end = async {
            while !open.is_empty() {
                let ended = self.tasks.join_next_with_id().await;
                let Some(task) = self.ended(ended) else { return };
                open.remove(&task);
            }
        };
        let are_over = timeout_at(until, all_end).await.is_ok();
        for (place, Followed { task, .. }) in given_up {
            task.abort();
            let source = &self.sources[place];
            let settled = async {
                source.intake.written().await;
                self.progress.settled(&source.name).await;
            };
            if timeout_at(until, settled).await.is_err() || !are_over {
                let source = &*source.name;
                tracing::warn!(
                    source,
                    "given up before all of it is in kafka; who follows it now reads that again"
                );
            }
            self.progress.given_up(&source.name);
            source.metrics.held.set(0);
            source.connection.set();
        }
    }

    /// A task has ended; returns which.
    fn ended(&mut self, ended: Option<Result<(Id, End), JoinError>>) -> Option<Id> {
        let task = match ended? {
            Ok((task, _)) => task,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => error.id(),
        };
        // One that ends by itself, because the pipeline is gone, is not followed here any more.
        let is_it = |_: &usize, followed: &mut Followed| followed.task.id() == task;
        for (place, _) in self.followed.extract_if(.., is_it) {
            self.sources[place].metrics.held.set(0);
        }
        Some(task)
    }
}

/// Follows a source until `stop`, and claims each grant of the group.
async fn follow(
    source: Arc<Leased>,
    takeover: Arc<Takeover>,
    mut grants: watch::Receiver<u64>,
    stop: CancellationToken,
) -> End {
    let mut claimed = *grants.borrow_and_update();
    let begin = async {
        if claimed > 0
            && let Ok(resume) = timeout(TAKEOVER, takeover.begin(&source)).await
        {
            return resume;
        }
        claimed = 0;
        takeover.begin_alone(&source).await
    };
    let Some(mut resume) = stop.run_until_cancelled(begin).await else { return End::Stopped };
    loop {
        let own = stop.child_token();
        let mut following = (source.follow)(resume, own.clone());
        let had_by_another = async {
            loop {
                // The sender lives as long as this task.
                let Ok(grant) = grants.wait_for(|grant| *grant > claimed).await.map(|one| *one)
                else {
                    return std::future::pending().await;
                };
                let outcome = takeover.claim(&source).await;
                claimed = grant;
                if let Err(HadByAnother) = outcome {
                    return;
                }
            }
        };
        tokio::select! {
            ended = &mut following => return ended,
            () = had_by_another => {}
        }
        tracing::info!(source = &*source.name, "another collector has come further");
        own.cancel();
        following.await;
        source.intake.written().await;
        match stop.run_until_cancelled(takeover.begin(&source)).await {
            Some(begun) => resume = begun,
            None => return End::Stopped,
        }
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
        return Ok(found);
    }
    // Brokers learn of it one after another.
    let until = Instant::now() + ADDED;
    loop {
        let found = count_leases(&kafka).await?;
        if found >= wanted || Instant::now() >= until {
            return Ok(found);
        }
        sleep(AGAIN).await;
    }
}

async fn count_leases(kafka: &Kafka) -> Result<usize, Error> {
    let mut backoff = Backoff::new(AGAIN, 100 * AGAIN);
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
