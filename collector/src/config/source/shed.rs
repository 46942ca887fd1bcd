//! Load shedding: the key `shed` of a source.

use common::expr::Condition;
use serde::{Deserialize, Serialize};

use super::Delivery;

/// Load shedding. The key `shed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shed {
    /// Above how many per cent of `log.max_bytes` messages are dropped, from 0 to 99.
    pub above_percent: u8,
    /// Which messages are never dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Condition>,
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
