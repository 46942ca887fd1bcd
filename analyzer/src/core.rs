//! What is counted and how: no clock, no input or output, no threads, no log, no randomness but seeded.
//! Time is an argument. `.ci/run` refuses anything else below this folder.
//!
//! What the core knows of a partition is a function of that partition's records in order, so that a
//! crash, a replay or two owners at once lead to the same numbers.
//!
//! | module | |
//! |---|---|
//! | [`query`], [`plan`] | what is asked, checked and compiled |
//! | [`decode`] | who an event is, when it happened, and its items, in one pass over its JSON |
//! | [`watermark`] | how far a partition is in event time |
//! | [`dedupe`] | which events were seen already |
//! | [`sketch`], [`summary`], [`window`] | counts with their error, and which pane they belong to |
//! | [`tally`], [`partial`] | one partition: its state, and what of it is published |
//! | [`snapshot`], [`block`] | how that state is stored |
//! | [`merge`] | a query's result over all partitions |
//! | [`notices`] | what a person should be told |
//! | [`owner`], [`witness`] | who writes about a partition; which log it was |
//! | [`versioned`], [`hash`] | the envelope of what is stored, and the one hash, that all of them use |

// What `clippy.toml` of this crate lists depends on more than arguments. Tests may use it.
#![cfg_attr(not(test), deny(clippy::disallowed_types))]

pub mod block;
pub mod decode;
pub mod dedupe;
pub mod hash;
pub mod merge;
pub mod notices;
pub mod owner;
pub mod partial;
pub mod plan;
pub mod query;
pub mod sketch;
pub mod snapshot;
pub mod summary;
pub mod tally;
pub mod versioned;
pub mod watermark;
pub mod window;
pub mod witness;
