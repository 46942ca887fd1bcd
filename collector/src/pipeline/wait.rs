//! How the threads of the pipeline wait, and why they end.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Why a thread ends.
#[derive(Debug)]
pub(super) enum Halt {
    /// The drain deadline came: what is not delivered stays in the log.
    Deadline,
    /// An error that trying again cannot solve.
    Failed(Error),
}

/// The result of a step of a thread.
pub(super) type Step<T = ()> = Result<T, Halt>;

/// Lets a thread outside the runtime block on futures.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    runtime: Handle,
    deadline: CancellationToken,
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Waiter {
    /// Waits on `runtime`. Once `deadline` is cancelled every wait ends at once.
    pub(super) const fn new(runtime: Handle, deadline: CancellationToken) -> Self {
        Self { runtime, deadline }
    }

    /// A token that is cancelled at the drain deadline.
    pub(super) const fn deadline(&self) -> &CancellationToken {
        &self.deadline
    }

    /// Ends a thread that does not wait, once `deadline` is cancelled.
    pub(super) fn check(&self) -> Step {
        if self.deadline.is_cancelled() { Err(Halt::Deadline) } else { Ok(()) }
    }

    /// Runs `work` on a thread of its own.
    pub(super) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn_blocking(work)
    }

    /// Blocks this thread until `future` is ready or the drain deadline comes.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Step<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.deadline.cancelled() => Err(Halt::Deadline),
                output = future => Ok(output),
            }
        })
    }

    /// Blocks this thread for `delay`, or until the drain deadline.
    pub(super) fn pause(&self, delay: Duration) -> Step {
        // The timer is created inside the future, because that is only possible inside the runtime.
        self.wait(async { tokio::time::sleep(delay).await })
    }
}
