//! The section of a source of kind `http_stream`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connect::optional_duration;
use super::keys::Keys;
use super::{Common, Connect, Resume, Transport, idle_problem};
use crate::config::Framing;

/// An HTTP server that answers one request without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpStream {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The server.
    #[serde(flatten, skip_deserializing)]
    pub connect: Connect,
    /// How it is asked for the messages that were missed during an interruption.
    pub resume: Resume,
    /// How messages are told apart: `lines` or `concatenated`.
    pub framing: Framing,
    /// If the feed sends no byte for this long, blank lines included, the connection is given up. Absent for a feed that
    /// sends nothing while it has nothing to say.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
}

impl HttpStream {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, connect: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.connect.problems(&self.common, Transport::Http);
        problems.extend(self.resume.problem("http_stream"));
        problems.extend(idle_problem(self.idle_timeout));
        if !matches!(self.framing, Framing::Lines | Framing::Concatenated) {
            problems.push(
                "framing: a stream has no frames; write \"lines\" or \"concatenated\"".to_owned(),
            );
        }
        problems
    }
}

impl Default for HttpStream {
    fn default() -> Self {
        Self {
            common: Common::default(),
            connect: Connect::default(),
            resume: Resume::default(),
            framing: Framing::Lines,
            idle_timeout: None,
        }
    }
}
