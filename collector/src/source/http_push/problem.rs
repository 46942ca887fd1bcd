//! The forms of answers: JSON, and problems (RFC 9457) whose `reason` is for programs and whose `detail` is for people.

use bytes::Bytes;
use common::event::Reason;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

/// When a request is to be sent again that was answered 503, in seconds.
pub const RETRY_AFTER_S: u64 = 5;

/// How many bad events an answer lists.
const LISTED: usize = 100;
/// The reason of a problem that is about who asks.
const UNAUTHORIZED: &str = "unauthorized";

/// An answer as it is sent.
pub type Answer = Response<Full<Bytes>>;

/// What a step returns that may end with a problem.
pub type Step<T> = Result<T, Box<Problem>>;

/// An answer that says why a request was not taken.
#[derive(Debug)]
pub struct Problem {
    /// Its status.
    pub status: StatusCode,
    reason: &'static str,
    detail: String,
    /// The bad events, the first one first.
    bad: Vec<BadEvent>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// An event of a request that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEvent {
    /// Which of the request's events it is, from 1 on.
    pub number: usize,
    /// The line of the body in which it begins, from 1 on.
    pub line: usize,
    /// Why it is no event.
    pub reason: Reason,
}

impl Problem {
    /// An answer with this status. `reason` names it for programs, `detail` says what to do.
    pub fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Box<Self> {
        Box::new(Self { status, reason, detail: detail.into(), bad: Vec::new(), header: None })
    }

    /// 400: the request is not as it should be.
    pub fn bad_request(reason: &'static str, detail: impl Into<String>) -> Box<Self> {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    /// 401.
    pub fn unauthorized(detail: &str) -> Box<Self> {
        let problem = Self::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED, detail);
        problem.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403.
    pub fn forbidden(detail: &str) -> Box<Self> {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Box<Self> {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405, with the method that is allowed.
    pub fn method(allowed: &'static str) -> Box<Self> {
        let detail = format!("allowed here: {allowed}");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        problem.with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// 409: a request with the same key is in hand.
    pub fn in_hand() -> Box<Self> {
        let detail = "a request with this Idempotency-Key is in hand; ask again";
        let problem = Self::new(StatusCode::CONFLICT, "in_hand", detail);
        problem.with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500: a thread has panicked.
    pub fn internal() -> Box<Self> {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "see the log of the collector")
    }

    /// 413: the body, or what it becomes, has more than `most` bytes.
    pub fn too_large(most: usize) -> Box<Self> {
        let detail =
            format!("a body may have {most} bytes, also after decompression; send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 415, with the encodings that are understood.
    pub fn encoding() -> Box<Self> {
        let detail = "the body's Content-Encoding is not understood; send gzip, zstd or none";
        let problem = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", detail);
        problem.with(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))
    }

    /// 429: the source takes no more for so many seconds.
    pub fn too_fast(seconds: u64) -> Box<Self> {
        let detail = "more events come than rate_limit of this source allows";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit", detail);
        problem.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: what was sent is not acknowledged, and should be sent again after so many seconds.
    pub fn unavailable(detail: &str, seconds: u64) -> Box<Self> {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: the process ends.
    pub fn stopping() -> Box<Self> {
        Self::unavailable("this collector stops; send it again", RETRY_AFTER_S)
    }

    /// 422: these events are bad, and nothing was taken.
    pub fn bad_events(bad: Vec<BadEvent>, events: usize) -> Box<Self> {
        let first = bad.first().map_or_else(String::new, |first| {
            format!("; the first, in line {}: {}", first.line, explanation(first.reason))
        });
        let detail = format!("nothing was taken: {} of {events} are no events{first}", bad.len());
        let reason = bad.first().map_or("bad_event", |first| first.reason.as_str());
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail);
        problem.bad = bad;
        problem
    }

    /// 400: the body cannot be divided into events, because of this line.
    pub fn undivided(line: usize, reason: Reason) -> Box<Self> {
        let detail = format!("nothing was taken; line {line}: {}", explanation(reason));
        let mut problem = Self::bad_request(reason.as_str(), detail);
        problem.bad.push(BadEvent { number: 0, line, reason });
        problem
    }

    fn with(mut self: Box<Self>, name: HeaderName, value: HeaderValue) -> Box<Self> {
        self.header = Some((name, value));
        self
    }

    /// The answer itself.
    pub fn into_answer(self) -> Answer {
        let mut members = Map::new();
        members.insert("title".into(), self.status.canonical_reason().unwrap_or_default().into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("detail".into(), self.detail.into());
        members.insert("reason".into(), self.reason.into());
        if let Some(first) = self.bad.first() {
            members.insert("line".into(), first.line.into());
            if first.number > 0 {
                list(&mut members, &self.bad);
            }
        }
        let text = Value::Object(members).to_string();
        let mut answer = answer(self.status, "application/problem+json", text.into());
        if let Some((name, value)) = self.header {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

/// The answer to a request whose messages are safe. Without an acknowledgement, `keep` leaves all of them out.
pub fn taken(
    ack: Option<&str>,
    events: usize,
    bad: &[BadEvent],
    in_kafka: bool,
) -> (StatusCode, Bytes) {
    let mut members = Map::new();
    if let Some(ack) = ack {
        members.insert("ack".into(), ack.into());
    }
    members.insert("events".into(), events.into());
    if in_kafka {
        members.insert("state".into(), "in_kafka".into());
    }
    if !bad.is_empty() {
        list(&mut members, bad);
    }
    let is_done = in_kafka || ack.is_none();
    let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Value::Object(members).to_string().into())
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: Bytes) -> Answer {
    answer(status, "application/json", body)
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Lists the first bad events, and says how many there are.
fn list(members: &mut Map<String, Value>, bad: &[BadEvent]) {
    let listed = bad.iter().take(LISTED).map(|event| {
        json!({
            "line": event.line, "event": event.number, "reason": event.reason.as_str(),
            "detail": explanation(event.reason),
        })
    });
    members.insert("bad_events".into(), bad.len().into());
    members.insert("bad".into(), listed.collect());
}

/// What is wrong, for people.
pub const fn explanation(reason: Reason) -> &'static str {
    match reason {
        Reason::Empty => "there is no event",
        Reason::InvalidUtf8 => "not UTF-8",
        Reason::NotJson => "not JSON, or cut off",
        Reason::NotObject => "JSON, but not an object",
        Reason::TooDeep => "nested too deeply",
        Reason::TooLarge => "larger than max_event_bytes",
        Reason::DuplicateKey => "an object in it has a name twice",
        Reason::MissingId => "its key or a part of its id is absent",
        Reason::BadId => "its key or a part of its id is neither a text nor an integer",
        Reason::BadFraming => "it has no array where one should be",
        Reason::RefusedByKafka => "Kafka refused it",
    }
}
