//! Topics of an MQTT broker, version 5 and 3.1.1.
//!
//! The session outlasts a connection, and a process: the broker keeps what comes for it meanwhile. With `qos = 1` a message is
//! acknowledged when it is safe, in the order in which the messages came; what was not acknowledged comes again.
//!
//! | what happens | what is done |
//! |---|---|
//! | the connection breaks | connected again; what was not acknowledged comes again |
//! | the broker does not know the session any more, though there was one | a gap; subscribed again |
//! | the session has a filter that is not configured any more | it is given up |
//! | a message comes with QoS 0, or the broker grants no more | it is told; each interruption is a gap from then on |
//! | a filter is refused | the source is not ready and says which |
//! | a message is above `max_message_bytes` | its first bytes are a dead letter, it is acknowledged, and the rest is dropped while it arrives |
//! | the queue is full | nothing is read; the connection is kept alive |
//! | nothing comes, not even the answer to a ping | connected again |
//! | another client has the same `client_id` | the reason says so |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::dial::Dialer;
use super::feed::{Closing, Frame, Lost, Protocol, Settings, Stream};
use super::request::read;
use super::resume_point::Begin;
use crate::config::{Mqtt as Section, Transport};
use crate::error::Error;
use connection::Open;
use packets::{Incoming, Opening, Packets};

mod connection;
mod filters;
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
    /// Whether the broker has taken the subscriptions of this process, and has given up former ones.
    is_subscribed: Arc<AtomicBool>,
    /// Whether messages have come, or may come, that the session does not keep.
    is_lossy: Arc<AtomicBool>,
}

/// A connection to a broker.
pub struct Connected {
    frames: mpsc::Receiver<Result<Frame, Lost>>,
    close: mpsc::Sender<()>,
    task: AbortOnDropHandle<()>,
    /// Whether the session was there before.
    is_known: bool,
    /// Cancelled when the broker has taken the subscriptions.
    subscribed: CancellationToken,
}

impl Mqtt {
    /// Prepares connections.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn new(source: &Arc<str>, section: &Section) -> Result<Self, Error> {
        let url = section.connect.address(Transport::Mqtt).map_err(Error::Address)?;
        let dialer = Dialer::new(&section.connect)?;
        let mqtt = Self {
            source: Arc::clone(source),
            section: section.clone(),
            url,
            dialer,
            is_subscribed: Arc::default(),
            is_lossy: Arc::default(),
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
            let text = read(path)
                .map_err(|why| format!("password_file: cannot read {}: {why}", path.display()))?;
            // A line break at the end does not belong to it.
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
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

    /// Opens the session. Also returns whether it was there before.
    async fn open(&self, begin: &Begin) -> Result<(Open, bool), Lost> {
        let Section { connect, version, qos, topics, session_expiry, .. } = &self.section;
        let (user, password) = self.login()?;
        let socket = self.dialer.dial(&self.url).await?;
        let packets = Packets::new(*version, connect.max_message_bytes);
        let keep_alive = Duration::from_secs(KEEP_ALIVE_S.into());
        let mut open = Open {
            source: Arc::clone(&self.source),
            socket,
            packets,
            arrived: BytesMut::new(),
            keep_alive,
            sent: Instant::now(),
            qos: *qos,
            topics: topics.clone(),
            given_up: Vec::new(),
            cursor: Bytes::new(),
            is_lossy: Arc::clone(&self.is_lossy),
            is_subscribed: Arc::clone(&self.is_subscribed),
            subscribed: CancellationToken::new(),
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
                    // It may be hours, and asking more often is allowed.
                    open.keep_alive = keep_alive.min(Duration::from_secs(seconds.into()));
                }
                is_known
            }
            Incoming::Refused(why) | Incoming::Closing(why) => {
                return Err(Lost::new(refused(&why)));
            }
            _ => return Err(Lost::new("the broker does not answer as one")),
        };
        if !is_known {
            // Until the broker has said that it took the subscription, also if the connection breaks before.
            self.is_subscribed.store(false, Ordering::Relaxed);
        }
        if self.is_subscribed.load(Ordering::Relaxed) {
            open.note();
            open.subscribed.cancel();
            return Ok((open, is_known));
        }
        // Other filters may be configured than those that the session has.
        let former = match begin {
            Begin::After(cursor) if is_known => filters::read(cursor),
            _ => Vec::new(),
        };
        let given_up: Vec<_> =
            former.into_iter().filter(|filter| !topics.contains(filter)).collect();
        if !given_up.is_empty() {
            tracing::info!(source = &*self.source, ?given_up, "not subscribed to any more");
            open.send(&packets::unsubscribe(*version, &given_up)?).await?;
            open.given_up = given_up;
        }
        open.note();
        open.send(&packets::subscribe(*version, topics, *qos)?).await?;
        Ok((open, is_known))
    }
}

impl Protocol for Mqtt {
    type Stream = Connected;

    fn settings(&self) -> Settings {
        let Section { connect, framing, .. } = &self.section;
        let (connect, framing) = (connect.clone(), framing.clone());
        Settings { connect, resume: self.section.resume(), framing }
    }

    fn loses(&self, begin: &Begin) -> bool {
        // The next process reads it from the cursor.
        let was_lossy = matches!(begin, Begin::After(cursor) if filters::is_lossy(cursor));
        self.section.qos == 0 || was_lossy || self.is_lossy.load(Ordering::Relaxed)
    }

    async fn connect(&mut self, begin: &Begin) -> Result<Connected, Lost> {
        let (open, is_known) = self.open(begin).await?;
        let (sender, frames) = mpsc::channel(1);
        let (close, closed) = mpsc::channel(1);
        let subscribed = open.subscribed.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(open.serve(sender, closed)));
        // Without sessions nothing was to be kept, and each interruption is a gap.
        let is_known = is_known || self.section.qos == 0;
        Ok(Connected { frames, close, task, is_known, subscribed })
    }
}

impl Stream for Connected {
    fn has_resumed(&self) -> bool {
        self.is_known
    }

    fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        self.subscribed.clone().cancelled_owned()
    }

    async fn next(&mut self) -> Result<Frame, Lost> {
        match self.frames.recv().await {
            Some(frame) => frame,
            None => Err(Lost::new("the connection ended")),
        }
    }

    async fn close(self, closing: Closing) {
        let Self { frames, close, task, .. } = self;
        if closing != Closing::Lost {
            // First, so that leave is taken. What was not taken is not acknowledged.
            drop(close);
            drop(frames);
            // The broker notices by itself if this does not arrive.
            let _left = tokio::time::timeout(CLOSE_DEADLINE, task).await;
        }
    }
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
