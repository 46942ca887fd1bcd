//! The queues between the sources and the journal: a bounded one for each source, emptied in turns.
//!
//! A source pushes what it receives into its [`Intake`] and waits while the queue is full; this is how the pipeline slows
//! it down. A source that is fast cannot keep the messages of another one waiting.

use std::sync::Arc;

use bytes::Bytes;
use common::clock::Clock;
use common::event::identity::{Identity, identify};
use common::event::{Reason, Schema};
use common::message_log::Entry;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::acks::Acks;
use crate::config::{Common, Delivery, Release};
use crate::cursor::{Cursor, Progress};
use crate::metrics::SourceMetrics;
use crate::receipt::Receipt;

/// How many messages of a source may wait for the journal; if there are more, the source waits.
const QUEUE_MESSAGES: usize = 1024;
/// How many bytes of messages of a source may be received and not logged, with what they take besides their payloads; if
/// there are more, the source waits.
const QUEUE_BYTES: u32 = 64 << 20;
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
    pub(crate) message: Message,
    /// Its share of [`QUEUE_BYTES`]. Dropping it makes room for another message.
    pub(crate) share: OwnedSemaphorePermit,
}

/// The error of an intake whose pipeline has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The queue is full.
    Full,
    /// The pipeline is gone.
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
}

