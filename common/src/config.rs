//! Configuration of a tier: defaults < file < environment < flags (a later layer wins), then validation.
//!
//! - The file is TOML, named by `--config`; one file may serve all tiers, see [`file`].
//! - A variable `TIER__SECTION__KEY` sets `section.key` (`ANALYZER__CAPACITY=200`,
//!   `ACCESS_API__KAFKA__BROKERS=kafka:9092`); the tier's name is in capitals, `-` written `_`.
//! - `--set section.key=value` wins over every other layer.
//!
//! A variable's or flag's value is read as TOML, and as plain text where it is not TOML or does not fit.
//! The defaults are the config type's [`Default`], so that they are written down in one place only. A key
//! that the type does not know is an error, whichever layer it comes from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub mod duration;
mod error;
pub mod file;
mod layers;

pub use error::Error;
pub use file::to_toml;
pub use layers::{environment, load, overridden, variable};

use crate::trace::Trace;

/// The settings of a process that every tier has. Section `service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Where `/live`, `/ready` and `/metrics` are served; port 0 takes any free one.
    pub admin: SocketAddr,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written, for example `info` or `info,analyzer=debug`.
    pub log_filter: String,
    /// How long a clean stop may take before the process gives up, in milliseconds.
    pub drain_deadline_ms: u64,
    /// Added to the system's clock, in milliseconds; for trying out what a wrong clock does.
    pub clock_offset_ms: i64,
}

impl Service {
    /// The defaults of a tier whose admin port is `port` on loopback.
    pub fn on_port(port: u16) -> Self {
        Self { admin: SocketAddr::from(([127, 0, 0, 1], port)), ..Self::default() }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            drain_deadline_ms: 10_000,
            clock_offset_ms: 0,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A tier's configuration.
pub trait TierConfig: Serialize + DeserializeOwned + Default {
    /// The part that all tiers have.
    fn service(&self) -> &Service;

    /// Section `trace`; `None` for a command that is not a tier.
    fn trace(&self) -> Option<&Trace> {
        None
    }

    /// Checks what the types cannot express.
    ///
    /// # Errors
    /// Every problem found, each with its key, what is wrong and what to write instead.
    fn validate(&self) -> Result<(), Invalid>;
}

/// The problems of a configuration, one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Invalid(pub Vec<String>);

impl Invalid {
    /// `Ok` when there are no problems.
    ///
    /// # Errors
    /// The problems, when there are any.
    pub fn when_any(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

/// The flags that every tier has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Kafka's bootstrap servers, as host:port[,host:port…]; short for --set kafka.brokers=…
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: Option<String>,

    /// Set one key, for example --set service.log_format=json; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Print the configuration that would be used, as TOML, and exit
    #[arg(long)]
    pub dump_config: bool,
}

/// The process's environment, or a test's stand-in for it.
pub type Environment = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
