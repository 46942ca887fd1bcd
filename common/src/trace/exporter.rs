//! Sends spans in the background. A receiver that does not answer slows nothing down: spans wait in a queue, and
//! what finds no room there is dropped and counted.

use std::time::Duration;

use bytes::Bytes;
use prometheus::{IntCounter, Registry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::Trace;
use super::http::{Endpoint, Failure};
use super::otlp::{self, Resource};
use super::span::Span;
use super::tracer::Tracer;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::metrics::Factory;
use crate::tls;

/// How many spans may wait; about 1 MiB of them.
const QUEUE: usize = 2048;
/// How many spans are sent together at most.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const COMPANY: Duration = Duration::from_secs(1);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authorities to trust could not be read.
    #[error("trace.ca_file: {0}")]
    Authorities(#[from] tls::Unusable),
    /// A metric is registered twice.
    #[error("cannot register the metrics of traces: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The task that sends spans.
#[derive(Debug)]
pub struct Exporter(Option<Running>);

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What the task works with.
struct Work {
    queue: mpsc::Receiver<Span>,
    endpoint: Endpoint,
    /// The endpoint as it may be shown.
    shown: String,
    resource: Resource,
    exported: IntCounter,
    dropped: IntCounter,
    /// Whether the receiver takes nothing at present, and that was told.
    is_away: bool,
    stop: CancellationToken,
}

/// Starts tracing as configured for the tier `tier`, inside a runtime. Unless it is off, spans that are recorded by the
/// tracer are sent until [`Exporter::finish`].
///
/// # Errors
/// When the section cannot be used.
pub fn start(
    trace: Option<&Trace>,
    tier: &str,
    clock: Clock,
    registry: &Registry,
) -> Result<(Tracer, Exporter), Error> {
    let snake = tier.replace('-', "_");
    let (help, outcomes) = ("Spans of traces, by what became of them", ["exported", "dropped"]);
    let make = Factory::new(registry, &snake);
    let spans = make.counters("trace_spans", help, "outcome", outcomes)?;
    let [exported, dropped] = outcomes.map(|outcome| spans.with_label_values(&[outcome]));
    let endpoint = trace.map(Endpoint::of).transpose()?.flatten();
    let (Some(trace), Some(endpoint)) = (trace, endpoint) else {
        return Ok((Tracer::off(), Exporter(None)));
    };
    let (sender, queue) = mpsc::channel(QUEUE);
    let tracer = Tracer::new(sender, trace.sample, clock, dropped.clone());
    let stop = CancellationToken::new();
    let (shown, resource) = (trace.endpoint.to_string(), Resource::of(tier));
    tracing::info!(endpoint = shown, sample = trace.sample, "one event in so many is traced");
    let work = Work {
        queue,
        endpoint,
        shown,
        resource,
        exported,
        dropped,
        is_away: false,
        stop: stop.clone(),
    };
    Ok((tracer, Exporter(Some(Running { stop, task: tokio::spawn(work.run()) }))))
}

impl Exporter {
    /// Sends what was recorded so far, for no longer than `within`, and ends. A receiver that does not answer is not
    /// asked again.
    pub async fn finish(self, within: Duration) {
        let Some(Running { stop, mut task }) = self.0 else { return };
        stop.cancel();
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("the last spans were not sent in time");
        }
    }
}

impl Work {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.fill(&mut batch).await;
            if batch.is_empty() {
                return;
            }
            self.send(&batch).await;
            batch.clear();
        }
    }

    /// Waits for a span, and a moment for more of them. None come once the queue is closed and empty.
    async fn fill(&mut self, batch: &mut Vec<Span>) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            _count = self.queue.recv_many(batch, BATCH) => {}
            () = stop.cancelled() => {
                self.queue.close();
                self.queue.recv_many(batch, BATCH).await;
            }
        }
        let until = Instant::now() + COMPANY;
        while (1..BATCH).contains(&batch.len()) && !stop.is_cancelled() {
            let room = BATCH - batch.len();
            let more = tokio::select! {
                more = timeout_at(until, self.queue.recv_many(batch, room)) => more,
                () = stop.cancelled() => return,
            };
            if !matches!(more, Ok(1..)) {
                return;
            }
        }
    }

    /// Sends the batch until the receiver has taken it, has refused it, or the process stops.
    async fn send(&mut self, batch: &[Span]) {
        let count = batch.len() as u64;
        let body = Bytes::from(self.resource.request(batch));
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        loop {
            let failure = match timeout(REQUEST, self.endpoint.post(body.clone())).await {
                Ok(Ok(answer)) => return self.taken(count, &answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Later("it does not answer".to_owned()),
            };
            let (why, is_final) = match failure {
                Failure::Later(why) => (why, self.stop.is_cancelled()),
                Failure::Refused(why) => (why, true),
            };
            self.away(&why);
            let delay = backoff.next_delay(&mut rand::rng());
            if is_final {
                return self.dropped.inc_by(count);
            }
            // A stop ends the wait, and one last attempt follows.
            let _stopped = timeout(delay, self.stop.cancelled()).await;
        }
    }

    fn taken(&mut self, count: u64, answer: &[u8]) {
        let (rejected, why) = otlp::rejected(answer).unwrap_or_default();
        let rejected = rejected.min(count);
        self.dropped.inc_by(rejected);
        self.exported.inc_by(count - rejected);
        if rejected > 0 {
            self.away(&format!("{rejected} of {count} spans were rejected: {why}"));
        } else if std::mem::take(&mut self.is_away) {
            tracing::info!(
                endpoint = self.shown,
                dropped = self.dropped.get(),
                "spans are taken again"
            );
        }
    }

    /// Told once, until spans are taken again.
    fn away(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(
                endpoint = self.shown,
                why,
                "traces are not taken; events are not affected, and spans that find no room are dropped; \
                 check trace.endpoint and the receiver of traces behind it"
            );
        }
    }
}
