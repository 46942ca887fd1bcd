//! A feed of server-sent events (WHATWG HTML, section 9.2).
//!
//! An event's data is a message; its id is the cursor, which is sent back as `Last-Event-ID`.
//!
//! | what happens | what is done |
//! |---|---|
//! | no byte for `idle_timeout`, comments included | the connection is given up |
//! | `retry` | the feed is left alone for that long after each connection, a minute at most |
//! | an event is above `max_message_bytes` | its first bytes are a dead letter when it ends, and the rest is dropped while it arrives |
//! | an event is of a type that `events` does not name | it is not a message |
//! | the answer ends in the middle of an event | that part is dropped: the feed is asked again, or there is a gap |
//! | an answer that is not an event stream, or 204 | the connection is given up; unlike a browser, the collector asks again |

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::feed::{Closing, Frame, Lost, Protocol, Settings, Stream};
use super::http_client::{Body, HttpClient, media_type};
use super::resume_point::Begin;
use crate::config::{Resume, Sse as Section};
use crate::error::Error;
use events::Events;

mod events;
#[cfg(test)]
mod tests;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The protocol of a feed.
pub struct Sse {
    client: HttpClient,
    section: Section,
}

/// A connection to a feed.
pub struct Streaming {
    body: Body,
    events: Events,
    idle_timeout: Option<Duration>,
}

impl Sse {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(section: &Section) -> Result<Self, Error> {
        let client = HttpClient::new(&section.connect, &section.resume, "text/event-stream")?;
        Ok(Self { client, section: section.clone() })
    }
}

impl Protocol for Sse {
    type Stream = Streaming;

    fn settings(&self) -> Settings {
        let Section { connect, resume, framing, .. } = &self.section;
        Settings { connect: connect.clone(), resume: resume.clone(), framing: framing.clone() }
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Streaming, Lost> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let (Begin::After(id), Resume::LastEventId) = (begin, &self.section.resume) {
            let id = HeaderValue::from_maybe_shared(id.clone());
            headers.insert(
                LAST_EVENT_ID,
                id.map_err(|_| Lost::unreadable("the stored event id is not valid in a header"))?,
            );
        }
        let answer = self.client.get(begin, &headers).await?;
        if answer.status != StatusCode::OK {
            return Err(Lost::new(format!("the server answers {}, and no events", answer.status)));
        }
        let media_type = media_type(&answer.headers);
        if media_type != "text/event-stream" {
            return Err(Lost::new(format!(
                "the server answers with '{media_type}', which is not an event stream (text/event-stream)"
            )));
        }
        let limit = self.section.connect.max_message_bytes;
        let events = Events::new(&self.section.events, limit);
        let idle_timeout = self.section.idle_timeout;
        Ok(Streaming { body: answer.body, events, idle_timeout })
    }
}

impl Stream for Streaming {
    async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.events.next() {
                return Ok(frame);
            }
            let wait = self.events.retry();
            match self
                .body
                .chunk_within(self.idle_timeout)
                .await
                .map_err(|lost| lost.after(wait))?
            {
                Some(chunk) => self.events.push(chunk),
                None => return Err(Lost::new("the server ended its answer").after(wait)),
            }
        }
    }

    async fn close(self, _: Closing) {}
}
