//! The queues between the sources and the journal: a bounded one for each source, emptied in turns.
//!
//! A source pushes what it receives into its [`Intake`] and waits while the queue is full; this is how the pipeline slows
//! it down. A source that is fast cannot keep the messages of another one waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::clock::Clock;
use common::event::control::Control;
use common::event::identity::{Identity, identify};
use common::event::{Reason, Schema};
use common::message_log::Entry;
use common::result::missed::Interval;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::acks::Acks;
use crate::config::{Common, Delivery, Release};
use crate::cursor::{Cursor, Progress};
use crate::ledger::LeftOut;
use crate::metrics::SourceMetrics;
use crate::missed::Missed;
use crate::pace::Pace;
use crate::receipt::Receipt;
use crate::shedding::{Keeping, Load, Shedding};

#[cfg(test)]
mod tests;

/// How many messages of a source may wait for the journal; if there are more, the source waits.
const QUEUE_MESSAGES: usize = 1024;
/// How many bytes of messages of a source may be received and not logged, with what they take besides their payloads; if
/// there are more, the source waits.
const QUEUE_BYTES: u32 = 64 << 20;
/// How long a full queue is waited for where messages are dropped in the end.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is asked that what is left out is written, by whoever waits for that.
const HURRY: Duration = Duration::from_millis(100);
/// How many messages are taken from one queue before the next one has its turn.
const TURN: usize = 64;

/// A message as received.
#[derive(Debug)]
pub struct Message {
    /// What was received, byte for byte.
    pub payload: Bytes,
    /// When it was received, in milliseconds since 1970.
    pub received_ms: i64,
    /// Who the event is, or why the message cannot be one; see [`Intake::identify`].
    pub identity: Result<Identity, Reason>,
    /// Where the source resumes after this message, if that has changed.
    pub cursor: Option<Cursor>,
    /// For a source whose peer waits until the message is safe.
    pub receipt: Option<Receipt>,
}

/// A message in the queue.
#[derive(Debug)]
pub struct Queued {
    pub(crate) sifted: Sifted,
    /// Its share of [`QUEUE_BYTES`]. Dropping it makes room for another message.
    pub(crate) share: OwnedSemaphorePermit,
}

/// The error of an intake whose pipeline has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// A message, and why it is left out if it is.
#[derive(Debug)]
pub struct Sifted {
    pub(crate) message: Message,
    pub(crate) left_out: Option<LeftOut>,
}

/// What became of a message that does not wait.
enum Tried {
    Taken,
    Full(Sifted),
    Closed,
}

/// A source's end of its queue.
#[derive(Debug, Clone)]
pub struct Intake {
    // Closed before the journal is woken, because fields are dropped in this order.
    queue: mpsc::Sender<Queued>,
    waker: Waker,
    bytes: Arc<Semaphore>,
    clock: Clock,
    schema: Schema,
    max_event_bytes: usize,
    delivery: Delivery,
    acks: Acks,
    missed: Missed,
    keep: Option<Keeping>,
    pace: Option<Arc<Mutex<Pace>>>,
    shedding: Option<Shedding>,
    /// Whether the queue had no room for the last message that was offered.
    is_full: Arc<AtomicBool>,
}

/// Wakes the journal, also when it is dropped.
#[derive(Debug, Clone)]
struct Waker(Arc<Notify>);

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The journal's end of a queue.
#[derive(Debug)]
pub struct Queue {
    pub(crate) source: Arc<str>,
    pub(crate) messages: mpsc::Receiver<Queued>,
    pub(crate) metrics: SourceMetrics,
    pub(crate) delivery: Delivery,
    pub(crate) release: Release,
    /// Whether other collectors may follow the source too, so that its cursors are published.
    pub(crate) is_leased: bool,
    pub(crate) missed: Missed,
}

/// The queues of all sources.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    /// What is to be written of what is missing.
    missing: Vec<Interval>,
    load: Load,
    /// Whose turn is next.
    next: usize,
    arrived: Arc<Notify>,
    acks: Acks,
    progress: Progress,
}

impl Queued {
    /// Whether nobody waits for the message any more, so that it is not taken.
    pub(crate) fn is_given_up(&self) -> bool {
        self.sifted.message.receipt.as_ref().is_some_and(Receipt::is_given_up)
    }
}

// === impl Intake ===

impl Intake {
    /// Checks that `payload` is an event as its source's section says, and reads its key, id and time.
    ///
    /// # Errors
    /// The reason why it is not an event.
    pub fn identify(&self, payload: &[u8]) -> Result<Identity, Reason> {
        if payload.len() > self.max_event_bytes {
            return Err(Reason::TooLarge);
        }
        let identity = identify(payload, &self.schema)?;
        // Only a collector speaks for itself.
        match Control::read(identity.key.as_deref().map(str::as_bytes), payload) {
            Some(_) => Err(Reason::BadId),
            None => Ok(identity),
        }
    }

