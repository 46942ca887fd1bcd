//! A feed that is asked again and again, and answers with what there is: at once, or when there is something new.
//!
//! | what happens | what is done |
//! |---|---|
//! | an answer | its elements are messages, as `framing` says; those that came before are recognised by their ids later |
//! | 304, 204, an empty answer or an empty array | nothing new; the feed lives |
//! | `ETag`, `Last-Modified` | sent back as `If-None-Match`, `If-Modified-Since` while the same is asked for |
//! | `X-Poll-Interval` | the feed is not asked more often than that, if it is longer than `interval`; also not after a failure |
//! | no whole answer within `answer_timeout` | it is given up; the next one asks again |
//! | an answer above `max_message_bytes` | its first bytes are a dead letter, the rest is not read; unreadable |
//! | an answer that `framing` does not fit | a dead letter; unreadable if it does not say how to go on |

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use http::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep_until, timeout};

use super::feed::{CUT_BYTES, Closing, Frame, Lost, Protocol, Settings, Stream};
use super::framing::split;
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
    section: Section,
    /// Held by the polls between two failures.
    poll: Arc<Mutex<Poll>>,
}

/// What is needed to ask, and what is known of the last answer.
struct Poll {
    client: HttpClient,
    section: Section,
    begin: Begin,
    /// What the last answer to a request that began there was marked with.
    validators: HeaderMap,
    /// How long it is at least from one request to the next.
    interval: Duration,
    /// When the feed may be asked again.
    next_at: Instant,
    /// Whether the last answer cannot be read, so that the same request would get it again.
    is_stuck: bool,
}

/// The polls between two failures.
pub struct Polling {
    poll: OwnedMutexGuard<Poll>,
    /// The answer that is not taken yet.
    answer: Option<Frame>,
}

impl LongPoll {
    /// Prepares polls.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(section: &Section) -> Result<Self, Error> {
        let client =
            HttpClient::new(&section.connect, &section.resume, "application/json, */*;q=0.5")?;
        let poll = Poll {
            client,
            section: section.clone(),
            begin: Begin::AsConfigured,
            validators: HeaderMap::new(),
            interval: section.interval,
            next_at: Instant::now(),
            is_stuck: false,
        };
        Ok(Self { section: section.clone(), poll: Arc::new(Mutex::new(poll)) })
    }
}

impl Protocol for LongPoll {
    type Stream = Polling;

    fn settings(&self) -> Settings {
        let Section { connect, resume, framing, .. } = &self.section;
        Settings { connect: connect.clone(), resume: resume.clone(), framing: framing.clone() }
    }

    fn patience(&self) -> Duration {
        self.section.interval.max(LONGEST_WAIT) + self.section.answer_timeout
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Polling, Lost> {
        let mut poll = Arc::clone(&self.poll).lock_owned().await;
        poll.begin_at(begin.clone());
        let answer = poll.ask().await?;
        Ok(Polling { poll, answer })
    }
}

impl Stream for Polling {
    async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.answer.take() {
                return Ok(frame);
            }
            if self.poll.is_stuck {
                return Err(Lost::unreadable(
                    "the answer is too large or not divided as framing says, and it would come again",
                ));
            }
            self.answer = self.poll.ask().await?;
        }
    }

    async fn close(self, _: Closing) {}
}

impl Poll {
    /// Asks from `begin` on. Marks belong to one address, and the query is a part of that.
    fn begin_at(&mut self, begin: Begin) {
        if self.begin != begin {
            self.begin = begin;
            self.validators.clear();
        }
    }

    /// Asks once, as soon as the feed may be asked; `None` if there is nothing new.
    async fn ask(&mut self) -> Result<Option<Frame>, Lost> {
        sleep_until(self.next_at).await;
        let asked_at = Instant::now();
        // If there is no answer, what the last one said goes on.
        self.next_at = asked_at + self.interval;
        self.is_stuck = false;
        let (section, patience) = (&self.section, self.section.answer_timeout);
        let asked = async {
            let answer = self.client.get(&self.begin, &self.validators).await?;
            let interval = interval(&answer.headers).max(section.interval);
            match answer.status {
                StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {
                    let validators = validators(&answer.headers);
                    let frame = whole(answer, section.connect.max_message_bytes).await?;
                    Ok((interval, Some((frame, validators))))
                }
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Ok((interval, None)),
                status => Err(Lost::new(format!("the server answers {status}, and no events"))),
            }
        };
        let asked: Result<Result<_, Lost>, _> = timeout(patience, asked).await;
        let (interval, answered) = asked.map_err(|_| {
            Lost::new(format!(
                "no whole answer within {} ms, the answer_timeout",
                patience.as_millis()
            ))
        })??;
        self.interval = interval;
        self.next_at = asked_at + interval;
        let Some((mut frame, validators)) = answered else { return Ok(None) };
        self.validators = validators;
        if frame.payload.trim_ascii().is_empty() {
            return Ok(None);
        }
        let Section { resume, framing, .. } = &self.section;
        if frame.cut.is_none() {
            frame.cursor = position::after(resume, framing, &frame.payload, &self.begin);
        }
        self.is_stuck = frame.cut.is_some()
            || frame.cursor.is_none() && split(framing, &frame.payload).is_err();
        if self.is_stuck {
            // Nothing of it was taken, so that it must not be said to be known.
            self.validators.clear();
        }
        if let Some(cursor) = &frame.cursor {
            self.begin_at(Begin::After(cursor.clone()));
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
