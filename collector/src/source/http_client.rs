//! Asks a feed by HTTP/1.1, and reads what it answers piece by piece.
//!
//! | what happens | what is done |
//! |---|---|
//! | a redirect | it is followed, at most five in a row; another server does not get the configured headers |
//! | an error, or a web page where events should be | it is lost, with a sentence that says why |
//! | `Retry-After` with an error | the feed is left alone for that long, an hour at most |
//! | an error that the request with a cursor gets, and no other one would | as something unreadable, see [`feed`](super::feed) |
//! | gzip or deflate | it is unpacked while it arrives |

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HOST, HeaderMap,
    HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::dial::Dialer;
use super::feed::Lost;
use super::request::{Request, Target, set_begin};
use super::resume_point::Begin;
use crate::config::{Connect, Resume, Transport};
use crate::error::Error;
use unpack::Unpacker;

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod unpack;

/// How much is read at once, in bytes. The head of an answer is given up when this is not enough for it, give or take one read.
const BUFFER_BYTES: usize = 64 << 10;
/// The longest time for which a feed can ask to be left alone.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Asks one feed.
pub struct HttpClient {
    request: Request,
    dialer: Dialer,
    resume: Resume,
    accept: HeaderValue,
    connect_timeout: Duration,
}

/// What a feed has answered.
pub struct Answer {
    /// Its status, which is a success or 304.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// What follows.
    pub body: Body,
}

/// The body of an answer.
pub struct Body {
    incoming: Incoming,
    unpacker: Option<Unpacker>,
    /// Moves the bytes of the connection, until the body is dropped.
    _connection: AbortOnDropHandle<()>,
}

// === impl HttpClient ===

impl HttpClient {
    /// Prepares requests for what `accept` describes.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(connect: &Connect, resume: &Resume, accept: &'static str) -> Result<Self, Error> {
        Ok(Self {
            request: Request::new(connect, Transport::Http)?,
            dialer: Dialer::new(connect)?,
            resume: resume.clone(),
            accept: HeaderValue::from_static(accept),
            connect_timeout: Duration::from_millis(connect.connect_timeout_ms),
        })
    }

    /// Asks for what comes from `begin` on, with these headers besides the configured ones.
    ///
    /// # Errors
    /// Why there is no answer, or why it is not one of a feed.
    pub async fn get(&self, begin: &Begin, more: &HeaderMap) -> Result<Answer, Lost> {
        let mut target = self.request.target()?;
        loop {
            set_begin(&mut target.url, &self.resume, begin);
            let (response, connection) = self.send(&target, more).await?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                target.redirect(response.headers().get(LOCATION))?;
                continue;
            }
            let (head, incoming) = response.into_parts();
            if !status.is_success() && status != StatusCode::NOT_MODIFIED {
                return Err(refusal(status, &head.headers, begin));
            }
            if is_page(&head.headers) {
                return Err(Lost::new(
                    "the server answers with a web page instead of events, as proxies and logins do; \
                     check url, headers and credentials",
                ));
            }
            let encoding = head.headers.get(CONTENT_ENCODING);
            let unpacker = match encoding.map(HeaderValue::as_bytes).unwrap_or_default() {
                b"" | b"identity" => None,
                name => Some(Unpacker::new(name).ok_or_else(|| {
                    let name = String::from_utf8_lossy(name);
                    Lost::new(format!(
                        "the server packs its answer by '{name}', which was not asked for"
                    ))
                })?),
            };
            let body = Body { incoming, unpacker, _connection: connection };
            return Ok(Answer { status, headers: head.headers, body });
        }
    }

    async fn send(
        &self,
        target: &Target,
        more: &HeaderMap,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Lost> {
        let dialed = timeout(self.connect_timeout, self.dialer.dial(&target.url)).await;
        let stream = dialed.map_err(|_| {
            Lost::new(format!("no connection within {} ms", self.connect_timeout.as_millis()))
        })??;
        let failed = |error: hyper::Error| Lost::new(format!("no answer: {}", innermost(&error)));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a feed has ended");
            }
        }));
        let mut request = http::Request::new(Empty::<Bytes>::new());
        let url = &target.url;
        let path = format!(
            "{}{}",
            url.path(),
            url.query().map(|query| format!("?{query}")).unwrap_or_default()
        );
        *request.uri_mut() =
            path.parse().map_err(|_| Lost::new("the path of the address is not valid in HTTP"))?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = HeaderValue::try_from(host)
            .map_err(|_| Lost::new("the host of the address is not valid in HTTP"))?;
        let headers = request.headers_mut();
        let agent = concat!("millrace-collector/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, self.accept.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        for (name, value) in &target.headers {
            headers.insert(name, value.clone());
        }
        for (name, value) in more {
            headers.insert(name, value.clone());
        }
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok((sender.send_request(request).await.map_err(failed)?, connection))
    }
}

