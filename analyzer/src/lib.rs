//! The analyzer: counts each event of the raw topic once, in windows, and publishes what is trending.
//!
//! The core is pure: no clock, no input or output, time is an argument. What it knows of a partition
//! is a function of that partition's records in order, so that a crash, a replay or two owners at
//! once lead to the same numbers.
//!
//! | core | |
//! |---|---|
//! | [`query`], [`plan`] | what is asked, checked and compiled |
//! | [`decode`] | items and time of an event, in one pass over its JSON |
//! | [`dedupe`] | which events were seen already |
//! | [`sketch`], [`summary`], [`window`] | counts with their error, and which pane they belong to |
//! | [`tally`], [`snapshot`], [`partial`] | one partition: its state, stored form, shipped form |
//! | [`merge`] | a query's result over all partitions |
//!
//! | around it | |
//! |---|---|
//! | [`app`], [`config`], [`metrics`] | the process |
//! | [`stage`] | the two threads that poll, count, publish and store |
//! | [`group`], [`publisher`] | consumer with membership as events; bounded producer |
//! | [`state`] | snapshots in a compacted topic, and recovery from them |
//! | [`pace`], [`placement`] | how often to publish; where a query's partials go |

use common::tier::{Host, Tier};

pub mod app;
pub mod config;
pub mod decode;
pub mod dedupe;
pub mod error;
pub mod group;
pub mod hash;
pub mod merge;
pub mod metrics;
pub mod pace;
pub mod partial;
pub mod placement;
pub mod plan;
pub mod publisher;
pub mod query;
pub mod sketch;
pub mod snapshot;
pub mod stage;
pub mod state;
pub mod summary;
pub mod tally;
pub mod window;

/// The analyzer as a tier.
pub enum Analyzer {}

impl Tier for Analyzer {
    const NAME: &'static str = "analyzer";
    const ABOUT: &'static str =
        "Counts each event once, in windows, and publishes what is trending";
    type Config = config::Config;
    type Error = error::Error;

    async fn run(config: config::Config, host: Host) -> Result<(), error::Error> {
        app::run(config, host).await
    }
}
