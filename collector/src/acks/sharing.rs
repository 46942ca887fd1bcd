//! Shares what became of acknowledged requests with other collectors, as long as it runs.

use std::thread;
use std::time::Duration;

use common::kafka::Kafka;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Acks, publication, reading};
use crate::error::Error;

/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The task that says what this collector knows, and the thread that hears what others say. They are no reason for not being
/// ready, and hold nothing up: while Kafka is away, others are told later. Dropping it ends them.
#[derive(Debug)]
pub struct Sharing {
    stop: CancellationToken,
    publishing: JoinHandle<()>,
    /// Its other end is dropped when the thread ends.
    reading: oneshot::Receiver<()>,
    _ends: DropGuard,
}

impl Acks {
    /// Begins to share what becomes of requests, if there is a source that has acknowledgements. Call it after
    /// [`begin`](Self::begin), inside a runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn share(&self, kafka: &Kafka) -> Result<Option<Sharing>, Error> {
        if !self.own().book.follows_any() {
            return Ok(None);
        }
        let stop = CancellationToken::new();
        let rotation = kafka.watch_credentials(stop.child_token());
        let publishing =
            publication::publish(kafka.clone(), self.clone(), rotation.clone(), stop.clone());
        let publishing = tokio::spawn(publishing);
        let (kafka, acks, stopped) = (kafka.clone(), self.clone(), stop.clone());
        let (reads, reading) = oneshot::channel();
        let read = move || {
            reading::read(&kafka, &acks, rotation, &stopped);
            drop(reads);
        };
        thread::Builder::new().name("acks".to_owned()).spawn(read).map_err(Error::Thread)?;
        Ok(Some(Sharing { _ends: stop.clone().drop_guard(), stop, publishing, reading }))
    }
}

impl Sharing {
    /// Says the last word, if Kafka takes it within a second, and ends.
    pub async fn close(mut self) {
        self.stop.cancel();
        let ended = async { tokio::join!(&mut self.publishing, &mut self.reading) };
        if tokio::time::timeout(LAST_WORD, ended).await.is_err() {
            self.publishing.abort();
        }
    }
}
