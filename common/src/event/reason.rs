//! Why an event went to the dead-letter topic.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The closed set of reasons in the header `mr-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// Not UTF-8, which JSON text must be (RFC 8259 section 8.1).
    InvalidUtf8,
    /// Not one JSON text: truncated, or something before, after or in it that is not JSON.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// Nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    TooDeep,
    /// Larger than the source's `max_event_bytes`.
    TooLarge,
    /// An object in it has a name twice: readers would disagree on its value (RFC 8259 section 4).
    DuplicateKey,
    /// Its key or a part of its id is absent.
    MissingId,
    /// Its key or a part of its id is neither a string nor an integer.
    BadId,
    /// The source's `framing` does not fit the frame: it has no array where one should be.
    BadFraming,
    /// Kafka refused it for good.
    RefusedByKafka,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Empty,
        Self::InvalidUtf8,
        Self::NotJson,
        Self::NotObject,
        Self::TooDeep,
        Self::TooLarge,
        Self::DuplicateKey,
        Self::MissingId,
        Self::BadId,
        Self::BadFraming,
        Self::RefusedByKafka,
    ];

    /// The header's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::DuplicateKey => "duplicate_key",
            Self::MissingId => "missing_id",
            Self::BadId => "bad_id",
            Self::BadFraming => "bad_framing",
            Self::RefusedByKafka => "refused_by_kafka",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a dead-letter reason")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_what_it_prints_and_serialises_alike() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert_eq!("nonsense".parse::<Reason>(), Err(UnknownReason("nonsense".to_owned())));
    }
}
