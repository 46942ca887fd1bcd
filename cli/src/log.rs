//! `millrace log`: looks into a collector's message log, checks it, and takes payloads out of it. Nothing in it is changed.
//! Also lists the dead letters in Kafka, and publishes them again after a correction.
//!
//! | module | question |
//! |---|---|
//! | `inspect` | what waits, since when, why, and what does an entry look like? |
//! | `verify` | is everything there that should be? |
//! | `export` | which payloads go where? |
//! | `decrypt` | what is in an encrypted export? |
//! | `dead_letters` | which dead letters are in Kafka, and why? |
//! | `replay` | which of them are events now? Those are published |
//! | `letters` | reads the dead letters in Kafka |
//! | `reason` | a reason as an argument (pure) |
//! | `output` | where lines go: stdout, or a new file |
//! | `reading` | goes through a log until it is stopped |
//! | `summary` | what is in it, in numbers (pure) |
//! | `sample` | what is shown of a message (pure) |
//! | `report` | how that is shown (pure) |
//! | `line` | a payload as a line of JSON (pure) |

mod command;
mod dead_letters;
mod decrypt;
mod error;
mod export;
mod inspect;
mod letters;
mod line;
mod output;
mod reading;
mod reason;
mod replay;
mod report;
mod sample;
mod summary;
#[cfg(test)]
mod tests;
mod verify;

pub use command::{Args, run};
pub use error::Error;
