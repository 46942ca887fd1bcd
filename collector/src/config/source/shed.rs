//! Which messages of a source are left out: `keep` always, `shed` while the collector is overloaded.

use std::fmt;

use common::expr::{Condition, Error};
use serde::{Deserialize, Deserializer, Serialize};

use super::Delivery;

/// Load shedding. The key `shed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shed {
    /// Above how many per cent of `log.max_bytes` messages are dropped, from 0 to 99.
    pub above_percent: u8,
    /// Which messages are never dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// Which messages are kept: a condition, and its text.
#[derive(Clone)]
pub struct Keep {
    text: String,
    condition: Condition,
}

impl Shed {
    /// The line about what cannot be.
    pub(super) fn problem(&self, delivery: Delivery) -> Option<String> {
        if self.above_percent > 99 {
            return Some(format!(
                "shed.above_percent: is {}, and must be below 100",
                self.above_percent
            ));
        }
        // The cursor behind a frame comes with its first message, which may be shed.
        (delivery == Delivery::AtMostOnce).then(|| {
            "shed: with delivery = \"at_most_once\" messages could come twice after a crash; remove one of them".to_owned()
        })
    }
}

impl Default for Shed {
    fn default() -> Self {
        Self { above_percent: 50, keep: None }
    }
}

// === impl Keep ===

impl Keep {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { text: text.to_owned(), condition: Condition::parse(text)? })
    }

    /// The condition.
    pub const fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for Keep {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Keep {}

impl Serialize for Keep {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
