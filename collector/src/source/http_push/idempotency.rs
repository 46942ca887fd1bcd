//! What was answered to requests with an `Idempotency-Key`, so that a repetition gets the same answer and is not taken
//! again. Only answers that acknowledge are kept: after any other one a repetition is a new attempt.
//!
//! The oldest answers are forgotten when there are more than [`KEYS`], or more than [`BYTES`]; all of them with the
//! process. Copies beyond that are recognised by the ids of their events.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use xxhash_rust::xxh3::xxh3_128;

/// How many answers are kept.
const KEYS: usize = 64 * 1024;
/// How many bytes they may have, with their keys and what it takes to keep them.
const BYTES: usize = 16 << 20;
/// What one takes besides its texts.
const OVERHEAD_BYTES: usize = 256;

/// The answers. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Idempotency(Arc<Mutex<Kept>>);

/// An answer that acknowledges.
pub type Answered = (StatusCode, Bytes);

#[derive(Debug, Default)]
struct Kept {
    requests: HashMap<String, Request>,
    /// The keys of those that were answered, the oldest first.
    answered: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Request {
    /// A hash of the body.
    body: u128,
    /// `None` while it is in hand.
    answer: Option<Answered>,
}

/// What is known of a key.
#[derive(Debug)]
pub enum Known {
    /// Nothing: the request is to be handled. Its answer goes to the claim.
    Nothing(Claim),
    /// What was answered to the same request.
    Answered(Answered),
    /// The same request is in hand.
    InHand,
    /// The key belongs to another body.
    Other,
}

/// A key that is in hand. Dropping it without an answer gives it free.
#[derive(Debug)]
pub struct Claim {
    kept: Idempotency,
    key: Option<String>,
}

impl Idempotency {
    /// Claims the key for a request with this body.
    pub fn claim(&self, key: &str, body: &[u8]) -> Known {
        let body = xxh3_128(body);
        let mut kept = self.lock();
        match kept.requests.get(key) {
            Some(request) if request.body != body => Known::Other,
            Some(Request { answer: Some(answer), .. }) => Known::Answered(answer.clone()),
            Some(Request { answer: None, .. }) => Known::InHand,
            None => {
                kept.requests.insert(key.to_owned(), Request { body, answer: None });
                Known::Nothing(Claim { kept: self.clone(), key: Some(key.to_owned()) })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Keeps the answer.
    pub fn answer(mut self, answer: Answered) {
        let Some(key) = self.key.take() else { return };
        let mut kept = self.kept.lock();
        kept.bytes += bytes(&key, &answer);
        if let Some(request) = kept.requests.get_mut(&key) {
            request.answer = Some(answer);
        }
        kept.answered.push_back(key);
        while kept.answered.len() > KEYS || kept.bytes > BYTES {
            let Some(oldest) = kept.answered.pop_front() else { break };
            if let Some(Request { answer: Some(answer), .. }) = kept.requests.remove(&oldest) {
                kept.bytes -= bytes(&oldest, &answer);
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.kept.lock().requests.remove(&key);
        }
    }
}

fn bytes(key: &str, (_, body): &Answered) -> usize {
    2 * key.len() + body.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(keys: &Idempotency, key: &str, body: &str) -> Claim {
        match keys.claim(key, body.as_bytes()) {
            Known::Nothing(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn answered(text: &str) -> Answered {
        (StatusCode::ACCEPTED, Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_repetition_gets_the_first_answer_and_another_body_none() {
        let keys = Idempotency::default();
        let first = claim(&keys, "k", "body");
        assert!(matches!(keys.claim("k", b"body"), Known::InHand));
        assert!(matches!(keys.claim("k", b"other"), Known::Other));
        first.answer(answered("1"));
        assert!(
            matches!(keys.claim("k", b"body"), Known::Answered(answer) if answer == answered("1"))
        );
        assert!(matches!(keys.claim("k", b"other"), Known::Other));
    }

    #[test]
    fn a_request_that_was_not_acknowledged_can_be_tried_again() {
        let keys = Idempotency::default();
        drop(claim(&keys, "k", "body"));
        claim(&keys, "k", "other").answer(answered("2"));
        assert!(matches!(keys.claim("k", b"other"), Known::Answered(_)));
    }

    #[test]
    fn the_oldest_answers_are_forgotten_when_there_are_too_many() {
        let keys = Idempotency::default();
        let long = "x".repeat(1 << 20);
        for number in 0..40 {
            claim(&keys, &number.to_string(), "").answer(answered(&long));
        }
        let held: Vec<_> = (0..40)
            .filter(|number| keys.lock().requests.contains_key(&number.to_string()))
            .collect();
        assert_eq!(held, (25..40).collect::<Vec<_>>());
        for number in 0..2 * KEYS {
            claim(&keys, &format!("n{number}"), "").answer(answered(""));
        }
        let kept = keys.lock();
        assert_eq!(kept.requests.len(), kept.answered.len());
        assert!(kept.answered.len() <= KEYS && kept.bytes <= BYTES);
    }
}
