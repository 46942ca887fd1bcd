//! Answers by HTTP: server-sent events, an answer without end, or one that is asked for again and again.

use std::time::Duration;

use ::http::header::{CONTENT_TYPE, ETAG, HOST, HeaderMap, IF_NONE_MATCH, LOCATION};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use url::Url;

use super::came::{Came, Framing, Outlet, Source, Unwanted};
use super::dial::{DEADLINE, dial, headers, shown, unreachable};
use super::options::Options;
use super::split::{Piece, Split};
use super::sse::{Event, Events};
use crate::discover::Error;

/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// How long it is at least from one request to the next.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// How long a first message is held back, because the answer may be nothing but it.
const ALONE: Duration = Duration::from_secs(1);

/// Asks, and reads until nobody wants more or the server ends a stream.
pub(super) async fn read(url: Url, options: Options, outlet: Outlet) -> Result<(), Error> {
    let mut tag = None;
    let mut polled = false;
    loop {
        let answer = ask(&url, &options, tag.as_ref()).await?;
        let wait = answer.headers().get("x-poll-interval").and_then(|value| value.to_str().ok());
        let wait =
            wait.and_then(|value| value.parse().ok()).map_or(POLL_EVERY, Duration::from_secs);
        tag = answer.headers().get(ETAG).cloned();
        if answer.status() != StatusCode::NOT_MODIFIED {
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.unwrap_or_default().to_ascii_lowercase();
            let read = if kind.starts_with("text/html") {
                return Err(unreachable(&url, "the answer is a web page, not a feed"));
            } else if kind.starts_with("text/event-stream") {
                events(&url, answer.into_body(), &outlet).await?
            } else {
                body(&url, answer.into_body(), &outlet, polled).await?
            };
            match read {
                Read::Unwanted | Read::StreamEnded => return Ok(()),
                Read::Whole => polled = true,
            }
        }
        tokio::select! {
            () = sleep(wait.max(POLL_EVERY)) => {}
            () = outlet.closed() => return Ok(()),
        }
    }
}

/// How an answer was read.
enum Read {
    /// Nobody wants more.
    Unwanted,
    /// A stream ended that should not.
    StreamEnded,
    /// To its end.
    Whole,
}

impl From<Unwanted> for Read {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

/// The answer to a request, after redirects.
async fn ask(
    first: &Url,
    options: &Options,
    tag: Option<&::http::HeaderValue>,
) -> Result<Response<Incoming>, Error> {
    let mut url = first.clone();
    for _ in 0..=REDIRECTS {
        let failed = |error: hyper::Error| unreachable(&url, error.to_string());
        let same = url.host_str() == first.host_str() && url.scheme() == first.scheme();
        let mut fields: HeaderMap = headers(first, options, same);
        fields.entry("accept").or_insert(::http::HeaderValue::from_static(
            "text/event-stream, application/x-ndjson, application/json, */*;q=0.5",
        ));
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let unfit = |_| Error::Usage("the address has a host that HTTP does not allow".to_owned());
        fields.insert(HOST, host.parse().map_err(unfit)?);
        if let Some(tag) = tag {
            fields.insert(IF_NONE_MATCH, tag.clone());
        }
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = Request::new(Empty::<Bytes>::new());
        let unfit = |_| Error::Usage("the address has a path that HTTP does not allow".to_owned());
        *request.uri_mut() = path.parse().map_err(unfit)?;
        *request.headers_mut() = fields;

        let stream = TokioIo::new(dial(&url, options).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(failed)?;
        // Its errors are those of the answer.
        tokio::spawn(connection);
        let late = |_| unreachable(&url, "the server does not answer");
        let answer = timeout(DEADLINE, sender.send_request(request)).await;
        let answer = answer.map_err(late)?.map_err(failed)?;
        let status = answer.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| url.join(to).ok());
            let to = to.filter(|to| matches!(to.scheme(), "http" | "https"));
            url = to.ok_or_else(|| unreachable(&url, format!("{status} leads nowhere")))?;
            continue;
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        return Err(unreachable(&url, format!("the server answers {status}")));
    }
    Err(unreachable(first, format!("more than {REDIRECTS} redirects")))
}

fn broken(url: &Url, error: &hyper::Error) -> Error {
    Error::Ended { url: shown(url), why: error.to_string() }
}

async fn events(url: &Url, mut body: Incoming, outlet: &Outlet) -> Result<Read, Error> {
    if outlet.send(Came::Source(Source::Sse)).await.is_err() {
        return Ok(Read::Unwanted);
    }
    let mut events = Events::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(url, &error))?;
        for event in frame.data_ref().map(|data| events.push(data)).unwrap_or_default() {
            let came = match event {
                Event::Data(payload, of) => Came::Message { payload, of },
                Event::TooLarge => Came::TooLarge,
            };
            if outlet.send(came).await.is_err() {
                return Ok(Read::Unwanted);
            }
        }
    }
    Ok(Read::StreamEnded)
}

