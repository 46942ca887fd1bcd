//! Answers requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::event::Reason;
use common::event::identity::Identity;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asked::{Asked, Preferences};
use super::auth::{Admitted, Auth};
use super::body::{Form, Undivided};
use super::idempotency::{Answered, Idempotency, Known};
use super::problem::{self, BadEvent, Outcome, Problem, RETRY_AFTER_S, Sent};
use super::rate::Rate;
use super::reading::{Bodies, Held, discard};
use crate::acks::{Span, State};
use crate::intake::{Intake, Message};
use crate::metrics::PushMetrics;
use crate::receipt::{self, Released};

/// A body of more bytes is divided on a thread of its own, because that takes more than a few microseconds.
const SMALL_BYTES: usize = 32 << 10;

/// What all connections of a source share.
pub struct Handler {
    pub(super) source: Arc<str>,
    pub(super) intake: Intake,
    /// Held while the events of a request are pushed, so that no other request's are between them.
    pub(super) order: Mutex<()>,
    pub(super) auth: Auth,
    pub(super) keys: Idempotency,
    pub(super) rate: Option<Rate>,
    pub(super) bodies: Bodies,
    pub(super) max_events: usize,
    /// How long taking a request may take until it is safe.
    pub(super) accept_timeout: Duration,
    pub(super) metrics: PushMetrics,
    /// What is in hand; a stop waits for it.
    pub(super) tasks: TaskTracker,
    /// Ends the waiting for Kafka.
    pub(super) stop: CancellationToken,
}

/// An event of a request, or what is none.
struct Event {
    payload: Bytes,
    line: usize,
    identity: Result<Identity, Reason>,
}

impl Handler {
    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Sent {
        let metrics = self.metrics.clone();
        let answer = self.route(request).await.unwrap_or_else(|problem| problem.into_answer());
        metrics.answered(answer.status());
        answer
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Outcome<Sent> {
        let (head, body) = request.into_parts();
        let admit = || self.auth.admit(&head.headers, self.intake.now_ms().div_euclid(1000));
        if head.uri.path() == "/v1/events" {
            let checked = match &head.method {
                &Method::POST => self.check(&head.headers, admit),
                _ => Err(Problem::method("POST")),
            };
            return match checked {
                Ok((admitted, asked)) => self.take_in(body, &admitted, asked).await,
                Err(problem) => {
                    if !head.headers.contains_key(http::header::EXPECT) {
                        discard(body).await;
                    }
                    Err(problem)
                }
            };
        }
        let Some(id) = head.uri.path().strip_prefix("/v1/acks/") else {
            return Err(Problem::not_found("there is /v1/events and /v1/acks/ID"));
        };
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(Problem::method("GET, HEAD"));
        }
        // A signature is that of a body without bytes.
        self.auth.verify(&admit()?, b"")?;
        self.fate(id)
    }

    /// What can be said before the body is read.
    fn check(
        &self,
        headers: &http::HeaderMap,
        admit: impl FnOnce() -> Outcome<Admitted>,
    ) -> Outcome<(Admitted, Asked)> {
        let (admitted, asked) = (admit()?, Asked::of(headers)?);
        if let Some(rate) = &self.rate {
            rate.admit(Instant::now()).map_err(Problem::too_fast)?;
        }
        Ok((admitted, asked))
    }

