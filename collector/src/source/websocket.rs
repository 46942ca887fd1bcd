//! A WebSocket feed that can be asked to resume, as Meetup's could.
//!
//! On every connect the newest event time of the logged prefix goes along as `since_mtime`: the server
//! serves again what it had sent from the first message of that time on. So what a socket, a queue or
//! a killed process held comes again; what comes twice is recognised by its id later.
//!
//! | happens | done |
//! |---|---|
//! | nothing for `ping_interval` | a ping is sent |
//! | still nothing for `ping_timeout` | given up, reconnect |
//! | server closes, also with a `bye` before | reconnect |
//! | connection breaks, connecting fails | reconnect |
//! | a message above `max_message_bytes` | closed with 1009, reconnect *without* resume, a gap is counted |
//! | text that is not UTF-8, a broken frame | closed with 1007 or 1002, likewise |
//!
//! Resuming after an unreadable message would meet the same message again, for ever. A `bye` is a
//! message like any other to the pipeline: whether a text is an event is not decided here. Reconnects
//! wait a random time (full jitter) whose bound doubles until a connection brings a message.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::admin::Condition;
use common::backoff::Backoff;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};
use tokio_util::sync::CancellationToken;

use super::{Closed, Intake};
use crate::config::Source;
use crate::error::Error;
use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long a close frame may take to leave; the connection is given up in any case.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A feed and what is needed to follow it.
pub struct Websocket {
    config: Source,
    connector: Option<Connector>,
    intake: Intake,
    metrics: Metrics,
    connected: Condition,
    shutdown: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// This process is stopping.
    Shutdown,
    /// The server closed, the connection broke, or it could not be made.
    Lost(String),
    /// The next message cannot be read, now or later.
    Unreadable { close: CloseCode, why: String },
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Shutdown
    }
}

// === impl Websocket ===

impl Websocket {
    /// Prepares to follow the feed.
    ///
    /// # Errors
    /// When `ca_file` cannot be used.
    pub fn new(
        config: Source,
        intake: Intake,
        metrics: Metrics,
        connected: Condition,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let connector = connector(&config.ca_file)?;
        Ok(Self { config, connector, intake, metrics, connected, shutdown })
    }

