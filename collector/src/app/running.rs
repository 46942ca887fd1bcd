//! The sources while they run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::source::End;

/// The sources that run.
#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<Result<End, Error>>,
    /// The names of those that have not ended, by their tasks.
    pub(super) names: BTreeMap<Id, Arc<str>>,
}

impl Running {
    pub(super) fn spawn(
        &mut self,
        name: &Arc<str>,
        source: impl Future<Output = Result<End, Error>> + Send + 'static,
    ) {
        let name = Arc::clone(name);
        let task = self.tasks.spawn(source);
        self.names.insert(task.id(), name);
    }

    /// Waits until all sources have ended, and gives up those that have not when `deadline` is cancelled. If one fails, the
    /// others are told to end, because a collector that goes on without one of its sources looks healthy and is not.
    pub(super) async fn ended(
        &mut self,
        stop: &CancellationToken,
        deadline: &CancellationToken,
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.tasks.join_next_with_id() => ended,
                () = deadline.cancelled() => {
                    let sources: Vec<_> = self.names.values().collect();
                    tracing::warn!(
                        ?sources,
                        "given up, because they did not end in time; what they hold is not acknowledged, and comes again where the source can"
                    );
                    self.tasks.abort_all();
                    return outcome;
                }
            };
            let (task, ended) = match ended {
                None => return outcome,
                Some(Ok(ended)) => ended,
                Some(Err(error)) => (error.id(), Err(Error::Panicked)),
            };
            let source = self.names.remove(&task);
            tracing::debug!(?source, ?ended, "a source has ended");
            if let Err(error) = ended {
                stop.cancel();
                outcome = Err(error);
            }
        }
    }
}
