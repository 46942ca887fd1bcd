//! The three tiers as processes: where they are, what they are told, and what they say they will do.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::kafka::Kafka;
use serde::Deserialize;
use tokio::process::Command;

use super::data_dir::DataDir;
use super::feed::Taken;
use super::probe::Probe;
use super::process::Spec;
use super::programs;

/// Longer than a tier's own drain deadline (10 s by default), which it reports itself.
const GRACE: Duration = Duration::from_secs(15);

/// How often the analyzer is asked for its configuration while something keeps killing it.
const QUESTIONS: u32 = 10;

const ANALYZER_BROKERS: &str = "ANALYZER__KAFKA__BROKERS";

/// The tiers' programs.
#[derive(Debug)]
pub struct Tiers {
    collector: PathBuf,
    analyzer: PathBuf,
    access_api: PathBuf,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// The feed that the collector listens to.
    pub feed: String,
    /// Tells it from the feeds of earlier runs on the same data.
    pub feed_id: String,
    /// Where the access-api serves.
    pub listen: SocketAddr,
    /// Admin ports of collector, analyzer, access-api.
    pub admin: [u16; 3],
}

/// The part of the analyzer's effective configuration that `up` must know.
#[derive(Debug, Deserialize)]
pub struct Analysis {
    kafka: Kafka,
    #[serde(default)]
    query: Vec<Query>,
}

#[derive(Debug, Deserialize)]
struct Query {
    name: String,
}

impl Analysis {
    /// The names of the queries, as configured.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        self.query.iter().map(|query| query.name.as_str())
    }

    /// Partitions of the topics that are created.
    pub const fn partitions(&self) -> i32 {
        self.kafka.partitions
    }

    /// The Kafka that the analyzer works on when it is told `brokers`.
    pub fn kafka(&self, brokers: &str) -> Kafka {
        let mut kafka = self.kafka.clone();
        if std::env::var_os(ANALYZER_BROKERS).is_none() {
            brokers.clone_into(&mut kafka.brokers);
        }
        kafka
    }
}

/// Why the analyzer's configuration is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be asked.
    #[error("cannot run `{tier} --dump-config`: {source}")]
    Run {
        /// The tier.
        tier: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// It refused its configuration.
    #[error("the {tier} refuses its configuration:\n{why}")]
    Refused {
        /// The tier.
        tier: &'static str,
        /// Its words.
        why: String,
    },
    /// Something keeps killing it.
    #[error("`{tier} --dump-config` was killed {QUESTIONS} times in a row; find out by what")]
    Killed {
        /// The tier.
        tier: &'static str,
    },
    /// It said something else than we know: another version.
    #[error(
        "cannot read what a tier's `--dump-config` says: {0}; build all programs from the same sources"
    )]
    Unknown(#[source] toml::de::Error),
}

impl Error {
    /// Whether trying again can help.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Killed { .. } => true,
            Self::Run { .. } | Self::Refused { .. } | Self::Unknown(_) => false,
        }
    }
}

impl Tiers {
    /// Finds the programs.
    ///
    /// # Errors
    /// The first that is missing.
    pub fn find() -> Result<Self, programs::Missing> {
        Ok(Self {
            collector: programs::find("collector")?,
            analyzer: programs::find("analyzer")?,
            access_api: programs::find("access-api")?,
        })
    }

    /// Asks the analyzer what it will do, given the environment as it is.
    ///
    /// # Errors
    /// When it refuses its configuration.
    pub async fn analysis(&self) -> Result<Analysis, Error> {
        toml::from_str(&ask("analyzer", &self.analyzer).await?).map_err(Error::Unknown)
    }

    /// Asks the collector what it takes, given the environment as it is.
    ///
    /// # Errors
    /// When it refuses its configuration.
    pub async fn taken(&self) -> Result<Taken, Error> {
        Taken::parse(&ask("collector", &self.collector).await?).map_err(Error::Unknown)
    }

    /// The collector.
    pub fn collector(&self, wiring: &Wiring, dir: &DataDir) -> Spec {
        // From the first line, should the collector be killed before it has logged any; the collector adds
        // the position that it has logged, and the last one given counts.
        let feed = format!("{}?since_mtime=0", wiring.feed);
        let env = [
            ("COLLECTOR__KAFKA__BROKERS", wiring.brokers.clone().into()),
            ("COLLECTOR__SOURCE__RSVPS__URL", feed.into()),
            (
                "COLLECTOR__SOURCE__RSVPS__RESUME",
                r#"{ query = "since_mtime", from = "time" }"#.into(),
            ),
            ("COLLECTOR__SOURCE__RSVPS__FEED", wiring.feed_id.clone().into()),
            ("COLLECTOR__LOG__PATH", dir.join("collector").into()),
        ];
        tier("collector", &self.collector, wiring.admin[0], env)
    }

    /// The analyzer.
    pub fn analyzer(&self, wiring: &Wiring) -> Spec {
        let env = [
            (ANALYZER_BROKERS, wiring.brokers.clone().into()),
            ("ANALYZER__INSTANCE_ID", "analyzer-0".into()),
        ];
        tier("analyzer", &self.analyzer, wiring.admin[1], env)
    }

    /// The access-api.
    pub fn access_api(&self, wiring: &Wiring) -> Spec {
        let env = [
            ("ACCESS_API__KAFKA__BROKERS", wiring.brokers.clone().into()),
            ("ACCESS_API__LISTEN", wiring.listen.to_string().into()),
        ];
        tier("access-api", &self.access_api, wiring.admin[2], env)
    }
}

/// What a tier says with `--dump-config`.
async fn ask(tier: &'static str, program: &std::path::Path) -> Result<String, Error> {
    for _ in 0..QUESTIONS {
        let said = Command::new(program).arg("--dump-config").output().await;
        let said = said.map_err(|source| Error::Run { tier, source })?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        // Without a code a signal ended it: whoever kills tiers by their name has met this one.
        if said.status.code().is_some() {
            let why = String::from_utf8_lossy(&said.stderr).trim_end().to_owned();
            return Err(Error::Refused { tier, why });
        }
    }
    Err(Error::Killed { tier })
}

fn tier<const N: usize>(
    name: &'static str,
    program: &std::path::Path,
    admin: u16,
    env: [(&str, OsString); N],
) -> Spec {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    let key = format!("{}__SERVICE__ADMIN", name.to_uppercase().replace('-', "_"));
    // An address that the user chose is where it will answer.
    let probed = std::env::var(&key).ok().and_then(|address| address.parse().ok()).unwrap_or(admin);
    let mut env = unless_set(env);
    env.extend(unless_set([(key.as_str(), admin.to_string().into())]));
    Spec {
        name,
        program: program.to_owned(),
        args: Vec::new(),
        env,
        probe: Probe::Http(probed),
        grace: GRACE,
        restart: true,
    }
}

/// The user's own environment wins.
fn unless_set<const N: usize>(env: [(&str, OsString); N]) -> Vec<(String, OsString)> {
    env.into_iter()
        .filter(|(key, _)| std::env::var_os(key).is_none())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests;
