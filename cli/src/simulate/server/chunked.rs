//! Lines as chunked HTTP, each ended by `\n`.

use futures_util::stream::{self, Stream};
use hyper::body::{Bytes, Frame};
use tokio_util::sync::CancellationToken;

use crate::simulate::Error;
use crate::simulate::audience::{Batch, Listener};

/// Why a chunked answer ends without its last chunk.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Cut {
    #[error("cut on purpose, because of --break-every")]
    OnPurpose,
    #[error(transparent)]
    Feed(#[from] Error),
}

/// The body of an answer: one chunk for each batch, until `shutdown`.
pub(super) fn lines(
    listener: Listener,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Frame<Bytes>, Cut>> + Send {
    stream::unfold(Some((listener, false)), move |state| {
        let shutdown = shutdown.clone();
        async move {
            let (mut listener, cut) = state?;
            if cut {
                // When a body is not ready, hyper writes what it has; when a body fails, hyper drops it. So it gets the
                // chance to write first.
                tokio::task::yield_now().await;
                return Some((Err(Cut::OnPurpose), None));
            }
            match shutdown.run_until_cancelled(listener.next_batch()).await? {
                Ok(batch) => Some((Ok(Frame::data(joined(&batch))), Some((listener, batch.cut)))),
                Err(error) => Some((Err(error.into()), None)),
            }
        }
    })
}

fn joined(batch: &Batch) -> Bytes {
    let mut chunk = Vec::with_capacity(batch.lines.iter().map(|line| line.bytes.len() + 1).sum());
    for line in &batch.lines {
        chunk.extend_from_slice(&line.bytes);
        chunk.push(b'\n');
    }
    if batch.cut {
        let last = batch.lines.last().map_or(0, |line| line.bytes.len() + 1);
        chunk.truncate(chunk.len() - last.div_ceil(2));
    }
    chunk.into()
}
