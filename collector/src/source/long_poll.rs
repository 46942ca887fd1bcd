//! A feed that is asked again and again, and answers with what there is: at once, or when there is something new.
//!
//! | what happens | what is done |
//! |---|---|
//! | an answer | its elements are messages, as `framing` says; those that came before are recognised by their ids later |
//! | 304, 204 or an empty array | nothing new; the feed lives |
//! | `ETag`, `Last-Modified` | sent back as `If-None-Match`, `If-Modified-Since` |
//! | `X-Poll-Interval` | the feed is not asked more often than that, if it is longer than `interval` |
//! | no whole answer within `answer_timeout` | it is given up; the next one asks again |
//! | an answer above `max_message_bytes` | its first bytes are a dead letter, and the rest is not read |

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use http::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::feed::{CUT_BYTES, Closing, Frame, Lost, Protocol, Settings, Stream};
use super::http_client::{Answer, HttpClient, LONGEST_WAIT};
use super::resume_point::Begin;
use crate::config::LongPoll as Section;
use crate::error::Error;

mod position;
#[cfg(test)]
mod tests;

const X_POLL_INTERVAL: HeaderName = HeaderName::from_static("x-poll-interval");

/// The protocol of a feed.
pub struct LongPoll {
    poll: Arc<Poll>,
}

/// What is needed to ask.
struct Poll {
    client: HttpClient,
    section: Section,
}

/// The polls between two failures.
pub struct Polling {
    poll: Arc<Poll>,
    begin: Begin,
    /// What the last answer was marked with.
    validators: HeaderMap,
    /// The answer that is not taken yet.
    answer: Option<Frame>,
    /// When the feed may be asked again.
    next_at: Instant,
}

impl LongPoll {
    /// Prepares polls.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(section: &Section) -> Result<Self, Error> {
        let client =
            HttpClient::new(&section.connect, &section.resume, "application/json, */*;q=0.5")?;
        Ok(Self { poll: Arc::new(Poll { client, section: section.clone() }) })
    }
}

impl Protocol for LongPoll {
    type Stream = Polling;

    fn settings(&self) -> Settings {
        let Section { connect, resume, framing, .. } = &self.poll.section;
        Settings { connect: connect.clone(), resume: resume.clone(), framing: framing.clone() }
    }

    fn patience(&self) -> Duration {
        self.poll.section.answer_timeout
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Polling, Lost> {
        let mut polling = Polling {
            poll: Arc::clone(&self.poll),
            begin: begin.clone(),
            validators: HeaderMap::new(),
            answer: None,
            next_at: Instant::now(),
        };
        polling.answer = polling.ask().await?;
        Ok(polling)
    }
}

impl Stream for Polling {
    async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.answer.take() {
                return Ok(frame);
            }
            sleep_until(self.next_at).await;
            self.answer = self.ask().await?;
        }
    }

    async fn close(self, _: Closing) {}
}

impl Polling {
    /// Asks once; `None` if there is nothing new.
    async fn ask(&mut self) -> Result<Option<Frame>, Lost> {
        let section = &self.poll.section;
        let asked_at = Instant::now();
        let patience = section.answer_timeout;
        let asked = async {
            let answer = self.poll.client.get(&self.begin, &self.validators).await?;
            let interval = interval(&answer.headers).max(section.interval);
            if answer.status != StatusCode::OK {
                return Ok((None, None, interval));
            }
            let validators = validators(&answer.headers);
            let frame = whole(answer, section.connect.max_message_bytes).await?;
            Ok((Some(frame), Some(validators), interval))
        };
        let asked: Result<Result<_, Lost>, _> = timeout(patience, asked).await;
        let (frame, validators, interval) = asked.map_err(|_| {
            Lost::new(format!(
                "no whole answer within {} ms, the answer_timeout",
                patience.as_millis()
            ))
        })??;
        self.next_at = asked_at + interval;
        if let Some(validators) = validators {
            self.validators = validators;
        }
        let Some(mut frame) = frame else { return Ok(None) };
        if frame.cut.is_none() {
            frame.cursor =
                position::after(&section.resume, &section.framing, &frame.payload, &self.begin);
            if let Some(cursor) = &frame.cursor {
                self.begin = Begin::After(cursor.clone());
            }
        }
        Ok(Some(frame))
    }
}

/// Reads an answer to its end, or to the limit.
async fn whole(mut answer: Answer, limit: usize) -> Result<Frame, Lost> {
    let mut payload = BytesMut::new();
    while let Some(chunk) = answer.body.chunk().await? {
        payload.extend_from_slice(&chunk);
        if payload.len() > limit {
            payload.truncate(CUT_BYTES.min(limit));
            return Ok(Frame {
                payload: payload.freeze(),
                cut: Some(limit as u64 + 1),
                ..Frame::default()
            });
        }
    }
    Ok(Frame { payload: payload.freeze(), ..Frame::default() })
}

/// What is sent back with the next request, so that the same answer need not be sent again.
fn validators(headers: &HeaderMap) -> HeaderMap {
    let pairs = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    pairs.into_iter().filter_map(|(from, to)| Some((to, headers.get(from)?.clone()))).collect()
}

/// How often the feed wants to be asked.
fn interval(headers: &HeaderMap) -> Duration {
    let written = headers.get(X_POLL_INTERVAL).map(HeaderValue::to_str);
    let seconds = written.and_then(|text| text.ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST_WAIT)
}
