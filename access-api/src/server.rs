//! The accept loop: a place for each connection, and warp's routes on it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use common::accept::Acceptor;
use common::http_server::{self, Refusals};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::reply::Response;

use crate::connection_limits::{Connection, Places};
use crate::descriptors::Caps;
use crate::limits::Limits;
use crate::metrics::{Cap, Metrics};

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
    refusals: Refusals,
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
        let listener = http_server::listen(address, Some(limits.send_buffer_bytes))?;
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
            refusals: Refusals::new(caps.refusals, FULL),
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
                    self.metrics.connections_refused.with_label_values(&[cap.as_str()]).inc();
                    self.refusals.refuse(stream, &self.tasks);
                    continue;
                }
            };
            let served = serve(stream, routes.clone(), connection, self.limits, shutdown.clone());
            self.tasks.spawn(served);
        }
        drop(self.acceptor);
        self.tasks.close();
        self.tasks.wait().await;
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
    let stream =
        match http_server::with_deadline(stream, limits.bounds(), Some(connection.websocket())) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was served");
                return;
            }
        };
    let warp = TowerToHyperService::new(warp::service(routes));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        warp.call(request)
    });
    http_server::serve(stream, service, limits.bounds(), &shutdown).await;
}

#[cfg(test)]
mod tests;