    /// Follows the feed until shutdown. The first connect resumes at `cursor`.
    pub async fn run(mut self, cursor: Option<i64>) {
        let mut backoff = Backoff::new(
            Duration::from_millis(self.config.reconnect_base_ms),
            Duration::from_millis(self.config.reconnect_cap_ms),
        );
        let mut cursor = cursor;
        loop {
            let mut received = 0;
            let (connected, end) = match self.connect(cursor).await {
                Ok(mut socket) => {
                    let end = self.follow(&mut socket, &mut received).await;
                    close(&mut socket, &end).await;
                    (true, end)
                }
                Err(end) => (false, end),
            };
            let (resume, why) = match end {
                End::Shutdown => return,
                End::Lost(why) => (true, why),
                End::Unreadable { why, .. } => (false, why),
            };
            self.metrics.disconnects.inc();
            self.connected.unset(format!("{}: {why}", self.config.url));
            if connected {
                // What is still in the queue would otherwise be asked for again.
                let Ok(logged) = self.intake.logged().await else { return };
                cursor = logged.filter(|_| resume);
                if !resume {
                    self.metrics.gaps.inc();
                    let source = &self.config.name;
                    tracing::warn!(
                        source,
                        after = logged,
                        "gap: the source cannot resume behind an unreadable message"
                    );
                }
            }
            if received > 0 {
                backoff.reset();
            }
            let delay = backoff.next_delay(&mut rand::rng());
            let (source, delay_ms) = (&self.config.name, delay.as_millis());
            tracing::warn!(
                source,
                why,
                received,
                delay_ms,
                "no connection to the source, trying again"
            );
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = self.intake.closed() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn connect(&self, cursor: Option<i64>) -> Result<Socket, End> {
        let url = resume_url(&self.config.url, cursor);
        let mut limits = WebSocketConfig::default();
        limits.max_message_size = Some(self.config.max_message_bytes);
        limits.max_frame_size = Some(self.config.max_message_bytes);
        let connecting =
            connect_async_tls_with_config(&url, Some(limits), true, self.connector.clone());
        let deadline = Duration::from_millis(self.config.connect_timeout_ms);
        let outcome = tokio::select! {
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.intake.closed() => return Err(End::Shutdown),
            outcome = timeout(deadline, Box::pin(connecting)) => outcome,
        };
        match outcome {
            Ok(Ok((socket, _response))) => {
                tracing::info!(source = self.config.name, url, "connected");
                self.metrics.connects.inc();
                self.connected.set();
                Ok(socket)
            }
            Ok(Err(error)) => Err(End::Lost(format!("cannot connect: {error}"))),
            Err(_) => Err(End::Lost(format!(
                "no connection within {} ms",
                self.config.connect_timeout_ms
            ))),
        }
    }

    /// Takes messages until the connection ends.
    async fn follow(&mut self, socket: &mut Socket, received: &mut u64) -> End {
        let interval = Duration::from_millis(self.config.ping_interval_ms);
        let patience = Duration::from_millis(self.config.ping_timeout_ms);
        let mut asked = false;
        let mut deadline = Instant::now() + interval;
        loop {
            let frame = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return End::Shutdown,
                frame = socket.next() => frame,
                () = sleep_until(deadline) => {
                    if asked {
                        return End::Lost(format!("no answer to a ping within {} ms", patience.as_millis()));
                    }
                    asked = true;
                    deadline = Instant::now() + patience;
                    match timeout(patience, socket.send(Message::Ping(Bytes::new()))).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => return End::Lost(error.to_string()),
                        Err(_) => return End::Lost("the socket takes no ping".to_owned()),
                    }
                }
            };
            let payload = match frame {
                Some(Ok(Message::Text(text))) => Some(Bytes::from(text)),
                Some(Ok(Message::Binary(bytes))) => Some(bytes),
                // tungstenite answers pings itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => None,
                Some(Ok(Message::Close(frame))) => {
                    // Sends the answer; whether it still arrives concerns nobody.
                    let _answered = timeout(CLOSE_DEADLINE, socket.flush()).await;
                    return End::Lost(goodbye(frame));
                }
                Some(Err(error)) => return ended(error),
                None => return End::Lost("the connection ended".to_owned()),
            };
            if let Some(payload) = payload {
                *received += 1;
                tokio::select! {
                    // A full queue must not hold up a shutdown: what is not taken comes again.
                    () = self.shutdown.cancelled() => return End::Shutdown,
                    pushed = self.intake.push(payload) => if let Err(closed) = pushed { return closed.into() },
                }
            }
            // Only now: while the queue was full, the feed could not be heard.
            asked = false;
            deadline = Instant::now() + interval;
        }
    }
}

fn goodbye(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(
        || "the server closed".to_owned(),
        |frame| format!("the server closed with {} '{}'", u16::from(frame.code), frame.reason),
    )
}

fn ended(error: WsError) -> End {
    let why = error.to_string();
    match error {
        WsError::Capacity(_) => End::Unreadable { close: CloseCode::Size, why },
        WsError::Utf8(_) => End::Unreadable { close: CloseCode::Invalid, why },
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Lost(why),
        WsError::Protocol(_) => End::Unreadable { close: CloseCode::Protocol, why },
        _ => End::Lost(why),
    }
}

async fn close(socket: &mut Socket, end: &End) {
    let (code, reason) = match end {
        End::Shutdown => (CloseCode::Away, "shutting down"),
        End::Unreadable { close, .. } => (*close, "unreadable message"),
        End::Lost(_) => return,
    };
    let frame = CloseFrame { code, reason: reason.into() };
    // The server may be gone already; the connection ends either way.
    if let Ok(Err(error)) = timeout(CLOSE_DEADLINE, socket.close(Some(frame))).await {
        tracing::debug!(%error, "close frame not sent");
    }
}

fn resume_url(url: &str, cursor: Option<i64>) -> String {
    let Some(since) = cursor else { return url.to_owned() };
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}since_mtime={since}")
}

/// `None` leaves tokio-tungstenite to trust the public authorities.
fn connector(ca_file: &Path) -> Result<Option<Connector>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    if ca_file.as_os_str().is_empty() {
        // Its own configuration is built from the process's provider; the first one installed stays.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _already = provider.as_ref().clone().install_default();
        }
        return Ok(None);
    }
    let failed = |why: String| Error::Authorities { path: ca_file.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(ca_file).map_err(|error| failed(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Connector::Rustls(Arc::new(client))))
}