// === impl Body ===

impl Body {
    /// As [`chunk`](Self::chunk), but given up if nothing arrives for this long.
    ///
    /// # Errors
    /// Those of `chunk`, or that nothing has arrived.
    pub async fn chunk_within(&mut self, idle: Option<Duration>) -> Result<Option<Bytes>, Lost> {
        let Some(idle) = idle else { return self.chunk().await };
        let chunk = timeout(idle, self.chunk()).await;
        chunk.map_err(|_| {
            Lost::new(format!("no byte for {} ms, the idle_timeout", idle.as_millis()))
        })?
    }

    /// The next bytes, unpacked; `None` at the end.
    ///
    /// # Errors
    /// Why the answer broke off, or cannot be unpacked.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            if let Some(unpacker) = &mut self.unpacker
                && let Some(bytes) = unpacker.next().map_err(|error| {
                    Lost::unreadable(format!("the answer cannot be unpacked: {error}"))
                })?
            {
                return Ok(Some(bytes));
            }
            let Some(frame) = self.incoming.frame().await else {
                let is_complete = self.unpacker.as_mut().is_none_or(Unpacker::is_complete);
                return if is_complete {
                    Ok(None)
                } else {
                    Err(Lost::new("the answer ended in the middle of what was packed"))
                };
            };
            let frame = frame.map_err(|error| {
                Lost::new(format!("the answer broke off: {}", innermost(&error)))
            })?;
            // Trailers say nothing about events.
            let Ok(data) = frame.into_data() else { continue };
            match &mut self.unpacker {
                Some(unpacker) => unpacker.push(data),
                None => return Ok(Some(data)),
            }
        }
    }
}

/// What an error says in the end; hyper's own message is only "connection error".
fn innermost(error: &hyper::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    let mut said = error.to_string();
    while let Some(source) = error.source() {
        error = source;
        said = error.to_string();
    }
    said
}

/// Whether this is a page for people.
fn is_page(headers: &HeaderMap) -> bool {
    matches!(&*media_type(headers), "text/html" | "application/xhtml+xml")
}

/// The type of the answer without its parameters, in lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let written = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let written = written.unwrap_or_default().split(';').next().unwrap_or_default();
    written.trim().to_ascii_lowercase()
}

/// Why a feed that answers with this error is not followed.
fn refusal(status: StatusCode, headers: &HeaderMap, begin: &Begin) -> Lost {
    let lost = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Lost::new(format!("the server refuses the credentials: {status}"))
        }
        // It may be the cursor that the server does not know any more.
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::UNPROCESSABLE_ENTITY
            if matches!(begin, Begin::After(_)) =>
        {
            Lost::unreadable(format!("the server answers the request with a cursor by {status}"))
        }
        _ => Lost::new(format!("the server answers {status}")),
    };
    lost.after(retry_after(headers))
}

/// How long the feed asks to be left alone: seconds or a date.
pub fn retry_after(headers: &HeaderMap) -> Duration {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(written) = text(RETRY_AFTER).map(str::trim) else { return Duration::ZERO };
    if let Ok(seconds) = written.parse() {
        return Duration::from_secs(seconds).min(LONGEST_WAIT);
    }
    let date = |text: &str| rfc2822::parse(text).map(|date| date.timestamp()).ok();
    let Some(until) = date(written) else { return Duration::ZERO };
    // By the clock of the server, which need not be this one's.
    let now = text(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    Duration::try_from(until.duration_since(now)).unwrap_or_default().min(LONGEST_WAIT)
}
