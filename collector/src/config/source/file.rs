//! The section of a source of kind `file`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::connect::message_bytes_problem;
use super::keys::Keys;
use super::{Common, zeros};
use crate::config::Framing;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The keys that all kinds have.
    #[serde(flatten, skip_deserializing)]
    pub common: Common,
    /// The file, plain or packed by gzip or zstd; or a pipe; `-` for the standard input.
    pub path: PathBuf,
    /// Whether what is added to the file is waited for, and the file that takes its place when it is rotated.
    pub follow: bool,
    /// How messages are told apart: `lines` or `concatenated`.
    pub framing: Framing,
    /// The largest message that is read whole, in bytes. Only the first bytes of a larger one are kept, as a dead letter.
    pub max_message_bytes: usize,
}

impl File {
    /// Whether it is the standard input, which only one source can read.
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// Whether each line is a message.
    pub fn is_by_lines(&self) -> bool {
        self.framing == Framing::Lines
    }

    pub(super) fn read(keys: &mut Keys) -> Result<Self, String> {
        Ok(Self { common: keys.take()?, ..keys.take()? })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> =
            zeros([("max_event_bytes", self.common.max_event_bytes as u64)]).collect();
        if self.path.as_os_str().is_empty() {
            problems.push("path: write the path of a file, or - for the standard input".to_owned());
        }
        if self.is_stdin() && self.follow {
            problems.push(
                "follow: the standard input is read until its writer ends it; remove follow"
                    .to_owned(),
            );
        }
        if !matches!(self.framing, Framing::Lines | Framing::Concatenated) {
            problems.push(
                "framing: a file has no frames; write \"lines\" or \"concatenated\"".to_owned(),
            );
        }
        problems.extend(message_bytes_problem(self.max_message_bytes, &self.common));
        problems
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            common: Common::default(),
            path: PathBuf::new(),
            follow: false,
            framing: Framing::Lines,
            max_message_bytes: 20 << 20,
        }
    }
}
