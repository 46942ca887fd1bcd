//! The three tiers as processes: their programs, the settings that `up` passes to them, and their effective
//! configurations.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use common::config;
use common::kafka::Kafka;
use serde::Deserialize;

use super::probe::Probe;
use super::process::{self, Spec};
use super::programs;
use super::property::Property;
use super::settings::Settings;
use super::taken::Taken;

/// How long a tier may take to end. It is longer than a tier's own drain deadline (10 s by default), so that the tier
/// itself can report a slow drain.
const GRACE: Duration = Duration::from_secs(15);

/// How often a tier is asked for its configuration if it is killed from outside each time.
const QUESTIONS: u32 = 10;

/// The source's `resume` for the feed that `up` serves.
const RESUME: &str = r#"{ query = "since_mtime", from = "time" }"#;

/// One of the tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Takes events in.
    Collector,
    /// Counts them.
    Analyzer,
    /// Serves the results.
    AccessApi,
}

/// The tiers' programs.
#[derive(Debug)]
pub struct Tiers {
    collector: PathBuf,
    analyzer: PathBuf,
    access_api: PathBuf,
}

/// The addresses and other settings that `up` passes to the tiers.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// The user's configuration.
    pub settings: &'a Settings,
    /// Kafka, as `up` itself reaches it.
    pub kafka: Kafka,
    /// What sets the address of Kafka, in words.
    pub brokers_by: &'static str,
    /// The flag that sets the topics; `None` if they are the configured ones.
    pub own_topics: Option<&'static str>,
    /// Whether there is a collector.
    pub collects: bool,
    /// Properties of Kafka clients that were given with `-X`.
    pub properties: &'a [Property],
    /// The feed that `up` serves itself.
    pub feed: Option<OwnFeed>,
    /// The address of the access-api.
    pub listen: SocketAddr,
    /// The flag that sets this address; empty if it is configured or the default.
    pub listen_by: String,
    /// Admin addresses of collector, analyzer, access-api.
    pub admin: [SocketAddr; 3],
    /// The analyzer's name in its consumer groups.
    pub stack: String,
    /// The directory of the collector's message log.
    pub log: PathBuf,
    /// Which log lines the tiers write, if nothing else is configured.
    pub log_filter: Option<&'static str>,
}

/// The feed that `up` serves itself.
#[derive(Debug)]
pub struct OwnFeed {
    /// Where the collector connects.
    pub url: String,
    /// Distinguishes it from the feeds of earlier runs on the same data.
    pub id: String,
    /// What asked for it, in words.
    pub by: &'static str,
}

/// The parts of the tiers' effective configurations that `up` needs.
#[derive(Debug)]
pub struct Asked {
    /// What is counted.
    pub analysis: Analysis,
    /// The address of the access-api.
    pub listen: SocketAddr,
    /// Admin addresses of collector, analyzer, access-api.
    pub admin: [SocketAddr; 3],
    /// What matters for the feed of the collector's configuration.
    pub taken: Taken,
}

/// What the analyzer counts.
#[derive(Debug)]
pub struct Analysis {
    queries: Vec<String>,
}

impl Analysis {
    /// The names of the queries, as configured.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().map(String::as_str)
    }
}

#[derive(Debug, Deserialize)]
struct Dump {
    service: DumpedService,
    #[serde(default)]
    query: Vec<Query>,
    listen: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
struct DumpedService {
    admin: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct Query {
    name: String,
}

/// Why a tier's configuration is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its program cannot be run.
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
        /// What it printed.
        why: String,
    },
    /// It is killed from outside each time.
    #[error("`{tier} --dump-config` was killed {QUESTIONS} times in a row; find out what kills it")]
    Killed {
        /// The tier.
        tier: &'static str,
    },
    /// Its output cannot be read, probably because it is of another version.
    #[error(
        "cannot read the output of `{tier} --dump-config`: {source}; build all programs from the same sources"
    )]
    Unknown {
        /// The tier.
        tier: &'static str,
        /// What is wrong with it.
        source: toml::de::Error,
    },
}

