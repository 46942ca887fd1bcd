//! For tests: a source that follows a feed, with the journal's end of its queue.

use common::admin::Readiness;
use common::clock::Clock;
use common::event::{Reason, Schema};
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Common;
use crate::intake::{Queued, Queues};
use crate::metrics::Metrics;
use crate::source::connection::Connections;

/// A source that follows a feed.
pub(crate) struct Following {
    pub(crate) messages: mpsc::Receiver<Queued>,
    pub(crate) metrics: SourceMetrics,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<End>,
}

/// Follows a feed by this protocol, from this stored cursor on.
pub(crate) fn follow(protocol: impl Protocol, cursor: Option<Bytes>) -> Following {
    follow_as(protocol, cursor, &Common::default())
}

/// The same for a source that promises this.
pub(crate) fn follow_as(
    protocol: impl Protocol,
    cursor: Option<Bytes>,
    common: &Common,
) -> Following {
    let metrics = Metrics::new(&Registry::new()).unwrap().of_source("rsvps");
    let mut queues = Queues::default();
    let intake = queues.add("rsvps", &Schema::default(), common, Clock::default(), metrics.clone());
    let readiness = Readiness::default();
    let shutdown = CancellationToken::new();
    let name = Arc::from("rsvps");
    let connection = Connections::new(readiness.condition("source")).of(&name);
    let source = Feed::new(&name, protocol, metrics.clone(), connection);
    let task = tokio::spawn(source.run(intake, cursor.map(Cursor), shutdown.clone()));
    let messages = queues.into_queues().remove(0).messages;
    Following { messages, metrics, readiness, shutdown, task }
}

impl Following {
    pub(crate) async fn next(&mut self) -> Message {
        self.messages.recv().await.unwrap().sifted.message
    }

    pub(crate) async fn payload(&mut self) -> Bytes {
        self.next().await.payload
    }

    /// The next message, which is a dead letter with this reason.
    pub(crate) async fn refused(&mut self, reason: Reason) -> Bytes {
        let message = self.next().await;
        assert_eq!(message.identity, Err(reason));
        message.payload
    }

    /// What `/ready` says of the source once it contains this text.
    pub(crate) async fn unready(&self, text: &str) -> String {
        unready(&self.readiness, text).await
    }

    /// Waits until `/ready` has nothing to say of the source.
    pub(crate) async fn ready(&self) {
        until(|| self.readiness.unmet().is_empty()).await;
    }
}

/// How often it is looked at what tells nobody that it changes: a metric, or a reason of `/ready`.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until this holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        sleep(LOOK).await;
    }
}

/// What `/ready` says of the source once it contains this text.
pub(crate) async fn unready(readiness: &Readiness, text: &str) -> String {
    loop {
        match readiness.unmet().get("source") {
            Some(why) if why.contains(text) => return why.clone(),
            _ => sleep(LOOK).await,
        }
    }
}
