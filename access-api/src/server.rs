//! The accept loop: our own, because warp's has no cap on connections, no `TCP_NODELAY` and no
//! deadline for a request's head.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::reply::Response;

use crate::config::Limits;
use crate::metrics::{Gauged, Metrics};
use crate::routes::Connection;

/// Connections waiting to be accepted; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// Refusals that are written at once; one more is just closed.
const REFUSALS: usize = 64;
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
/// What a connection that cannot be taken gets.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Length: 82\r\n\r\n{\"error\":{\"code\":\"too_many_connections\",\"message\":\"full; try again in a while\"}}\r\n";

/// A listener with its limits.
pub struct Server {
    listener: TcpListener,
    limits: Limits,
    metrics: Metrics,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn bind(address: SocketAddr, limits: Limits, metrics: Metrics) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Connections inherit it.
        socket.set_send_buffer_size(limits.send_buffer_bytes)?;
        socket.bind(address)?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            limits,
            metrics,
            places: Arc::new(Semaphore::new(limits.connections)),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `routes` until `shutdown`, then lets every connection end: requests that are under way
    /// are answered, WebSockets end by themselves.
    pub async fn run<F>(self, routes: F, shutdown: CancellationToken)
    where
        F: Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
        F::Future: Send,
    {
        let tasks = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        // Out of descriptors, most likely; it would fail again at once.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.refuse(stream, &tasks);
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was gone before it was served");
                continue;
            }
            let counted = Gauged::new(&self.metrics.connections);
            let connection = Connection::new(place, counted, tasks.clone());
            tasks.spawn(serve(stream, routes.clone(), connection, self.limits, shutdown.clone()));
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }

    fn refuse(&self, mut stream: TcpStream, tasks: &TaskTracker) {
        self.metrics.connections_refused.inc();
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tasks.spawn(async move {
            let refusal = async {
                // Something unread in the socket would make its end a reset, and the answer be lost.
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await?;
                stream.write_all(FULL).await?;
                stream.shutdown().await
            };
            // Whoever does not take the answer has gone.
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
    let warp = TowerToHyperService::new(warp::service(routes));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        warp.call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}
