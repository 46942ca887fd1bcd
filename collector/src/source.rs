//! Sources: each takes messages from somewhere and pushes them into its [`Intake`].

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Kind, Source as Section};
use crate::error::Error;
use crate::intake::{Cursor, Intake};
use crate::metrics::SourceMetrics;
use connection::Connection;

pub mod connection;
pub mod framing;
pub mod resume_point;
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

/// Starts the source of this section as one of `tasks`.
///
/// # Errors
/// When it cannot be used as it is configured.
pub fn start(
    tasks: &mut JoinSet<End>,
    name: &Arc<str>,
    section: &Section,
    (intake, resume): (Intake, Option<Cursor>),
    metrics: SourceMetrics,
    connection: Connection,
    stop: CancellationToken,
) -> Result<(), Error> {
    match section.kind {
        Kind::Websocket => {
            let source = websocket::Websocket::new(name, section, metrics, connection)?;
            tasks.spawn(source.run(intake, resume, stop));
        }
    }
    Ok(())
}
