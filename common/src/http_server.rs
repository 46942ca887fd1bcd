//! What the tiers' HTTP servers have in common: a listener, the bounds of a connection, and its end.
//!
//! The servers have accept loops of their own, because warp's has no cap on connections, does not set `TCP_NODELAY`, and
//! has no deadline for a request's head or for an answer.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod write_deadline;

pub use write_deadline::WriteDeadline;

/// How many connections may wait to be accepted; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// The most bytes of a request's head, together with what is read ahead of it. Heads that browsers send take a few
/// hundred bytes.
const HEAD_BYTES: usize = 16 << 10;
/// The most headers of a request.
const HEAD_LINES: usize = 64;
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// The bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long a request's head may take to arrive, and how long a connection without a request is kept.
    pub header_timeout: Duration,
    /// How long a write may take.
    pub write_deadline: Duration,
    /// How long a connection may take to end once the server stops.
    pub close_grace: Duration,
    /// Whether a client is answered that has closed its half of the connection after its request.
    pub half_close: bool,
}

/// Binds the address. `send_buffer_bytes` is the kernel's buffer of each connection, which Linux doubles; `None` for
/// the system's.
///
/// # Errors
/// When that is not possible.
pub fn listen(address: SocketAddr, send_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer_bytes {
        // Accepted connections inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves one connection until its end; after `shutdown`, until the request that is in hand is answered.
pub async fn serve<I, S, B>(io: I, service: S, bounds: Bounds, shutdown: &CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // The timeout of a head begins when the answer before it was sent, so that it also ends connections without
    // a further request.
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES)
        .half_close(bounds.half_close)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => outcome,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(bounds.close_grace, served).await {
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

/// Puts a deadline on the writes of an accepted socket, as long as `exempt` is not set.
///
/// # Errors
/// When the connection has ended already.
pub fn with_deadline(
    stream: TcpStream,
    bounds: Bounds,
    exempt: Option<Arc<AtomicBool>>,
) -> io::Result<WriteDeadline<TcpStream>> {
    stream.set_nodelay(true)?;
    Ok(WriteDeadline::new(stream, bounds.write_deadline, exempt))
}

/// Answers connections for which there is no place.
#[derive(Debug)]
pub struct Refusals {
    /// How many answers may be written at the same time; further connections are closed without one.
    places: Arc<Semaphore>,
    answer: &'static [u8],
}

impl Refusals {
    /// At most `places` at once. `answer` is a whole HTTP response.
    pub fn new(places: usize, answer: &'static [u8]) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), answer }
    }

    /// Answers, and ends the connection.
    pub fn refuse(&self, mut stream: TcpStream, tasks: &TaskTracker) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let answer = self.answer;
        tasks.spawn(async move {
            let refusal = async {
                // A socket that is closed with unread bytes in it is reset, and the answer is lost.
                let mut head = [0; 4096];
                let _read = stream.read(&mut head).await?;
                stream.write_all(answer).await?;
                stream.shutdown().await
            };
            // A client that does not read the answer in time is disconnected without it.
            let _told = tokio::time::timeout(REFUSAL_DEADLINE, refusal).await;
            drop(place);
        });
    }
}
