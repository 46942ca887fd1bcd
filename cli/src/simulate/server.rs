//! How does a line get to a client? WebSocket and chunked HTTP at [`PATH`], on one port.
//!
//! For each client only one batch (64 KiB, or one line) and a write buffer of the same size are kept, so that TCP
//! slows the reader of the timeline. When [`MAX_CLIENTS`] are connected, a further one is refused with 503.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audience::{Audience, Progress, Since};
use super::line::Next;
use super::truth::{self, Truth};
use super::{Error, Feed, Pace};

mod chunked;
#[cfg(test)]
mod tests;
mod websocket;

/// The path of the feed.
pub const PATH: &str = "/2/rsvps";

/// How many clients are served at the same time.
const MAX_CLIENTS: usize = 1024;

/// How long a client may take to send its request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long accepting pauses after a failure, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Body = UnsyncBoxBody<Bytes, chunked::Cut>;

/// A feed that is being served. Dropping the handle does not end it; `shutdown` does.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    audience: Arc<Audience>,
    tasks: TaskTracker,
}

/// Serves `feed` on `listener` until `shutdown`. Nothing is sent before a client connects.
///
/// # Errors
/// If `pace` is not valid, or the address of the listener cannot be read.
pub async fn serve(
    feed: Feed,
    pace: Pace,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<Handle, Error> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener
        .local_addr()
        .map_err(|source| Error::Listen { address: unknown, source: Arc::new(source) })?;
    let pace = pace.check()?;
    let audience = tokio::task::spawn_blocking(move || Audience::new(feed, pace))
        .await
        .map_err(|error| Error::Stopped(Arc::new(error)))?;
    let audience = Arc::new(audience);
    let tasks = TaskTracker::new();
    let server = Server { audience: Arc::clone(&audience), tasks: tasks.clone(), shutdown };
    tasks.spawn(server.accept(listener));
    tasks.close();
    Ok(Handle { address, audience, tasks })
}

impl Handle {
    /// Where clients connect: `ws://127.0.0.1:8900/2/rsvps`.
    pub fn url(&self) -> String {
        format!("ws://{}{PATH}", self.address)
    }

    /// How far the feed has come.
    pub fn progress(&self) -> Progress {
        self.audience.progress()
    }

    /// Waits until every line was handed to a client.
    ///
    /// # Errors
    /// If the timeline cannot be read to its end; the lines before were served.
    pub async fn exhausted(&self) -> Result<(), Error> {
        self.audience.exhausted().await
    }

    /// The lines sent so far: a map from the hash of a line (`xxh3_64` of its bytes) to how often it was sent, resumes
    /// not counted. Reads the timeline again, and counts what it has read in [`Progress::read_again`].
    ///
    /// # Errors
    /// If the timeline cannot be read again, or has changed.
    pub async fn expected(&self) -> Result<HashMap<u64, u64>, Error> {
        let audience = Arc::clone(&self.audience);
        let hashed = tokio::task::spawn_blocking(move || truth::hashes(&audience));
        hashed.await.map_err(|error| Error::Stopped(Arc::new(error))).flatten()
    }

    /// The first line; `None` if there is none. Reads the timeline again.
    ///
    /// # Errors
    /// If the timeline cannot be read again.
    pub async fn first_line(&self) -> Result<Option<Bytes>, Error> {
        let audience = Arc::clone(&self.audience);
        let read = tokio::task::spawn_blocking(move || {
            match audience.timeline().reader(0)?.next_line()? {
                Next::Line(line) => Ok(Some(line.bytes)),
                Next::Later | Next::End => Ok(None),
            }
        });
        read.await.map_err(|error| Error::Stopped(Arc::new(error))).flatten()
    }

    /// The correct answer for the lines sent so far. Reads the timeline again.
    ///
    /// # Errors
    /// If the timeline cannot be read again.
    pub async fn truth(&self) -> Result<Truth, Error> {
        Ok(self.follow()?.catch_up(u64::MAX).await?.truth())
    }

    /// A reader that counts lines while they are sent, so that the truth of a long feed is known soon after its end.
    pub(super) fn follow(&self) -> Result<truth::Follower, Error> {
        truth::Follower::new(Arc::clone(&self.audience))
    }

    /// Waits, after `shutdown`, until all connections are closed.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

#[derive(Debug, Clone)]
struct Server {
    audience: Arc<Audience>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        while let Some(accepted) = self.shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    self.tasks.spawn(self.clone().connection(stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the feed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let shutdown = self.shutdown.clone();
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_DEADLINE)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(websocket::CLOSE_DEADLINE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "a connection of the feed ended");
        }
    }

    async fn answer(self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if request.uri().path() != PATH {
            return refuse(StatusCode::NOT_FOUND, &format!("not found; the feed is at {PATH}"));
        }
        if request.method() != Method::GET {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "use GET: the feed can only be read");
        }
        let since = match since(request.uri().query().unwrap_or_default()) {
            Ok(since) => since,
            Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
        };
        let key = match websocket_key(request.headers()) {
            Ok(key) => key,
            Err(message) => return refuse(StatusCode::UPGRADE_REQUIRED, message),
        };
        if self.audience.progress().clients >= MAX_CLIENTS {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many clients; try again later");
        }
        tracing::info!(%peer, ?since, websocket = key.is_some(), "a client of the feed connected");
        match key {
            Some(key) => {
                let upgrade = hyper::upgrade::on(&mut request);
                let tasks = self.tasks.clone();
                tasks.spawn(websocket::serve(upgrade, self.audience, since, self.shutdown, peer));
                let answer = Response::builder()
                    .status(StatusCode::SWITCHING_PROTOCOLS)
                    .header(header::CONNECTION, "upgrade")
                    .header(header::UPGRADE, "websocket")
                    .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(&key));
                built(answer, empty())
            }
            None => match self.audience.join(since).await {
                Ok(listener) => {
                    let answer = Response::builder()
                        .header(header::CONTENT_TYPE, "application/json; charset=utf-8");
                    built(
                        answer,
                        StreamBody::new(chunked::lines(listener, self.shutdown)).boxed_unsync(),
                    )
                }
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
        }
    }
}

/// Reads `since_mtime=T` or `since_count=N`; other parameters are ignored, as Meetup did.
fn since(query: &str) -> Result<Since, String> {
    let mut since = Since::Live;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let asked = match name {
            "since_mtime" => value.parse().map(Since::Mtime),
            "since_count" => value.parse().map(Since::Count),
            _ => continue,
        };
        since = asked.map_err(|_| {
            format!("{name}={value}: must be a whole number (since_mtime: milliseconds since 1970)")
        })?;
    }
    Ok(since)
}

/// The key of a WebSocket handshake (RFC 6455 section 4.2.1); `None` if it is a plain request.
fn websocket_key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, &'static str> {
    let names = |name, token: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    if !names(header::CONNECTION, "upgrade") || !names(header::UPGRADE, "websocket") {
        return Ok(None);
    }
    if !names(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err("only version 13 of the WebSocket protocol is supported");
    }
    let key =
        headers.get(header::SEC_WEBSOCKET_KEY).ok_or("the handshake has no Sec-WebSocket-Key")?;
    Ok(Some(key.as_bytes().to_vec()))
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::SEC_WEBSOCKET_VERSION, "13");
    built(answer, full(format!("{message}\n")))
}

fn built(answer: http::response::Builder, body: Body) -> Response<Body> {
    #[expect(clippy::expect_used, reason = "every name and value is a constant or base64")]
    answer.body(body).expect("valid headers")
}

fn full(content: String) -> Body {
    Full::from(content).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> Body {
    full(String::new())
}