    async fn take_in(
        self: Arc<Self>,
        body: Incoming,
        admitted: &Admitted,
        asked: Asked,
    ) -> Outcome<Sent> {
        let body = self.bodies.read(body).await?;
        self.auth.verify(admitted, &body.bytes)?;
        let claim = match &asked.key {
            None => None,
            Some(key) => match self.keys.claim(key, &body.bytes) {
                Known::Nothing(claim) => Some(claim),
                Known::Answered((status, body)) => {
                    let mut answer = problem::json(status, body);
                    let yes = http::HeaderValue::from_static("true");
                    answer.headers_mut().insert("idempotency-replayed", yes);
                    return Ok(answer);
                }
                Known::InHand => return Err(Problem::in_hand()),
                Known::Other => {
                    return Err(Problem::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "idempotency_key",
                        "this Idempotency-Key came with another body; use a new one for each body",
                    ));
                }
            },
        };
        let body = self.bodies.decompress(body, asked.encoding).await?;
        let tasks = self.tasks.clone();
        // A client that goes away does not stop this: it may ask again, with the same key.
        let taking = tasks.spawn(async move {
            let Held { bytes, share } = body;
            let events = self.divide(bytes, asked.form).await?;
            let answered = self.take(events, share, asked.preferences).await?;
            if let Some(claim) = claim {
                claim.answer(answered.clone());
            }
            Ok(answered)
        });
        let (status, body) = taking.await.unwrap_or_else(|_panicked| Err(Problem::internal()))?;
        Ok(problem::json(status, body))
    }

    /// Divides a body into its events, and reads who they are.
    async fn divide(self: &Arc<Self>, body: Bytes, form: Form) -> Outcome<Vec<Event>> {
        if body.len() <= SMALL_BYTES {
            return self.events(&body, form);
        }
        let own = Arc::clone(self);
        let working = tokio::task::spawn_blocking(move || own.events(&body, form));
        working.await.unwrap_or_else(|_panicked| Err(Problem::internal()))
    }

    fn events(&self, body: &Bytes, form: Form) -> Outcome<Vec<Event>> {
        let parts = form.divide(body, self.max_events).map_err(|error| match error {
            Undivided::Bad { line, reason } => Problem::undivided(line, reason),
            Undivided::TooMany => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_events",
                format!("a request may have {} events; send less at once", self.max_events),
            ),
        })?;
        // An event that waits keeps its whole body in memory. So if most of that is white space, the events are copied.
        let bytes: usize = parts.iter().map(|part| part.span.len()).sum();
        let is_dense = bytes >= body.len() / 2;
        let event = |part: super::body::Part| {
            let payload = if is_dense {
                body.slice(part.span)
            } else {
                Bytes::copy_from_slice(&body[part.span])
            };
            Event { identity: self.intake.identify(&payload), payload, line: part.line }
        };
        Ok(parts.into_iter().map(event).collect())
    }

    /// Hands events to the pipeline, and waits until they are safe. `share` is the memory of their body.
    async fn take(
        &self,
        events: Vec<Event>,
        share: OwnedSemaphorePermit,
        asked: Preferences,
    ) -> Outcome<Answered> {
        let count = events.len();
        let bad = (1..).zip(&events).filter_map(|(number, event)| {
            let reason = *event.identity.as_ref().err()?;
            Some(BadEvent { number, line: event.line, reason })
        });
        let bad: Vec<_> = bad.collect();
        if bad.len() == count || (asked.strict && !bad.is_empty()) {
            return Err(Problem::bad_events(bad, count));
        }
        if let Some(rate) = &self.rate {
            rate.take(count, Instant::now());
        }
        let span = self.push(events, share).await?;
        let ack = self.intake.acks().give(&self.source, span);
        let in_kafka = asked.sync && {
            let delivered = timeout(asked.wait, self.intake.acks().delivered(span));
            matches!(self.stop.run_until_cancelled(delivered).await, Some(Ok(())))
        };
        self.metrics.events.inc_by((count - bad.len()) as u64);
        Ok(problem::taken(&ack, count - bad.len(), &bad, in_kafka))
    }

    async fn push(&self, events: Vec<Event>, share: OwnedSemaphorePermit) -> Outcome<Span> {
        let deadline = tokio::time::Instant::now() + self.accept_timeout;
        let (released, received_ms) = (Released::default(), self.intake.now_ms());
        let pushing = async {
            let _order = self.order.lock().await;
            for Event { payload, identity, .. } in events {
                let receipt = Some(released.receipt());
                let message = Message { payload, received_ms, identity, cursor: None, receipt };
                self.intake.push(message).await?;
            }
            // From here on the queue counts the bytes.
            drop(share);
            Ok::<_, crate::intake::Closed>(())
        };
        let outcome = match timeout_at(deadline, pushing).await {
            Ok(Ok(())) => timeout_at(deadline, released.outcome()).await,
            Ok(Err(_closed)) => Ok(receipt::Outcome::Dropped),
            Err(elapsed) => Err(elapsed),
        };
        match (outcome, released.range()) {
            (
                Ok(receipt::Outcome::Released | receipt::Outcome::Refused(_)),
                Some((first, last)),
            ) => Ok(Span { first, last }),
            (Ok(_), _) => {
                Err(Problem::unavailable("this collector stops; send it again", RETRY_AFTER_S))
            }
            (Err(_elapsed), _) => Err(Problem::unavailable(
                "the events could not be made safe in time, because the log is full, cannot be written, or has much to do; send \
                 them again",
                RETRY_AFTER_S,
            )),
        }
    }

    /// What became of the request with this acknowledgement.
    fn fate(&self, id: &str) -> Outcome<Sent> {
        let found = self.intake.acks().find(&self.source, id);
        let fate = found.map_err(|unknown| Problem::not_found(unknown.to_string()))?;
        let state = match fate.state {
            State::Logged => "logged",
            State::InKafka => "in_kafka",
            State::Lost => "lost",
        };
        let letters: Vec<_> = fate
            .dead_letters
            .iter()
            .map(|(seq, reason)| {
                let detail = problem::explanation(*reason);
                json!({"mr_seq": seq, "reason": reason.as_str(), "detail": detail})
            })
            .collect();
        let body = json!({
            "ack": id, "state": state, "dead_letters": letters,
            "dead_letters_complete": fate.is_complete,
        });
        Ok(problem::json(StatusCode::OK, body.to_string().into()))
    }
}
