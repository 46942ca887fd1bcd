//! A position in the published stream, as clients hold it and give it back.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// The identity of a published stream: another cluster, or a topic created anew, has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

/// A position in the published stream, written `epoch-seq`: everything up to and including the
/// sequence `seq` (the offset in the topic of results) has been seen. Valid across restarts and pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The stream in which `seq` counts.
    pub epoch: Epoch,
    /// The last sequence seen.
    pub seq: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cursor; give back one that a frame carried, as it stands, or none")]
pub struct InvalidCursor(String);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let parse = || {
            let (epoch, seq) = text.split_once('-')?;
            let cursor =
                Self { epoch: Epoch(u32::from_str_radix(epoch, 16).ok()?), seq: seq.parse().ok()? };
            // One position has one text, so that cursors can be compared as texts.
            (cursor.to_string() == text).then_some(cursor)
        };
        parse().ok_or_else(|| InvalidCursor(text.chars().take(64).collect()))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
