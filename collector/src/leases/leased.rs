//! A source that is followed by one of several collectors.

use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cursor::Cursor;
use crate::intake::Intake;
use crate::metrics::LeaseMetrics;
use crate::source::End;
use crate::source::connection::Connection;

/// Begins to follow a source at a cursor, until the token is cancelled.
pub type Follow = Box<
    dyn Fn(Option<Cursor>, CancellationToken) -> Pin<Box<dyn Future<Output = End> + Send>>
        + Send
        + Sync,
>;

/// A source that is followed by whoever has its lease.
pub struct Leased {
    /// Its name.
    pub name: Arc<str>,
    /// Which feed its cursors are of.
    pub feed: String,
    /// Its queue, which stays open while nobody pushes into it here.
    pub intake: Intake,
    /// Whether it is ready, which it is also if another collector has it.
    pub connection: Connection,
    /// What is counted of its lease.
    pub metrics: LeaseMetrics,
    /// Follows it.
    pub follow: Follow,
}
