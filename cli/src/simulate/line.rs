//! One message of a feed.

use bytes::Bytes;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As it stands in the recording, without its `\n`.
    pub bytes: Bytes,
    /// Its event time as the collector reads it; `None` if it is no event or has none.
    pub mtime_ms: Option<i64>,
}

/// What a timeline gives when it is read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The next line.
    Line(Line),
    /// There is none yet: a pipe has not given it.
    Later,
    /// The last line was read.
    End,
}
