//! The accept loop. It is our own because warp's has no cap on connections, does not set `TCP_NODELAY`, and has no
//! deadline for a request's head or for an answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::accept::Acceptor;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::reply::Response;

use crate::connection_limits::{Connection, Places};
use crate::descriptors::Caps;
use crate::limits::Limits;
use crate::metrics::{Cap, Metrics};
use write_deadline::WriteDeadline;

mod write_deadline;

/// How many connections may wait to be accepted; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// The most bytes of a request's head, together with what is read ahead of it. Heads that browsers send take a few
/// hundred bytes.
const HEAD_BYTES: usize = 16 << 10;
/// The most headers of a request.
const HEAD_LINES: usize = 64;
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
/// The answer on a connection for which there is no place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Length: 82\r\n\r\n{\"error\":{\"code\":\"too_many_connections\",\"message\":\"full; try again in a while\"}}\r\n";

/// A listener with its limits.
pub struct Server {
    acceptor: Acceptor,
    address: SocketAddr,
    limits: Limits,
    metrics: Metrics,
    places: Arc<Places>,
    /// How many refusals may be written at the same time; further connections are closed without an answer.
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn bind(
        address: SocketAddr,
        limits: Limits,
        caps: Caps,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit it.
        socket.set_send_buffer_size(limits.send_buffer_bytes)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let tasks = TaskTracker::new();
        let connections = metrics.connections.clone();
        let per_address = limits.connections_per_address;
        for cap in Cap::ALL {
            let limit = match cap {
                Cap::Websockets => caps.websockets,
                Cap::Requests => caps.requests,
                Cap::Address => per_address,
            };
            let gauge = metrics.connections_limit.with_label_values(&[cap.as_str()]);
            gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
        Ok(Self {
            address: listener.local_addr()?,
            acceptor: Acceptor::new(listener, "client"),
            limits,
            metrics,
            places: Arc::new(Places::new(caps, per_address, connections, tasks.clone())),
            refusals: Arc::new(Semaphore::new(caps.refusals)),
            tasks,
        })
    }

    /// The address that was bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until `shutdown`, then waits until all connections have ended: requests in progress are
    /// answered, WebSockets end by themselves, and a connection that takes longer than `limits.close_grace_ms`
    /// is cut off.
    pub async fn run<F>(mut self, routes: F, shutdown: CancellationToken)
    where
        F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
        F::Future: Send,
    {
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.acceptor.accept() => accepted,
            };
            let connection = match self.places.take(peer.ip()) {
                Ok(connection) => connection,
                Err(cap) => {
                    self.refuse(stream, cap);
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was gone before it was served");
                continue;
            }
            let served = serve(stream, routes.clone(), connection, self.limits, shutdown.clone());
            self.tasks.spawn(served);
        }
        drop(self.acceptor);
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn refuse(&self, mut stream: TcpStream, cap: Cap) {
        self.metrics.connections_refused.with_label_values(&[cap.as_str()]).inc();
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        self.tasks.spawn(async move {
            let refusal = async {
                // A socket that is closed with unread bytes in it is reset, and the answer is lost.
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await?;
                stream.write_all(FULL).await?;
                stream.shutdown().await
            };
            // A client that does not read the answer in time is disconnected without it.
            let _told = tokio::time::timeout(REFUSAL_DEADLINE, refusal).await;
            drop(permit);
        });
    }
}

async fn serve<F>(
    stream: TcpStream,
    routes: F,
    connection: Connection,
    limits: Limits,
    shutdown: CancellationToken,
) where
    F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let stream = WriteDeadline::new(stream, limits.write_deadline(), connection.clone());
    let warp = TowerToHyperService::new(warp::service(routes));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        warp.call(request)
    });
    // The timeout of a head begins when the answer before it was sent, so that it also ends connections without
    // a further request.
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.close_grace(), served).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::debug!("a connection did not end in time and is cut off");
                    return;
                }
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests;