/// The queues of all sources.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    /// Whose turn is next.
    next: usize,
    arrived: Arc<Notify>,
    acks: Acks,
    progress: Progress,
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
        identify(payload, &self.schema)
    }

    /// Hands a message to the pipeline, waiting while it is full. If the future is dropped before its end, the message
    /// was not taken.
    ///
    /// # Errors
    /// When the pipeline is gone.
    pub async fn push(&self, message: Message) -> Result<(), Closed> {
        let share = Self::share(&message);
        let share = Arc::clone(&self.bytes).acquire_many_owned(share).await.map_err(|_| Closed)?;
        self.queue.send(Queued { message, share }).await.map_err(|_| Closed)?;
        self.waker.0.notify_one();
        Ok(())
    }

    /// Hands a message to the pipeline if that has room now.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn try_push(&self, message: Message) -> Result<(), NotTaken> {
        let share = Arc::clone(&self.bytes).try_acquire_many_owned(Self::share(&message));
        let share = share.map_err(|_| NotTaken::Full)?;
        self.queue.try_send(Queued { message, share }).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Closed(_) => NotTaken::Closed,
        })?;
        self.waker.0.notify_one();
        Ok(())
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

    /// Whether the source is to bring each message once at most, rather than once at least.
    pub fn is_at_most_once(&self) -> bool {
        self.delivery == Delivery::AtMostOnce
    }

    /// Waits until the journal has written all that was pushed; without a log, until Kafka has it.
    pub async fn written(&self) {
        // The semaphore is never closed.
        let _all = self.bytes.acquire_many(QUEUE_BYTES).await;
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
        let Common { max_event_bytes, delivery, release } = *common;
        let is_leased = self.progress.is_shared(source);
        let source = source.into();
        self.queues.push(Queue { source, messages, metrics, delivery, release, is_leased });
        Intake {
            queue,
            waker: Waker(Arc::clone(&self.arrived)),
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            clock,
            schema: schema.clone(),
            max_event_bytes,
            delivery,
            acks: self.acks.clone(),
        }
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
    pub fn take(&mut self, messages: usize, bytes: usize, mut each: impl FnMut(&Queue, Queued)) {
        let (mut taken, mut size, mut idle) = (0, 0, 0);
        while taken < messages && size < bytes && idle < self.queues.len() {
            self.next %= self.queues.len();
            let queue = &mut self.queues[self.next];
            self.next += 1;
            idle += 1;
            for _ in 0..TURN {
                if taken == messages || size >= bytes {
                    break;
                }
                let Ok(queued) = queue.messages.try_recv() else { break };
                taken += 1;
                size += queued.message.payload.len();
                idle = 0;
                each(queue, queued);
            }
        }
        self.queues.retain(|queue| !queue.messages.is_closed() || !queue.messages.is_empty());
    }

    /// Resolves when something may have arrived, or a source has ended.
    pub fn some(&self) -> impl Future<Output = ()> + use<> {
        let arrived = Arc::clone(&self.arrived);
        async move { arrived.notified().await }
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

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::metrics::Metrics;

    fn queues(sources: &[&str]) -> (Queues, Vec<Intake>) {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let mut queues = Queues::default();
        let intakes = sources
            .iter()
            .map(|name| {
                queues.add(
                    name,
                    &Schema::default(),
                    &Common::default(),
                    Clock::default(),
                    metrics.of_source(name),
                )
            })
            .collect();
        (queues, intakes)
    }

    fn message(payload: &str) -> Message {
        Message {
            payload: payload.to_owned().into(),
            received_ms: 0,
            identity: Err(Reason::NotJson),
            cursor: None,
            receipt: None,
        }
    }

    fn taken(queues: &mut Queues, messages: usize, bytes: usize) -> Vec<String> {
        let mut taken = Vec::new();
        queues.take(messages, bytes, |queue, queued| {
            let payload = String::from_utf8(queued.message.payload.to_vec()).unwrap();
            taken.push(format!("{}{payload}", queue.source));
        });
        taken
    }

    #[tokio::test]
    async fn a_source_with_many_messages_does_not_keep_another_one_waiting() {
        let (mut queues, intakes) = queues(&["a", "b"]);
        for _ in 0..1000 {
            intakes[0].push(message("")).await.unwrap();
        }
        intakes[1].push(message("")).await.unwrap();
        let first = taken(&mut queues, 100, usize::MAX);
        assert_eq!(first.len(), 100);
        assert_eq!(first.iter().filter(|source| **source == "b").count(), 1);
        let mut seen = first.len();
        while seen < 1001 {
            let next = taken(&mut queues, 100, usize::MAX);
            assert!(!next.is_empty());
            seen += next.len();
        }
    }

    #[tokio::test]
    async fn the_order_of_a_source_is_kept_and_bytes_end_a_batch() {
        let (mut queues, intakes) = queues(&["a"]);
        for number in 0..9 {
            intakes[0].push(message(&number.to_string())).await.unwrap();
        }
        assert_eq!(taken(&mut queues, 9, 3), ["a0", "a1", "a2"]);
        assert_eq!(taken(&mut queues, 4, 9), ["a3", "a4", "a5", "a6"]);
        assert_eq!(taken(&mut queues, 9, 9), ["a7", "a8"]);
        assert_eq!(taken(&mut queues, 9, 9), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_source_that_does_not_wait_is_told_when_there_is_no_room() {
        let (mut queues, intakes) = queues(&["a"]);
        for _ in 0..QUEUE_MESSAGES {
            intakes[0].try_push(message("")).unwrap();
        }
        assert_eq!(intakes[0].try_push(message("")), Err(NotTaken::Full));
        taken(&mut queues, 1, 1);
        intakes[0].try_push(message("x")).unwrap();
        drop(queues);
        assert_eq!(intakes[0].try_push(message("")), Err(NotTaken::Closed));
    }

    #[tokio::test]
    async fn messages_without_a_payload_have_a_share_of_the_queue_too() {
        let (mut queues, intakes) = queues(&["a"]);
        // As without a log: they keep their shares until Kafka has them.
        let mut shares = Vec::new();
        let all = QUEUE_BYTES as usize / Entry::OVERHEAD_BYTES;
        while shares.len() <= all {
            let pushed = tokio::task::unconstrained(intakes[0].push(message("")));
            tokio::select! {
                biased;
                pushed = pushed => pushed.unwrap(),
                () = std::future::ready(()) => break,
            }
            queues.take(1, 1, |_, queued| shares.push(queued.share));
        }
        // The next one has to wait.
        assert_eq!(shares.len(), all);
    }

    #[tokio::test]
    async fn the_end_of_the_last_source_wakes_whoever_waits_for_messages() {
        let (mut queues, mut intakes) = queues(&["a", "b"]);
        intakes.pop();
        intakes[0].push(message("x")).await.unwrap();
        queues.some().await;
        assert!(!queues.are_closed());
        let waiting = tokio::spawn(queues.some());
        drop(intakes);
        waiting.await.unwrap();
        assert_eq!(taken(&mut queues, 9, 9), ["ax"], "what was pushed is there");
        assert!(queues.are_closed());
    }
}
