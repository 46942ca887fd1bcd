//! What is proposed of one thing, and why.

use common::event::time::Unit;

/// A proposed id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pointers that tell events apart, together; the first one is the key.
    pub fields: Vec<String>,
    /// Whether every event has them. If not, the bytes of an event have to be its id, because an event without its id would
    /// be a dead letter.
    pub complete: bool,
    /// Why.
    pub why: String,
}

/// A proposed time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeOf {
    /// Where it is.
    pub path: String,
    /// How it is written.
    pub unit: Unit,
    /// Whether every event has it.
    pub complete: bool,
    /// Why.
    pub why: String,
}

/// A proposed item or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it is.
    pub path: String,
    /// Why.
    pub why: String,
}