    /// Hands a message to the pipeline, waiting while it is full, unless the source sheds messages. If the future is dropped
    /// before its end, the message was not taken.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn push(&self, message: Message) -> Result<(), Closed> {
        let sifted = self.sifted(message);
        if self.shedding.is_some() {
            return self.push_or_drop(sifted, LeftOut::Shed).await;
        }
        if sifted.left_out.is_none() {
            self.wait_for_turn().await;
        }
        self.wait_and_push(sifted).await
    }

    /// Hands a message to the pipeline if that has room, or has it before long; else it is dropped.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn offer(&self, message: Message) -> Result<(), Closed> {
        let sifted = self.sifted(message);
        let why = if self.shedding.is_some() { LeftOut::Shed } else { LeftOut::Dropped };
        self.push_or_drop(sifted, why).await
    }

    /// Waits until the next message may be taken, if the source has a rate.
    async fn wait_for_turn(&self) {
        let due = self.pace().and_then(|mut pace| pace.next(Instant::now()));
        if let Some(due) = due {
            sleep_until(due).await;
        }
    }

    fn pace(&self) -> Option<MutexGuard<'_, Pace>> {
        Some(self.pace.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn push_or_drop(&self, sifted: Sifted, why: LeftOut) -> Result<(), Closed> {
        let is_early = || self.pace().is_some_and(|mut pace| !pace.is_due(Instant::now()));
        if sifted.left_out.is_none() && is_early() {
            if !self.spares(&sifted) {
                self.missed.leave_out(why, sifted.message.received_ms, 1);
                return Ok(());
            }
            self.wait_for_turn().await;
        }
        let sifted = match self.try_push(sifted) {
            Tried::Taken => {
                self.is_full.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Tried::Closed => return Err(Closed),
            Tried::Full(sifted) => sifted,
        };
        let (why, received_ms) = (sifted.left_out.unwrap_or(why), sifted.message.received_ms);
        if sifted.left_out.is_none() && self.spares(&sifted) {
            return self.wait_and_push(sifted).await;
        }
        if !self.is_full.load(Ordering::Relaxed) {
            match timeout(PATIENCE, self.wait_and_push(sifted)).await {
                Ok(pushed) => return pushed,
                Err(_elapsed) => tracing::warn!(
                    source = self.missed.source(),
                    "the queue is full; messages are dropped until there is room"
                ),
            }
            self.is_full.store(true, Ordering::Relaxed);
        }
        self.missed.leave_out(why, received_ms, 1);
        Ok(())
    }

    /// Whether the message is never dropped.
    fn spares(&self, sifted: &Sifted) -> bool {
        let spares = |shedding: &Shedding| shedding.spares(&sifted.message.payload);
        self.shedding.as_ref().is_some_and(spares)
    }

    async fn wait_and_push(&self, sifted: Sifted) -> Result<(), Closed> {
        let share = Self::share(&sifted.message);
        let share = Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| Closed)?;
        self.queue.send(Queued { sifted, share }).await.map_err(|_| Closed)?;
        self.waker.0.notify_one();
        Ok(())
    }

    fn try_push(&self, sifted: Sifted) -> Tried {
        let share = Self::share(&sifted.message);
        let Ok(share) = Arc::clone(&self.bytes).try_acquire_many_owned(share) else {
            return Tried::Full(sifted);
        };
        match self.queue.try_send(Queued { sifted, share }) {
            Ok(()) => {
                self.waker.0.notify_one();
                Tried::Taken
            }
            Err(TrySendError::Full(Queued { sifted, .. })) => Tried::Full(sifted),
            Err(TrySendError::Closed(_)) => Tried::Closed,
        }
    }

    /// Whether the message comes into the log. If not, its payload is not needed any more: it only goes through the queue so
    /// that its cursor and its receipt keep their place.
    fn sifted(&self, mut message: Message) -> Sifted {
        let is_filtered =
            |keep: &Keeping| message.identity.is_ok() && !keep.keeps(&message.payload);
        let sheds = |shedding: &Shedding| shedding.takes(&message.payload, rand::random());
        let left_out = if self.keep.as_ref().is_some_and(is_filtered) {
            Some(LeftOut::Filtered)
        } else if self.shedding.as_ref().is_some_and(sheds) {
            Some(LeftOut::Shed)
        } else {
            None
        };
        if left_out.is_some() {
            message.payload = Bytes::new();
        }
        Sifted { message, left_out }
    }

    /// Whether the pipeline has room for these messages now, which nobody but this source can take.
    pub fn has_room(&self, messages: &[Message]) -> bool {
        let bytes: usize = messages.iter().map(|message| Self::share(message) as usize).sum();
        self.queue.capacity() >= messages.len() && self.bytes.available_permits() >= bytes
    }

    /// The part of [`QUEUE_BYTES`] that the message takes.
    fn share(message: &Message) -> u32 {
        let bytes = message.payload.len() + Entry::OVERHEAD_BYTES;
        u32::try_from(bytes).unwrap_or(QUEUE_BYTES).min(QUEUE_BYTES)
    }

    /// What is missing of the source.
    pub const fn missed(&self) -> &Missed {
        &self.missed
    }

    /// The same for a source that keeps to its rate itself.
    #[must_use]
    pub fn without_rate_limit(self) -> Self {
        Self { pace: None, ..self }
    }

    /// Whether the source is to bring each message once at most, rather than once at least.
    pub fn is_at_most_once(&self) -> bool {
        self.delivery == Delivery::AtMostOnce
    }

    /// Waits until the journal has written all that was pushed, with the cursors; without a log, until Kafka has it.
    pub async fn written(&self) {
        let all = self.bytes.acquire_many(QUEUE_BYTES);
        tokio::pin!(all);
        loop {
            // What is taken from the queue after a look at this has to be hurried again.
            self.missed.hurry();
            if timeout(HURRY, &mut all).await.is_ok() {
                // The semaphore is never closed.
                return;
            }
        }
    }

    /// What became of what was pushed.
    pub const fn acks(&self) -> &Acks {
        &self.acks
    }

    /// The time that a message gets that is received now, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Resolves when the pipeline is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

// === impl Queues ===

impl Queues {
    /// Adds a queue for the source of this name. Returns the source's end of it.
    pub fn add(
        &mut self,
        source: &str,
        schema: &Schema,
        common: &Common,
        clock: Clock,
        metrics: SourceMetrics,
    ) -> Intake {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES);
        let Common { max_event_bytes, delivery, release, .. } = *common;
        let (keep, shed) = (common.keep.as_ref(), common.shed.as_ref());
        let is_leased = self.progress.is_shared(source);
        let source = source.into();
        let missed = Missed::of(&source, metrics.clone(), clock, Arc::clone(&self.arrived));
        let queue_of = Queue {
            source,
            messages,
            metrics,
            delivery,
            release,
            is_leased,
            missed: missed.clone(),
        };
        self.queues.push(queue_of);
        Intake {
            queue,
            waker: Waker(Arc::clone(&self.arrived)),
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            clock,
            schema: schema.clone(),
            max_event_bytes,
            delivery,
            acks: self.acks.clone(),
            missed,
            keep: keep.map(Keeping::new),
            pace: common
                .rate_limit
                .map(|rate| Arc::new(Mutex::new(Pace::new(rate, Instant::now())))),
            shedding: shed.map(|shed| Shedding::new(shed, self.load.clone())),
            is_full: Arc::default(),
        }
    }

    /// How full the log is, which the journal says.
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// What becomes of what the sources push.
    pub const fn acks(&self) -> &Acks {
        &self.acks
    }

    /// How far the sources have come that are leased.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes the messages that have arrived, a few of each source in turns, until it has this many or this many bytes. The
    /// last message may take it above the number of bytes. Hands each to `each` with the queue that it was in.
    pub fn take(
        &mut self,
        messages: usize,
        bytes: usize,
        now_ms: i64,
        mut each: impl FnMut(&Queue, Queued),
    ) {
        let (mut taken, mut size, mut idle) = (0, 0, 0);
        while taken < messages && size < bytes && idle < self.queues.len() {
            self.next %= self.queues.len();
            let queue = &mut self.queues[self.next];
            self.next += 1;
            idle += 1;
            let (mut shed, mut filtered) = (0, 0);
            for _ in 0..TURN {
                if taken == messages || size >= bytes {
                    break;
                }
                let Ok(queued) = queue.messages.try_recv() else { break };
                taken += 1;
                idle = 0;
                size += queued.sifted.message.payload.len();
                match queued.sifted.left_out.filter(|_| !queued.is_given_up()) {
                    Some(LeftOut::Shed) => shed += 1,
                    Some(LeftOut::Filtered) => filtered += 1,
                    Some(LeftOut::Dropped) | None => {}
                }
                each(queue, queued);
            }
            for (why, messages) in [(LeftOut::Shed, shed), (LeftOut::Filtered, filtered)] {
                if messages > 0 {
                    queue.missed.leave_out(why, now_ms, messages);
                }
            }
        }
        let missing = &mut self.missing;
        self.queues.retain(|queue| {
            let has_ended = queue.messages.is_closed() && queue.messages.is_empty();
            // After the messages, see `missed`.
            missing.extend(queue.missed.take(now_ms, has_ended));
            !has_ended
        });
    }

    /// All that sources have told to be missing, whether it is due or not.
    pub fn all_missing(&mut self) -> Vec<Interval> {
        let mut missing = self.missing();
        missing.extend(self.queues.iter().flat_map(|queue| queue.missed.take(0, true)));
        missing
    }

    /// What sources have told to be missing by the time of the last [`take`](Self::take).
    pub fn missing(&mut self) -> Vec<Interval> {
        std::mem::take(&mut self.missing)
    }

    /// Resolves when something may have arrived, or a source has ended.
    pub fn some(&self) -> impl Future<Output = ()> + use<> {
        let arrived = Arc::clone(&self.arrived);
        async move { arrived.notified().await }
    }

    /// Wakes whoever waits for [`some`](Self::some).
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.arrived)
    }

    /// Whether all sources have ended and nothing of them is left.
    pub fn are_closed(&self) -> bool {
        self.queues.is_empty()
    }

    /// The queues themselves.
    #[cfg(test)]
    pub(crate) fn into_queues(self) -> Vec<Queue> {
        self.queues
    }
}
