//! A server to which events are sent: `POST /v1/events`, and `GET /v1/acks/ID` for what became of them.
//!
//! A request is acknowledged when all of it is safe. Until then its sender has it, and sends it again unless it was
//! answered 2xx; an answer that says no is always given within a bounded time.
//!
//! | what happens | what is done |
//! |---|---|
//! | some of the events are bad | the good are published, the bad become dead letters and are listed in the answer |
//! | all of them are bad, or one with `Prefer: handling=strict` | 422, nothing is taken |
//! | the body is not what its content type says | 400, nothing is taken |
//! | the log is full, or cannot be written, or there is no room in the queue, for `accept_timeout_ms` | 503; what was not logged by then is not taken any more, apart from what is being written |
//! | the memory for bodies is taken | 503 at once |
//! | as many connections as `max_connections` | a further one is answered 503, or closed if it speaks TLS |
//! | a client does not send or does not read | its connection ends after `header_timeout_ms`, `body_timeout_ms`, or ten seconds of not reading |
//! | a stop | no further requests; those in hand are answered, 503 if they are not safe within a few seconds |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::accept::Acceptor;
use common::http_server::{self, Bounds, Refusals};
use common::watched::Watched;
use common::{descriptors, tls};
use hyper::service::service_fn;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::End;
use super::connection::Connection;
use crate::config::HttpPush as Section;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::intake::Intake;
use crate::metrics::PushMetrics;
use auth::Auth;
use handler::Handler;
use rate::Rate;
use reading::Bodies;

mod asked;
mod auth;
mod body;
mod handler;
mod idempotency;
mod problem;
mod rate;
mod reading;
#[cfg(test)]
mod tests;

/// How long a client may not read its answer.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a stop waits for requests in hand. It leaves time to deliver what they brought.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// How many connections may be answered at the same time that there is no place.
const REFUSALS: usize = 16;
/// Descriptors that are kept for the log, for Kafka and for other sources.
const RESERVED_DESCRIPTORS: u64 = 256;
/// The answer on a connection for which there is no place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n\
    Connection: close\r\nContent-Length: 103\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections\",\"reason\":\"max_connections\"}";

/// A server that has bound its address and accepts nothing yet.
pub struct HttpPush {
    source: Arc<str>,
    section: Section,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Watched<ServerConfig>>,
    auth: Auth,
    metrics: PushMetrics,
    connection: Connection,
}

impl HttpPush {
    /// Binds the address of the source of this name. Its files are looked at until `stop`.
    ///
    /// # Errors
    /// When the address cannot be bound, or a file cannot be used.
    pub fn new(
        source: &Arc<str>,
        section: &Section,
        metrics: PushMetrics,
        connection: Connection,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let bind = |source| Error::Listen { address: section.listen, source };
        let listener = http_server::listen(section.listen, None).map_err(bind)?;
        let tls = section.has_tls().then(|| {
            let (cert, key) = (section.certificate_file.clone(), section.key_file.clone());
            let files = vec![cert.clone(), key.clone()];
            Watched::new(
                "certificate_file, key_file",
                files,
                move || tls::server(&cert, &key),
                stop,
            )
        });
        Ok(Self {
            source: Arc::clone(source),
            address: listener.local_addr().map_err(bind)?,
            listener,
            tls: tls.transpose().map_err(|error| Error::Push(error.to_string()))?,
            auth: Auth::new(section, stop)?,
            section: section.clone(),
            metrics,
            connection,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl super::Source for HttpPush {
    async fn run(self, intake: Intake, _resume: Option<Cursor>, stop: CancellationToken) -> End {
        let Self { source, section, listener, address, tls, auth, metrics, connection } = self;
        // A request is answered before it is waited for.
        let intake = intake.without_rate_limit();
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(source = &*source, url = %format!("{scheme}://{address}/v1/events"), "listening");
        let (tasks, closing) = (TaskTracker::new(), stop.child_token());
        let body_timeout = Duration::from_millis(section.body_timeout_ms);
        let handler = Arc::new(Handler {
            source,
            intake,
            order: tokio::sync::Mutex::default(),
            auth,
            keys: idempotency::Idempotency::default(),
            rate: section.common.rate_limit.map(|rate| Rate::new(rate, Instant::now())),
            bodies: Bodies::new(section.max_body_bytes, body_timeout),
            max_events: section.max_events,
            accept_timeout: Duration::from_millis(section.accept_timeout_ms),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            stop: closing.clone(),
        });
        let bounds = Bounds {
            header_timeout: Duration::from_millis(section.header_timeout_ms),
            write_deadline: WRITE_DEADLINE,
            close_grace: CLOSE_GRACE,
            half_close: true,
        };
        let places = Arc::new(Semaphore::new(places(section.max_connections)));
        let refusals = Refusals::new(REFUSALS, FULL);
        let mut acceptor = Acceptor::new(listener, "push");
        connection.set();
        let end = loop {
            let (stream, _peer) = tokio::select! {
                biased;
                () = stop.cancelled() => break End::Stopped,
                () = handler.intake.closed() => break End::Closed,
                accepted = acceptor.accept() => accepted,
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics.connections_refused.inc();
                if tls.is_none() {
                    refusals.refuse(stream, &tasks);
                }
                continue;
            };
            let (tls, handler, closing) = (tls.clone(), Arc::clone(&handler), closing.clone());
            let counted = metrics.connected();
            tasks.spawn(async move {
                serve(stream, tls, handler, bounds, &closing).await;
                drop((place, counted));
            });
        };
        drop(acceptor);
        closing.cancel();
        tasks.close();
        tasks.wait().await;
        end
    }
}

/// Serves a connection until its end, or until what is in hand after `stop` is answered.
async fn serve(
    stream: TcpStream,
    tls: Option<Watched<ServerConfig>>,
    handler: Arc<Handler>,
    bounds: Bounds,
    stop: &CancellationToken,
) {
    let stream = match http_server::with_deadline(stream, bounds, None) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
    };
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let Some(tls) = tls else {
        return http_server::serve(stream, service, bounds, stop).await;
    };
    let handshake = TlsAcceptor::from(tls.get()).accept(stream);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(bounds.header_timeout, handshake) => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => http_server::serve(stream, service, bounds, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_elapsed) => tracing::debug!("TLS handshake did not end in time"),
    }
}

/// How many connections there may be: `wanted`, or what fits into the descriptors that the system grants.
fn places(wanted: usize) -> usize {
    let descriptors = descriptors::raise();
    let free =
        usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
    let places = wanted.min(free.max(1));
    if places < wanted {
        tracing::warn!(
            descriptors,
            places,
            "fewer connections are allowed than max_connections says, because the system grants too few descriptors; raise the \
             hard limit (ulimit -Hn, LimitNOFILE)"
        );
    }
    places
}
