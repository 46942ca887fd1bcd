//! How the writer thread waits, and why it goes no further.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Why the writer thread goes no further.
#[derive(Debug)]
pub(super) enum Halt {
    /// The drain deadline came: what is not delivered stays in the log.
    Deadline,
    /// What trying again cannot mend.
    Failed(Error),
}

/// What a step of the writer thread gives.
pub(super) type Step<T = ()> = Result<T, Halt>;

/// Waits on a thread of its own for what happens in the runtime.
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
    /// Waits with `runtime`, for nothing any longer once `deadline` is cancelled.
    pub(super) const fn new(runtime: Handle, deadline: CancellationToken) -> Self {
        Self { runtime, deadline }
    }

    /// Cancelled at the drain deadline.
    pub(super) const fn deadline(&self) -> &CancellationToken {
        &self.deadline
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

    /// Blocks this thread for so long, or until the drain deadline.
    pub(super) fn pause(&self, delay: Duration) -> Step {
        // A timer can only be made inside the runtime.
        self.wait(async { tokio::time::sleep(delay).await })
    }
}
