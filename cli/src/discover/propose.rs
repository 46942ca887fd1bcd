//! What the shape of a feed suggests: the id, key and time of an event, what could be ranked, what could be averaged, and
//! why. Pure.

use super::sample::Sample;
use super::shape::{Path, Shape};
pub use guess::{Choice, Identity, TimeOf};

mod guess;
mod identity;
mod names;
mod ranks;
mod time;
mod words;

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
