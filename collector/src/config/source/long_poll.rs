//! The section of a source of kind `long_poll`.

use std::time::Duration;

use common::config::duration;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::{Common, Connect, Resume, Transport};
use crate::config::Framing;

/// An HTTP server that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongPoll {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The server.
    #[serde(flatten, skip_deserializing)]
    pub connect: Connect,
    /// How it is asked only for what is new.
    pub resume: Resume,
    /// How many messages an answer holds.
    pub framing: Framing,
    /// How long it is at least from one request to the next. The feed can ask for more.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a whole answer may take, with the time for which the server waits until there is something new.
    #[serde(with = "duration")]
    pub answer_timeout: Duration,
}

impl LongPoll {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, connect: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.connect.problems(&self.common, Transport::Http);
        problems.extend(self.resume.problem("long_poll"));
        if self.connect.silence_timeout.is_some_and(|silence| silence <= self.interval) {
            problems.push(
                "silence_timeout: must be longer than interval, in which nothing is asked"
                    .to_owned(),
            );
        }
        for (key, value) in [("interval", self.interval), ("answer_timeout", self.answer_timeout)] {
            if value.is_zero() {
                problems.push(format!("{key}: must be more than 0"));
            }
        }
        problems
    }
}

impl Default for LongPoll {
    fn default() -> Self {
        Self {
            common: Common::default(),
            connect: Connect::default(),
            resume: Resume::default(),
            framing: Framing::Array(None),
            interval: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(90),
        }
    }
}
