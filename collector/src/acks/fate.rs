//! What an acknowledgement is about, and what is answered.

use std::fmt;
use std::str::FromStr;

use common::event::Reason;
use common::message_log::Sequence;

/// The messages of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Where its messages are.
    pub state: State,
    /// The first of those that are dead letters in Kafka: the value of their header `mr-seq`, and why.
    pub dead_letters: Vec<(String, Reason)>,
    /// Whether these are all, and it would be known if some of the messages were lost.
    pub is_complete: bool,
    /// If another collector has it: when that one last said something, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
}

/// Where the messages of a request are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All are on disk or in Kafka, and not all in Kafka.
    Logged,
    /// All are in Kafka, as far as is known.
    InKafka,
    /// Some may be among what a damaged disk has lost, or what was evicted.
    Lost,
}

/// Why it is not known what became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The text is not the id of an acknowledgement.
    #[error("this is not an id that a collector gives with a 202")]
    Malformed,
    /// Another source gave it.
    #[error("another source gave this id; ask at the address where the events were sent to")]
    OtherSource,
    /// This collector has not given it.
    #[error("this collector has not acknowledged so many events")]
    NotGiven,
    /// No collector that is known has given it.
    #[error(
        "no collector that wrote to kafka within the last day has given this id from a source of this name: it is older than \
         what is kept, or was never given, or its collector has not yet told"
    )]
    NotKept,
    /// Another collector may have given it, and it is not known what the others say.
    #[error(
        "this collector has not given this id, and what others say in kafka is not read: kafka does not answer, this collector \
         has just started, or it has no topic collector-acks (kafka.topics.acks) that it may read and write, see its log; ask \
         again"
    )]
    NotRead,
}

impl Unknown {
    /// Whether asking again may help.
    pub const fn retryable(self) -> bool {
        match self {
            Self::NotRead => true,
            Self::Malformed | Self::OtherSource | Self::NotGiven | Self::NotKept => false,
        }
    }
}

/// A text that is not the text of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a range of sequences")]
pub struct NoSpan;

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let (first, last) = text.split_once('-').ok_or(NoSpan)?;
        let parse = |text: &str| text.parse().map_err(|_not_a_number| NoSpan);
        let span = Self { first: parse(first)?, last: parse(last)? };
        // So that each range has one text.
        if span.first <= span.last && span.to_string() == text { Ok(span) } else { Err(NoSpan) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