impl Error {
    /// Whether trying again can help.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Killed { .. } => true,
            Self::Run { .. } | Self::Refused { .. } | Self::Unknown { .. } => false,
        }
    }
}

impl Tier {
    /// Every tier, in the order in which data flows.
    pub const ALL: [Self; 3] = [Self::Collector, Self::Analyzer, Self::AccessApi];

    /// The name of its program, which is also its name in the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Analyzer => "analyzer",
            Self::AccessApi => "access-api",
        }
    }

    /// Its element in an array with one element for each tier.
    pub const fn of<T: Copy>(self, all: &[T; 3]) -> T {
        match self {
            Self::Collector => all[0],
            Self::Analyzer => all[1],
            Self::AccessApi => all[2],
        }
    }
}

impl Tiers {
    /// Finds the programs.
    ///
    /// # Errors
    /// When one is missing; the error names the first such program.
    pub fn find() -> Result<Self, programs::Missing> {
        Ok(Self {
            collector: programs::find("collector")?,
            analyzer: programs::find("analyzer")?,
            access_api: programs::find("access-api")?,
        })
    }

    /// Asks the tiers for their effective configurations, with the file and the environment as they are.
    ///
    /// # Errors
    /// When one refuses its configuration.
    pub async fn ask(&self, settings: &Settings) -> Result<Asked, Error> {
        let [collector, analyzer, access_api] = Tier::ALL.map(|tier| self.dump(tier, settings));
        let (taken, analyzer, access_api) = tokio::try_join!(collector, analyzer, access_api)?;
        let dump = |said: &str| toml::from_str::<Dump>(said);
        let [collector, analyzer, access_api] = [
            parsed(Tier::Collector, &taken, dump)?,
            parsed(Tier::Analyzer, &analyzer, dump)?,
            parsed(Tier::AccessApi, &access_api, dump)?,
        ];
        let taken = parsed(Tier::Collector, &taken, Taken::parse)?;
        Ok(Asked {
            analysis: Analysis {
                queries: analyzer.query.into_iter().map(|query| query.name).collect(),
            },
            listen: access_api.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            admin: [collector.service.admin, analyzer.service.admin, access_api.service.admin],
            taken,
        })
    }

    async fn dump(&self, which: Tier, settings: &Settings) -> Result<String, Error> {
        let tier = which.name();
        for _ in 0..QUESTIONS {
            let said =
                self.dumped(which, settings).await.map_err(|source| Error::Run { tier, source })?;
            if said.status.success() {
                return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
            }
            // Without an exit code it was ended by a signal. Something that kills tiers by name also kills this one.
            if said.status.code().is_some() {
                let why = String::from_utf8_lossy(&said.stderr).trim_end().to_owned();
                return Err(Error::Refused { tier, why });
            }
        }
        Err(Error::Killed { tier })
    }

    async fn dumped(&self, tier: Tier, settings: &Settings) -> std::io::Result<Output> {
        let mut question = process::guarded(self.program(tier));
        question.arg("--dump-config").args(config_flag(settings.path())).kill_on_drop(true);
        if tier == Tier::Collector && !settings.names_feed() {
            // The feed of `up` has its address later, and a section without one is refused.
            let url = config::variable(tier.name(), &settings.source_key("url"));
            question.env(url, "ws://127.0.0.1:1/2/rsvps");
        }
        question.stdin(std::process::Stdio::null()).output().await
    }

    fn program(&self, tier: Tier) -> &Path {
        match tier {
            Tier::Collector => &self.collector,
            Tier::Analyzer => &self.analyzer,
            Tier::AccessApi => &self.access_api,
        }
    }

    /// How to start a tier.
    pub fn spec(&self, tier: Tier, wiring: &Wiring<'_>) -> Spec {
        Spec {
            name: tier.name(),
            program: self.program(tier).to_owned(),
            args: config_flag(wiring.settings.path()),
            env: wiring
                .said(tier)
                .into_iter()
                .map(|said| (config::variable(tier.name(), &said.key), said.value))
                .collect(),
            probe: Probe::Http(tier.of(&wiring.admin)),
            grace: GRACE,
            restart: true,
        }
    }
}

