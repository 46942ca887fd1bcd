//! The section of a source of kind `sse`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connect::optional_duration;
use super::keys::Keys;
use super::{Common, Connect, Resume, Transport, idle_problem};
use crate::config::Framing;

/// An HTTP server that sends server-sent events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sse {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The server.
    #[serde(flatten, skip_deserializing)]
    pub connect: Connect,
    /// How it is asked for the events that were missed during an interruption.
    pub resume: Resume,
    /// How many messages the data of an event holds.
    pub framing: Framing,
    /// The types of events that are messages; empty for all.
    pub events: Vec<String>,
    /// If the feed sends no byte for this long, comments included, the connection is given up. Absent for a feed that
    /// sends nothing while it has nothing to say.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
}

impl Sse {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, connect: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.connect.problems(&self.common, Transport::Http);
        problems.extend(self.resume.problem("sse"));
        problems.extend(idle_problem(self.idle_timeout));
        problems
    }
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            common: Common::default(),
            connect: Connect::default(),
            resume: Resume::LastEventId,
            framing: Framing::default(),
            events: Vec::new(),
            idle_timeout: None,
        }
    }
}
