//! Sources: each takes messages from somewhere and pushes them into its [`Intake`].

use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::intake::Intake;

pub mod connection;
pub mod dial;
pub mod feed;
pub mod file;
pub mod framing;
pub mod http_client;
pub mod http_push;
pub mod http_stream;
pub mod kafka;
pub mod long_poll;
pub mod mqtt;
pub mod request;
pub mod resume_point;
mod splitter;
pub mod sse;
pub mod udp;
pub mod websocket;

/// Why a source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// The pipeline is gone.
    Closed,
}

/// Something that messages come from.
pub trait Source: Send + 'static {
    /// Takes messages in until `stop`, or until the pipeline ends. `resume` is the cursor of the last message that was
    /// logged; `None` if the source was never connected to.
    fn run(
        self,
        intake: Intake,
        resume: Option<Cursor>,
        stop: CancellationToken,
    ) -> impl Future<Output = End> + Send;
}
