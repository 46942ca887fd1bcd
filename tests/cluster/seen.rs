//! What the clients in the cluster report to the test outside of it, as a line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the clients have seen.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Frames with a result.
    pub results: u64,
    /// Results whose version was below the one before.
    pub backwards: u64,
    /// Frames that say that results were missed.
    pub gaps: u64,
    /// Errors that the server has reported.
    pub errors: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that the server ended in words.
    pub byes: u64,
    /// Connections that ended without a word.
    pub broken: u64,
    /// The first unexpected frame, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_unexpected: Option<String>,
    /// For each query the least total that is the newest one of any client.
    pub totals: BTreeMap<String, u64>,
}
