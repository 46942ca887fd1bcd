//! The section of a source of kind `websocket`.

use common::secret::Secret;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::{Common, Connect, Resume, Transport, zeros};
use crate::config::Framing;

/// A WebSocket server that sends messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Websocket {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The server.
    #[serde(flatten, skip_deserializing)]
    pub connect: Connect,
    /// How it is asked for the messages that were missed during an interruption.
    pub resume: Resume,
    /// How many messages a frame holds.
    pub framing: Framing,
    /// What is sent first on every connection, such as a subscription.
    pub first_message: FirstMessages,
    /// How long the feed may send nothing before it is sent a ping, in milliseconds.
    pub ping_interval_ms: u64,
    /// How long the feed may then send nothing before the connection is given up, in milliseconds.
    pub ping_timeout_ms: u64,
}

/// Texts that are sent in this order. They may hold a token, and are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMore")]
pub struct FirstMessages(pub Vec<Secret>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Secret),
    More(Vec<Secret>),
}

impl Websocket {
    /// Meetup's feed as `millrace simulate` serves it on this machine.
    pub fn rsvps() -> Self {
        Self {
            connect: Connect { url: "ws://127.0.0.1:8900/2/rsvps".into(), ..Connect::default() },
            resume: Resume::Query("since_mtime".to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, connect: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.connect.problems(&self.common, Transport::Websocket);
        problems.extend(self.resume.problem("websocket"));
        problems.extend(zeros([
            ("ping_interval_ms", self.ping_interval_ms),
            ("ping_timeout_ms", self.ping_timeout_ms),
        ]));
        problems
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            common: Common::default(),
            connect: Connect::default(),
            resume: Resume::default(),
            framing: Framing::default(),
            first_message: FirstMessages::default(),
            ping_interval_ms: 10_000,
            ping_timeout_ms: 5_000,
        }
    }
}

impl From<OneOrMore> for FirstMessages {
    fn from(written: OneOrMore) -> Self {
        match written {
            OneOrMore::One(text) => Self(vec![text]),
            OneOrMore::More(texts) => Self(texts),
        }
    }
}
