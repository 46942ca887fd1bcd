//! The feed. It has a thread of its own, because at full speed it uses a whole core while supervision must go on.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::no_events::FirstLine;
use super::{Error, ports};
use crate::simulate::{self, Feed, Handle, Pace, Progress};

#[cfg(test)]
mod tests;

/// A feed that is being served.
pub struct RunningFeed {
    _thread: Thread,
    handle: Handle,
    id: String,
    recorded: Option<PathBuf>,
    shutdown: CancellationToken,
    truth: Option<PathBuf>,
}

impl RunningFeed {
    /// Serves `feed` on a free port. [`write_truth`](Self::write_truth) will write to the file `truth`.
    ///
    /// # Errors
    /// When there is no free port, or the feed cannot be served.
    pub async fn start(feed: Feed, pace: Pace, truth: Option<PathBuf>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("feed")
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let thread = Thread(Some(runtime));
        let recorded = feed.recorded().map(Path::to_owned);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let served = thread.spawn(async move {
            let [port] = ports::free().map_err(Error::Ports)?;
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(Error::Ports)?;
            Ok::<_, Error>(simulate::serve(feed, pace, listener, stop).await?)
        });
        let handle = served.await.map_err(|error| Error::Thread(error.into()))??;
        let id = format!("{:016x}", rand::random::<u64>());
        Ok(Self { _thread: thread, handle, id, recorded, shutdown, truth })
    }

    /// Where the collector connects.
    pub fn url(&self) -> String {
        self.handle.url()
    }

    /// Identifies this feed among all feeds. A position in another feed, even one of the same recording, is not valid
    /// here, because each feed begins again with the first line.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.handle.progress()
    }

    /// Waits until the last line was sent.
    ///
    /// # Errors
    /// When the recording cannot be read to its end.
    pub async fn through(&self) -> Result<(), Error> {
        Ok(self.handle.exhausted().await?)
    }

    /// The lines sent so far: a map from content hash to number of copies.
    ///
    /// # Errors
    /// When the recording cannot be read again.
    pub async fn lines(&self) -> Result<HashMap<u64, u64>, Error> {
        Ok(self.handle.expected().await?)
    }

    /// The name of the recording that it serves, as it was given.
    pub fn recorded(&self) -> Option<&Path> {
        self.recorded.as_deref()
    }

    /// What the first line looks like; `None` if there is none.
    ///
    /// # Errors
    /// When the recording cannot be read again.
    pub async fn first_line(&self) -> Result<Option<FirstLine>, Error> {
        Ok(self.handle.first_line().await?.map(|line| FirstLine::of(&line)))
    }

    /// Writes the truth about what was sent so far, if a file was named.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn write_truth(&self) -> Result<(), Error> {
        let Some(path) = self.truth.clone() else { return Ok(()) };
        let truth = self.handle.truth().await?;
        let failed = |source| Error::Truth { path: path.clone(), source };
        let text = serde_json::to_string(&truth).map_err(|error| failed(error.into()))?;
        std::fs::write(&path, text + "\n").map_err(failed)
    }

    /// Closes the connections of its clients, and waits for that.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.handle.stopped().await;
    }
}

/// A runtime that may be dropped inside another one.
struct Thread(Option<Runtime>);

impl Thread {
    fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        #[expect(clippy::expect_used, reason = "only dropping takes it")]
        self.0.as_ref().expect("the runtime").spawn(work)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Simply dropping a runtime would block, which is not allowed inside another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