fn parsed<T>(
    tier: Tier,
    said: &str,
    parse: impl Fn(&str) -> Result<T, toml::de::Error>,
) -> Result<T, Error> {
    parse(said).map_err(|source| Error::Unknown { tier: tier.name(), source })
}

fn config_flag(file: Option<&Path>) -> Vec<OsString> {
    file.map_or_else(Vec::new, |file| vec!["--config".into(), file.into()])
}

/// A setting that `up` passes to a tier.
struct Said {
    key: String,
    value: OsString,
    /// What decided it: a flag, or `up` itself; empty if it is the configured value or replaces none.
    by: String,
}

impl Wiring<'_> {
    /// Which configured settings `up` overrides, in words.
    pub fn overridden(&self) -> Vec<String> {
        let mut lost = Vec::new();
        for tier in Tier::ALL {
            for said in self.said(tier) {
                // Properties are added to the configured ones. A setting that nothing decided overrides nothing.
                if said.key == "kafka.properties" || said.by.is_empty() {
                    continue;
                }
                let same = self
                    .settings
                    .variable(tier.name(), &said.key)
                    .is_some_and(|text| said.value.to_str() == Some(text));
                if let Some(origin) = self.settings.origin(tier.name(), &said.key).filter(|_| !same)
                {
                    lost.push(format!("{} overrides {origin}", said.by));
                }
            }
        }
        lost.dedup();
        lost
    }

    fn said(&self, tier: Tier) -> Vec<Said> {
        let mut all = Vec::new();
        let mut say = |key: &str, value: OsString, by: &str| {
            all.push(Said { key: key.to_owned(), value, by: by.to_owned() });
        };
        say("kafka.brokers", self.kafka.brokers.clone().into(), self.brokers_by);
        say("service.admin", tier.of(&self.admin).to_string().into(), "");
        if let Some(by) = self.own_topics {
            let topics = &self.kafka.topics;
            for (key, name) in [
                ("kafka.topics.raw", &topics.raw),
                ("kafka.topics.dead_letters", &topics.dead_letters),
                ("kafka.topics.partials", &topics.partials),
                ("kafka.topics.state", &topics.state),
                ("kafka.topics.results", &topics.results),
                ("kafka.topics.acks", &topics.acks),
            ] {
                say(key, name.into(), by);
            }
        }
        if !self.properties.is_empty() {
            say("kafka.properties", self.kafka_properties(tier).into(), "-X");
        }
        match tier {
            Tier::Collector => {
                if let Some(OwnFeed { url, id, by }) = &self.feed {
                    say(&self.settings.source_key("url"), url.into(), by);
                    say(&self.settings.source_key("feed"), id.into(), by);
                    say(&self.settings.source_key("resume"), RESUME.into(), by);
                }
            }
            Tier::Analyzer => {}
            Tier::AccessApi => say("listen", self.listen.to_string().into(), &self.listen_by),
        }
        let mut unless_configured = |key: &str, value: OsString| {
            if self.settings.origin(tier.name(), key).is_none() {
                all.push(Said { key: key.to_owned(), value, by: String::new() });
            }
        };
        match tier {
            Tier::Collector => unless_configured("log.path", self.log.clone().into()),
            Tier::Analyzer => unless_configured("instance_id", self.stack.clone().into()),
            Tier::AccessApi => {}
        }
        if let Some(filter) = self.log_filter {
            unless_configured("service.log_filter", filter.into());
        }
        all
    }

    /// The properties of `-X`, together with those of the tier's own variable, in the TOML form of a variable.
    fn kafka_properties(&self, tier: Tier) -> String {
        let text = self.settings.variable(tier.name(), "kafka.properties").unwrap_or("{}");
        let mut table: toml::Table = toml::from_str::<toml::Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut document| match document.remove("value") {
                Some(toml::Value::Table(table)) => Some(table),
                _ => None,
            })
            .unwrap_or_default();
        for property in self.properties {
            table.insert(property.key.clone(), property.value.clone().into());
        }
        toml::Value::Table(table).to_string()
    }
}

#[cfg(test)]
mod tests;
