//! Answers requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::event::Reason;
use common::event::identity::Identity;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asked::{Asked, Preferences};
use super::auth::{Admitted, Auth};
use super::body::{Form, Undivided};
use super::idempotency::{Answered, Idempotency, Known};
use super::problem::{self, Answer, BadEvent, Problem, RETRY_AFTER_S, Step};
use super::rate::Rate;
use super::reading::{Bodies, Held, Share, discard};
use crate::acks::{Span, State};
use crate::intake::{Intake, Message};
use crate::metrics::PushMetrics;
use crate::receipt::{Outcome, Released};

/// A body of more bytes is divided on a thread of its own, because that takes more than a few microseconds.
const SMALL_BYTES: usize = 32 << 10;
/// How long a request may still take after a stop. Then it is answered, before its connection ends.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

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
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let metrics = self.metrics.clone();
        let stop = self.stop.clone();
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        let answer = tokio::select! {
            biased;
            answer = self.route(request) => answer,
            () = patience => Err(Problem::stopping()),
        };
        let answer = answer.unwrap_or_else(|problem| problem.into_answer());
        metrics.answered(answer.status());
        answer
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Step<Answer> {
        let (head, body) = request.into_parts();
        let admit = || self.auth.admit(&head.headers, self.intake.now_ms().div_euclid(1000));
        if head.uri.path() == "/v1/events" {
            let checked = match &head.method {
                &Method::POST => self.check(&head.headers, &body, admit),
                _ => Err(Problem::method("POST")),
            };
            return match checked {
                Ok((admitted, asked)) => self.take_in(body, &admitted, asked).await,
                Err(problem) => {
                    // A client that waits to be told to go on would be told so by that.
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
        body: &Incoming,
        admit: impl FnOnce() -> Step<Admitted>,
    ) -> Step<(Admitted, Asked)> {
        let admitted = admit()?;
        let asked = Asked::of(headers, &admitted)?;
        self.bodies.check(body)?;
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
    ) -> Step<Answer> {
        let is_stranger = matches!(admitted, Admitted::Signed(_));
        let body = self.bodies.read(body, is_stranger).await?;
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
    async fn divide(self: &Arc<Self>, body: Bytes, form: Form) -> Step<Vec<Event>> {
        if body.len() <= SMALL_BYTES {
            return self.events(&body, form);
        }
        let own = Arc::clone(self);
        let working = tokio::task::spawn_blocking(move || own.events(&body, form));
        working.await.unwrap_or_else(|_panicked| Err(Problem::internal()))
    }

    fn events(&self, body: &Bytes, form: Form) -> Step<Vec<Event>> {
        let parts = form.divide(body, self.max_events).map_err(|error| match error {
            Undivided::Bad { line, reason } => Problem::undivided(line, reason),
            Undivided::TooMany => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_events",
                format!("a request may have {} events; send less at once", self.max_events),
            ),
        })?;
        let event = |part: super::body::Part| {
            // A copy, because a slice would keep the whole body in memory.
            let payload = Bytes::copy_from_slice(&body[part.span]);
            Event { identity: self.intake.identify(&payload), payload, line: part.line }
        };
        Ok(parts.into_iter().map(event).collect())
    }

    /// Hands events to the pipeline, and waits until they are safe. `share` is the memory of their body.
    async fn take(&self, events: Vec<Event>, share: Share, asked: Preferences) -> Step<Answered> {
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
            // Others may have come since the head of this request.
            rate.take(count, Instant::now()).map_err(Problem::too_fast)?;
        }
        let pushed = self.push(events, share).await;
        if let (Err(_), Some(rate)) = (&pushed, &self.rate) {
            rate.give_back(count);
        }
        let (span, good) = (pushed?, count - bad.len());
        let Some(span) = span else {
            self.metrics.events.inc_by(good as u64);
            return Ok(problem::taken(None, good, &bad, false));
        };
        let ack = self.intake.acks().give(&self.source, span);
        let mut in_kafka = false;
        if asked.sync {
            let settled = timeout(asked.wait, self.intake.acks().settled(span));
            match self.stop.run_until_cancelled(settled).await {
                Some(Ok(State::Lost)) => {
                    let detail = "some of the events may have been lost again; send them again";
                    return Err(Problem::unavailable(detail, RETRY_AFTER_S));
                }
                Some(Ok(state)) => in_kafka = state == State::InKafka,
                Some(Err(_)) | None => {}
            }
        }
        self.metrics.events.inc_by(good as u64);
        Ok(problem::taken(Some(&ack), good, &bad, in_kafka))
    }

    /// Where they are in the log; `None` if `keep` leaves all of them out.
    async fn push(&self, events: Vec<Event>, share: Share) -> Step<Option<Span>> {
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
            Ok(Err(_closed)) => Ok(Outcome::Dropped),
            Err(elapsed) => Err(elapsed),
        };
        match (outcome, released.range()) {
            (Ok(Outcome::Released | Outcome::Refused(_)), range) => {
                Ok(range.map(|(first, last)| Span { first, last }))
            }
            (Ok(Outcome::Dropped), _) => Err(Problem::stopping()),
            (Err(_elapsed), _) => Err(Problem::unavailable(
                "the events could not be made safe in time, because the log is full, cannot be written, or has much to do, or \
                 because the source waits for kafka as well; send them again",
                RETRY_AFTER_S,
            )),
        }
    }

    /// What became of the request with this acknowledgement.
    fn fate(&self, id: &str) -> Step<Answer> {
        let found = self.intake.acks().find(&self.source, id);
        let fate = found.map_err(|unknown| {
            let why = unknown.to_string();
            if unknown.retryable() {
                Problem::unavailable(&why, RETRY_AFTER_S)
            } else {
                Problem::not_found(why)
            }
        })?;
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
        let mut body = json!({
            "ack": id, "state": state, "dead_letters": letters,
            "complete": fate.is_complete,
        });
        if let Some(as_of_ms) = fate.as_of_ms {
            body["as_of_ms"] = as_of_ms.into();
        }
        Ok(problem::json(StatusCode::OK, body.to_string().into()))
    }
}
