//! Topics of an MQTT broker, version 5 and 3.1.1.
//!
//! The session outlasts a connection, and a process: the broker keeps what comes for it meanwhile. With `qos = 1` a message is
//! acknowledged when it is safe, in the order in which the messages came; what was not acknowledged comes again.
//!
//! | what happens | what is done |
//! |---|---|
//! | the connection breaks | connected again; what was not acknowledged comes again |
//! | the broker does not know the session any more, though there was one | a gap is told and counted; subscribed again |
//! | a filter is refused | the source is not ready and says which |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter, it is acknowledged, and the rest is dropped while it arrives |
//! | the queue is full | nothing is read; the connection is kept alive |
//! | nothing comes, not even the answer to a ping | connected again |
//! | another client has the same `client_id` | the reason says so |

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::dial::Dialer;
use super::feed::{Closing, Frame, Lost, Protocol, Settings, Stream};
use super::resume_point::Begin;
use crate::config::{Mqtt as Section, Transport};
use crate::error::Error;
use crate::metrics::SourceMetrics;
use connection::Open;
use packets::{Incoming, Opening, Packets};

mod connection;
mod packets;
#[cfg(test)]
mod tests;

/// How long a connection may be quiet before a ping is sent.
const KEEP_ALIVE_S: u16 = 30;
/// How long taking leave may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// The protocol of a broker.
pub struct Mqtt {
    source: Arc<str>,
    section: Section,
    url: Url,
    dialer: Dialer,
    metrics: SourceMetrics,
    /// Whether the broker has taken the subscriptions of this process.
    is_subscribed: Arc<AtomicBool>,
}

/// A connection to a broker.
pub struct Connected {
    frames: mpsc::Receiver<Result<Frame, Lost>>,
    close: mpsc::Sender<()>,
    task: AbortOnDropHandle<()>,
}

impl Mqtt {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(
        source: &Arc<str>,
        section: &Section,
        metrics: SourceMetrics,
    ) -> Result<Self, Error> {
        let url = section.connect.address(Transport::Mqtt).map_err(Error::Address)?;
        let dialer = Dialer::new(&section.connect)?;
        let mqtt = Self {
            source: Arc::clone(source),
            section: section.clone(),
            url,
            dialer,
            metrics,
            is_subscribed: Arc::default(),
        };
        mqtt.login().map_err(Error::Push)?;
        Ok(mqtt)
    }

    /// User and password. Files are read now.
    fn login(&self) -> Result<(Option<String>, Option<String>), String> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let in_url = Some(self.url.username()).filter(|user| !user.is_empty()).map(decoded);
        let user = match &*self.section.username {
            "" => in_url,
            user => Some(user.to_owned()),
        };
        let path = &self.section.password_file;
        let password = if path.as_os_str().is_empty() {
            self.url.password().map(decoded)
        } else {
            Some(read(path)?)
        };
        Ok((user, password))
    }

    /// The id of the session.
    fn client_id(&self) -> String {
        match &*self.section.client_id {
            "" => format!("millrace-{}", self.source),
            id => id.to_owned(),
        }
    }

    async fn open(&self, begin: &Begin) -> Result<Open, Lost> {
        let Section { connect, version, qos, topics, session_expiry, .. } = &self.section;
        let (user, password) = self.login()?;
        let socket = self.dialer.dial(&self.url).await?;
        let packets = Packets::new(*version, connect.max_message_bytes);
        let keep_alive = Duration::from_secs(KEEP_ALIVE_S.into());
        let mut open = Open {
            socket,
            packets,
            arrived: BytesMut::new(),
            keep_alive,
            sent: Instant::now(),
            topics: topics.clone(),
            is_subscribed: Arc::clone(&self.is_subscribed),
        };
        let opening = packets::connect(
            *version,
            &Opening {
                client_id: &self.client_id(),
                user: user.as_deref(),
                password: password.as_deref(),
                keep_alive_s: KEEP_ALIVE_S,
                session_expiry_s: u32::try_from(session_expiry.as_secs()).unwrap_or(u32::MAX),
                is_lasting: *qos > 0,
            },
        )?;
        open.send(&opening).await?;
        let is_known = match open.next().await? {
            Incoming::Open { is_known, keep_alive_s } => {
                if let Some(seconds) = keep_alive_s.filter(|seconds| *seconds > 0) {
                    open.keep_alive = Duration::from_secs(seconds.into());
                }
                is_known
            }
            Incoming::Refused(why) | Incoming::Closing(why) => {
                return Err(Lost::new(refused(&why)));
            }
            _ => return Err(Lost::new("the broker does not answer as one")),
        };
        if !is_known && matches!(begin, Begin::After(_)) {
            tracing::warn!(
                source = &*self.source,
                "gap: the broker does not know the session any more, so messages that came meanwhile are missing"
            );
            self.metrics.gaps.inc();
        }
        if !is_known {
            // Until the broker has said that it took the subscription, also if the connection breaks before.
            self.is_subscribed.store(false, Ordering::Relaxed);
        }
        // Other filters may be configured than those that the session has.
        if !self.is_subscribed.load(Ordering::Relaxed) {
            open.send(&packets::subscribe(*version, topics, *qos)?).await?;
        }
        Ok(open)
    }
}

impl Protocol for Mqtt {
    type Stream = Connected;

    fn settings(&self) -> Settings {
        let Section { connect, framing, .. } = &self.section;
        let (connect, framing) = (connect.clone(), framing.clone());
        Settings { connect, resume: self.section.resume(), framing }
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Connected, Lost> {
        let open = self.open(begin).await?;
        let (sender, frames) = mpsc::channel(1);
        let (close, closed) = mpsc::channel(1);
        let task = AbortOnDropHandle::new(tokio::spawn(open.serve(sender, closed)));
        Ok(Connected { frames, close, task })
    }
}

impl Stream for Connected {
    async fn next(&mut self) -> Result<Frame, Lost> {
        match self.frames.recv().await {
            Some(frame) => frame,
            None => Err(Lost::new("the connection ended")),
        }
    }

    async fn close(self, closing: Closing) {
        let Self { frames, close, task } = self;
        if closing != Closing::Lost {
            // First, so that leave is taken. What was not taken is not acknowledged.
            drop(close);
            drop(frames);
            // The broker notices by itself if this does not arrive.
            let _left = tokio::time::timeout(CLOSE_DEADLINE, task).await;
        }
    }
}

/// The password in a file.
fn read(path: &Path) -> Result<String, String> {
    let failed = |why: &str| format!("password_file: cannot read {}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(&error.to_string()))?;
    // A line break at the end does not belong to it.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Why the broker does not open a session.
fn refused(why: &str) -> String {
    let advice = if why.starts_with("BadUserNameOrPassword") || why.starts_with("NotAuthorized") {
        "; check username and password_file"
    } else if why.contains("ProtocolVersion") {
        "; set version = \"3.1.1\""
    } else if why.contains("dentifier") {
        "; set another client_id"
    } else {
        ""
    };
    format!("the broker refuses the session: {why}{advice}")
}
