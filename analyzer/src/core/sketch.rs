//! Summaries of unbounded streams in bounded memory, each with an error that is known.

mod counters;
mod item;
mod ranking;
mod space_saving;

pub use common::distinct::Distinct;
pub use counters::{Counted, Counters};
pub use item::Item;
pub use space_saving::SpaceSaving;

#[cfg(test)]
mod tests;
