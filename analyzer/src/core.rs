//! What is counted and how: no clock, no input or output, no threads, no log, no randomness but seeded.
//! Time is an argument. Clippy and the test target `structure` refuse anything else below this folder.
//!
//! What the core knows about a partition depends only on that partition's records in their order. So a crash,
//! a replay or two owners at once lead to the same numbers.
//!
//! | module | |
//! |---|---|
//! | [`query`], [`plan`] | the queries, and their checked and compiled form |
//! | [`decode`] | the id, time and items of an event, in one pass over its JSON |
//! | [`watermark`] | how far a partition is in event time |
//! | [`dedupe`] | which events were seen already |
//! | [`sketch`], [`summary`], [`window`] | counts with their error, and which pane they belong to |
//! | [`tally`], [`partial`] | one partition: its state, and what of it is published |
//! | [`ledger`] | what became of every offset of a partition |
//! | [`snapshot`], [`block`] | how that state is stored |
//! | [`merge`], [`audit`] | a query's result over all partitions; the ledgers of all partitions |
//! | [`notices`] | what a person should be told about the events |
//! | [`owner`], [`witness`] | who writes about a partition; which log was counted |
//! | [`versioned`], [`hash`] | the envelope of stored values, and the hash function, which the others share |

// The types that this crate's `clippy.toml` lists make results depend on more than the arguments. Tests may use
// them.
#![cfg_attr(not(test), deny(clippy::disallowed_types))]

pub mod audit;
pub mod block;
pub mod decode;
pub mod dedupe;
pub mod hash;
pub mod ledger;
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
