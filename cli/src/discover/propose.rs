//! What the shape of a feed suggests: the id, key and time of an event, what could be ranked, what could be averaged, and
//! why. Pure.

use common::event::time::Unit;

use super::sample::Sample;
use super::shape::{Path, Shape};

mod identity;
mod names;
mod ranks;
mod time;

#[cfg(test)]
mod tests;

/// What a feed's events are, as far as can be guessed. Each list begins with the best.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    /// What makes two messages the same event.
    pub identity: Option<Identity>,
    /// When an event happened.
    pub time: Option<TimeOf>,
    /// What could be ranked.
    pub items: Vec<Choice>,
    /// What could be averaged.
    pub values: Vec<Choice>,
}

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
    /// Whether it is of the present, so that the feed is live.
    pub is_present: bool,
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

impl Proposal {
    /// What `shape` suggests, tried on `sample`.
    pub fn of(shape: &Shape, sample: &Sample) -> Self {
        let paths: Vec<Path<'_>> = shape.paths().into_iter().filter(|path| !path.in_map).collect();
        let time = time::time(&paths);
        let identity = identity::identity(&paths, time.as_ref(), sample);
        let taken = |path: &Path<'_>| {
            time.as_ref().is_some_and(|time| time.path == path.pointer)
                || identity.as_ref().is_some_and(|id| id.fields == [path.pointer.as_str()])
        };
        let free: Vec<Path<'_>> = paths.iter().filter(|path| !taken(path)).cloned().collect();
        let (items, values) = (ranks::items(&free), ranks::values(&free));
        Self { identity, time, items, values }
    }
}

/// A share as people write it.
fn percent(share: f64) -> String {
    match share * 100.0 {
        all if all >= 99.95 => "100 %".to_owned(),
        none if none < 0.95 => format!("{none:.1} %"),
        some => format!("{some:.0} %"),
    }
}

/// In which events it is, in words.
fn presence(share: f64) -> String {
    if share >= 1.0 {
        "in every event".to_owned()
    } else {
        format!("in {} of the events", percent(share))
    }
}
