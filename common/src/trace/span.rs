//! A span: something that was done for an event or a result, from when to when.

use super::context::{Context, SpanId};

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its trace and its id.
    pub context: Context,
    /// The span of the same trace that caused it; `None` for a root.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: &'static str,
    /// On which side of an exchange.
    pub kind: Kind,
    /// When it began, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end_ns: u64,
    /// What is known about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans of other traces that are in it.
    pub links: Vec<Context>,
    /// How many more there were than what is linked.
    pub unlinked: u32,
}

/// On which side of an exchange a span is; the numbers are those of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On neither.
    Internal = 1,
    /// It gave something to Kafka.
    Producer = 4,
    /// It took something from Kafka.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// An integer.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}
