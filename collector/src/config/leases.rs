//! How several collectors divide the sources. Section `leases`.

use std::time::Duration;

use common::config::duration;
use serde::{Deserialize, Serialize};

/// Kafka's own bounds, unless its configuration says otherwise.
const SESSION_MS: std::ops::RangeInclusive<u128> = 6_000..=300_000;

/// Which of several collectors follows which source, see [`leases`](crate::leases).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Leases {
    /// Whether sources that are connected to are followed by one collector of the group only. Without it each collector follows
    /// all.
    pub enabled: bool,
    /// The consumer group whose members the collectors are. All of one group need the same sources.
    pub group: String,
    /// After how long without a sign of life the sources of a collector go to others; 6 seconds to 5 minutes.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
}

impl Leases {
    /// What is wrong with this section, one line for each fault.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.group.is_empty() {
            problems.push("leases.group: must not be empty; write a name".to_owned());
        }
        if !SESSION_MS.contains(&self.session_timeout.as_millis()) {
            problems.push(format!(
                "leases.session_timeout: is {:?}; Kafka takes 6 seconds to 5 minutes",
                self.session_timeout
            ));
        }
        problems
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            enabled: false,
            group: "collector".to_owned(),
            session_timeout: Duration::from_secs(10),
        }
    }
}
