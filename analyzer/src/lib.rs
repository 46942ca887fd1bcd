//! The analyzer: counts each event of the raw topic once, in windows, and publishes what is trending.
//!
//! | module | |
//! |---|---|
//! | [`core`](crate::core) | what is counted and how: pure, without clock and I/O |
//! | [`stage`] | the two threads that poll, count, publish and store |
//! | [`state`] | snapshots in a compacted topic, and recovery from them |
//! | [`group`] | a consumer whose rebalances are events |
//! | [`reader`], [`publisher`] | reading a topic from start to end; the producer with a bounded queue |
//! | [`pace`], [`placement`] | how often to publish; in which partition a query's partials are |
//! | [`app`], [`config`], [`metrics`], [`error`] | the process |

// The types that `clippy.toml` lists are allowed here; the core, where they are not, denies them itself.
#![allow(clippy::disallowed_types)]

use common::tier::{Host, Tier};

pub mod app;
pub mod config;
pub mod core;
pub mod error;
pub mod group;
pub mod metrics;
pub mod pace;
pub mod placement;
pub mod publisher;
pub mod reader;
pub mod stage;
pub mod state;

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
