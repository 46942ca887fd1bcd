//! A feed that answers one request without end: JSON texts, one a line or one after another.
//!
//! | what happens | what is done |
//! |---|---|
//! | no byte for `idle_timeout`, blank lines included | the connection is given up |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter; the rest of a line is dropped while it arrives |
//! | a JSON text without lines is above it | also unreadable, because it is not known where the next one begins |
//! | the answer ends in the middle of a message | that part is dropped: the feed is asked again, or there is a gap |

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::feed::{Closing, Frame, Lost, Protocol, Settings, Stream};
use super::http_client::{Body, HttpClient};
use super::resume_point::Begin;
use super::splitter::Splitter;
use crate::config::{Framing, HttpStream as Section};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// The protocol of a feed.
pub struct HttpStream {
    client: HttpClient,
    section: Section,
}

/// A connection to a feed.
pub struct Streaming {
    body: Body,
    splitter: Splitter,
    idle_timeout: Option<Duration>,
    ended: bool,
}

impl HttpStream {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(section: &Section) -> Result<Self, Error> {
        let accept = "application/x-ndjson, application/json, */*;q=0.5";
        let client = HttpClient::new(&section.connect, &section.resume, accept)?;
        Ok(Self { client, section: section.clone() })
    }
}

impl Protocol for HttpStream {
    type Stream = Streaming;

    fn settings(&self) -> Settings {
        let Section { connect, resume, .. } = &self.section;
        // The stream is divided here.
        Settings { connect: connect.clone(), resume: resume.clone(), framing: Framing::One }
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Streaming, Lost> {
        let answer = self.client.get(begin, &HeaderMap::new()).await?;
        if answer.status != StatusCode::OK {
            return Err(Lost::new(format!("the server answers {}, and no stream", answer.status)));
        }
        let limit = self.section.connect.max_message_bytes;
        let splitter = Splitter::new(&self.section.framing, limit);
        let idle_timeout = self.section.idle_timeout;
        Ok(Streaming { body: answer.body, splitter, idle_timeout, ended: false })
    }
}

impl Stream for Streaming {
    async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.splitter.next()? {
                return Ok(frame);
            }
            if self.ended {
                return Err(Lost::new("the server ended its answer"));
            }
            match self.body.chunk_within(self.idle_timeout).await? {
                Some(chunk) => self.splitter.push(chunk),
                None => {
                    self.ended = true;
                    self.splitter.end();
                }
            }
        }
    }

    async fn close(self, _: Closing) {}
}