/// Reads any other body. `polled` says that an earlier answer had an end.
async fn body(url: &Url, mut body: Incoming, outlet: &Outlet, polled: bool) -> Result<Read, Error> {
    let mut split = Split::default();
    // The first message, and whether there was one that is not held back any more.
    let (mut held, mut several) = (None, false);
    loop {
        let frame = if held.is_some() {
            match timeout(ALONE, body.frame()).await {
                Ok(frame) => frame,
                Err(_) => {
                    several = true;
                    // An answer without end, as far as is known.
                    let stream = Came::Source(Source::HttpStream(split.framing()));
                    let told = (!polled).then_some(stream).into_iter();
                    for came in told.chain(held.take().map(alone)) {
                        if outlet.send(came).await.is_err() {
                            return Ok(Read::Unwanted);
                        }
                    }
                    continue;
                }
            }
        } else {
            body.frame().await
        };
        let (pieces, ended) = match frame {
            Some(frame) => {
                let frame = frame.map_err(|error| broken(url, &error))?;
                (frame.data_ref().map(|data| split.push(data)).unwrap_or_default(), false)
            }
            None => (split.end(), true),
        };
        for piece in pieces {
            let Piece::Message(message) = piece else {
                if outlet.send(Came::TooLarge).await.is_err() {
                    return Ok(Read::Unwanted);
                }
                continue;
            };
            if !several && held.is_none() {
                held = Some(message);
                continue;
            }
            several = true;
            // An answer without end, as far as is known.
            let stream = Came::Source(Source::HttpStream(split.framing()));
            let told = (!polled).then_some(stream).into_iter();
            for came in told.chain(held.take().map(alone)).chain([alone(message)]) {
                if outlet.send(came).await.is_err() {
                    return Ok(Read::Unwanted);
                }
            }
        }
        if ended {
            let (framing, messages) = whole(held, &split);
            let source = Came::Source(Source::LongPoll(framing));
            for came in std::iter::once(source).chain(messages.into_iter().map(alone)) {
                if outlet.send(came).await.is_err() {
                    return Ok(Read::Unwanted);
                }
            }
            return Ok(Read::Whole);
        }
    }
}

fn alone(payload: Bytes) -> Came {
    Came::Message { payload, of: None }
}

/// What an answer with an end was divided by, and the messages that were held back. A single object may have the
/// events in an array inside.
fn whole(held: Option<Bytes>, split: &Split) -> (Framing, Vec<Bytes>) {
    let Some(only) = held else { return (split.framing(), Vec::new()) };
    if split.framing() == Framing::Array(None) {
        return (Framing::Array(None), vec![only]);
    }
    match within(&only) {
        Some((place, events)) => (Framing::Array(Some(place)), events),
        None => (Framing::One, vec![only]),
    }
}

/// The longest array of objects that is a member of the object, or a member of a member.
fn within(object: &[u8]) -> Option<(String, Vec<Bytes>)> {
    use serde_json::value::RawValue;
    type Members = std::collections::BTreeMap<String, Box<RawValue>>;
    let mut best: Option<(String, Vec<Bytes>)> = None;
    let members: Members = serde_json::from_slice(object).ok()?;
    let mut look = |place: String, text: &str| {
        let elements: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
        let are_objects = elements.iter().all(|element| element.get().starts_with('{'));
        let more = best.as_ref().map_or(0, |(_, events)| events.len());
        if are_objects && elements.len() > more {
            let texts = elements.iter().map(|element| element.get().as_bytes());
            best = Some((place, texts.map(Bytes::copy_from_slice).collect()));
        }
    };
    let step = |name: &str| name.replace('~', "~0").replace('/', "~1");
    for (name, member) in &members {
        look(format!("/{}", step(name)), member.get());
        let inner: Members = serde_json::from_str(member.get()).unwrap_or_default();
        for (inside, member) in &inner {
            look(format!("/{}/{}", step(name), step(inside)), member.get());
        }
    }
    best
}
