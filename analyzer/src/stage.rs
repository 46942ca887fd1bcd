//! The two stages of the analyzer, each on a thread: [`tally`] counts partitions of the raw topic, [`merge`]
//! combines their partials into results. They communicate only through Kafka, so that a partition and a query
//! may be on different machines.

use std::any::Any;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

pub mod context;
mod exchange;
pub mod merge;
pub mod tally;

/// A stage that runs on its thread.
#[derive(Debug)]
pub struct Running {
    stage: &'static str,
    /// Closes when the thread ends, however it ends.
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Starts `body` on a thread called `stage`. An error after `stop` was cancelled is only logged, because the
    /// next start does what this one could not finish.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(
        stage: &'static str,
        stop: CancellationToken,
        body: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (alive, ended) = oneshot::channel();
        let work = move || {
            let _alive: oneshot::Sender<()> = alive;
            match body() {
                Err(error) if stop.is_cancelled() => {
                    tracing::warn!(stage, %error, "stopped before everything was sent; the next start will send it");
                    Ok(())
                }
                outcome => outcome,
            }
        };
        let thread = thread::Builder::new()
            .name(stage.to_owned())
            .spawn(work)
            .map_err(|source| Error::Thread { stage, source })?;
        Ok(Self { stage, ended, thread })
    }

    /// Waits until the stage has ended.
    ///
    /// # Errors
    /// Why the stage failed; a panic is an error too.
    pub async fn outcome(self) -> Result<(), Error> {
        // Nothing is ever sent: the error that the sender was dropped says that the thread has ended.
        let _closed = self.ended.await;
        self.thread.join().unwrap_or_else(|panic| {
            Err(Error::Panicked { stage: self.stage, message: message_of(panic.as_ref()) })
        })
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_that_panics_ends_with_an_error_that_has_its_message() {
        let running =
            Running::start("tally", CancellationToken::new(), || panic!("slot {} is missing", 3))
                .unwrap();
        let error = running.outcome().await.unwrap_err();
        assert!(error.to_string().contains("slot 3 is missing"), "{error}");
    }

    #[tokio::test]
    async fn a_stage_that_stops_ends_without_an_error() {
        assert!(
            Running::start("merge", CancellationToken::new(), || Ok(()))
                .unwrap()
                .outcome()
                .await
                .is_ok()
        );
    }
}
