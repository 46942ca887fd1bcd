//! The feed, on a thread of its own: at full speed it fills a core, and supervision must go on.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Error, ports};
use crate::simulate::{self, Feed, Handle, Pace, Progress};

/// A feed that is being served.
pub struct RunningFeed {
    runtime: Option<Runtime>,
    handle: Handle,
    id: String,
    shutdown: CancellationToken,
    truth: Option<PathBuf>,
}

impl RunningFeed {
    /// Serves `feed` on a free port; the truth goes to the file `truth` in the end.
    ///
    /// # Errors
    /// When there is no port, or the feed refuses.
    pub async fn start(feed: Feed, pace: Pace, truth: Option<PathBuf>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("feed")
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let served = runtime.spawn(async move {
            let [port] = ports::free().map_err(Error::Ports)?;
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(Error::Ports)?;
            Ok::<_, Error>(simulate::serve(feed, pace, listener, stop).await?)
        });
        let handle = served.await.map_err(|error| Error::Thread(error.into()))??;
        let id = format!("{:016x}", rand::random::<u64>());
        Ok(Self { runtime: Some(runtime), handle, id, shutdown, truth })
    }

    /// Where the collector connects.
    pub fn url(&self) -> String {
        self.handle.url()
    }

    /// Tells this feed from every other one: each begins with its first line, so that a position in
    /// another one, even of the same recording, says nothing about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far it is.
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

    /// The lines sent so far, content hash to copies.
    ///
    /// # Errors
    /// When the recording cannot be read again.
    pub async fn lines(&self) -> Result<HashMap<u64, u64>, Error> {
        Ok(self.handle.expected().await?)
    }

    /// Writes the truth about what was sent so far, if that is wanted.
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

    /// Lets its clients go.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.handle.stopped().await;
    }
}

impl Drop for RunningFeed {
    fn drop(&mut self) {
        // A runtime cannot be dropped within another one, since that would block it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
