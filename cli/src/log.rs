//! `millrace log`: looks into a collector's message log, checks it, and takes payloads out of it. Nothing in it is changed.
//!
//! | module | question |
//! |---|---|
//! | `inspect` | what waits, since when, why, and what does an entry look like? |
//! | `verify` | is everything there that should be? |
//! | `export` | which payloads go where? |
//! | `reading` | goes through a log until it is stopped |
//! | `summary` | what is in it, in numbers (pure) |
//! | `report` | how that is shown (pure) |
//! | `line` | a payload as a line of JSON (pure) |

mod command;
mod error;
mod export;
mod inspect;
mod line;
mod reading;
mod report;
mod summary;
mod verify;

pub use command::{Args, run};
pub use error::Error;
