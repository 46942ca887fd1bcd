//! `millrace discover`: watches an unknown feed for a moment, shows the shape of its events, and proposes what identifies an
//! event, when it happened, what could be ranked and what could be averaged.
//!
//! | module | question |
//! |---|---|
//! | `feed` | what comes from an address, a file or a pipe? |
//! | `watch` | what came within the time? |
//! | `shape` | which paths do the events have, and what is there? (pure) |
//! | `sample` | the first events, on which an id is tried (pure) |
//! | `propose` | what does that suggest? (pure) |
//! | `report` | how it is shown (pure) |
//! | `preset` | the file that `millrace up --preset` runs (pure) |

mod command;
mod error;
mod feed;
mod preset;
mod propose;
mod report;
mod sample;
mod shape;
mod watch;

pub use command::{Args, run};
pub use error::Error;
