//! One message of a feed.

use bytes::Bytes;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its bytes as in the recording, without the `\n`.
    pub bytes: Bytes,
    /// Its event time as the collector reads it; `None` if it is not an event or has no time.
    pub mtime_ms: Option<i64>,
}

/// The result of reading on in a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The next line.
    Line(Line),
    /// There is no line yet, because a pipe has not given it.
    Later,
    /// The last line was read.
    End,
}
