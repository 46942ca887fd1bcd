//! The arguments of `millrace up`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::property::Property;
use crate::presets::Preset;
use crate::simulate::Pace;
use crate::units;

/// The default rate in events a second: enough that the page moves, and little load for the machine.
const DEFAULT_RATE: f64 = 25.0;
/// The default port of the dashboard.
pub const DEFAULT_PORT: u16 = 8080;
/// How many bytes each topic of a local Kafka keeps by default.
const DEFAULT_RETENTION: u64 = 2 << 30;

/// Run everything on this machine: Kafka, a feed, the three tiers, and the page.
///
/// Prints only the address of the page on stdout, or with --once the results as JSON lines.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace up                                        a synthetic feed of 25 RSVPs a second, on Apache Kafka
  millrace up --recording rsvps.jsonl.gz --rate 200  a recording instead, 200 lines a second
  millrace up --once --recording rsvps.jsonl.gz      the exact answer for a recording, as JSON lines
  xz -dc rsvps.xz | millrace up --recording -        a recording from a pipe
  millrace up --memory                               no Java, nothing kept
  millrace up --preset bluesky                       a live feed; `millrace presets` lists them
  millrace up --preset bluesky --once --for 30s      its counts after 30 s, as JSON lines
  millrace up --config feed.toml                     a feed, its events and queries from a file
  millrace up --brokers kafka:9092                   an existing Kafka
  millrace up --brokers kafka:9092 --topic orders --config orders.toml
                                                     an existing topic: nothing is collected
  millrace up --brokers kafka:9093 -X security.protocol=SASL_SSL -X sasl.mechanism=PLAIN \\
              -X sasl.username=me -X sasl.password=…

A setting without a flag comes from a MILLRACE_* variable, then from the tiers' own variables
(ANALYZER__CAPACITY=200 millrace up), then from --config, then from the defaults. `up` itself sets the
addresses at which the tiers find each other; a variable with another address is named at the start and
not used.

Other users can see a property given with -X in the list of processes while `up` runs. They cannot see
[kafka.properties] in the file of --config.

Exit codes:
    0  stopped, or the answer was printed
    1  something failed while it ran, or did not start in time
    2  an unknown flag, or an invalid value
   64  it cannot be started like this: the message says what to change
  124  --timeout passed before the answer was there
  130  --once was interrupted, or the stop was forced by a second Ctrl-C")]
pub struct Args {
    /// Read this TOML file: [event], [[query]], [source.NAME], [kafka], and sections of single tiers
    #[arg(long, value_name = "FILE", env = "MILLRACE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Run this preset: one of `millrace presets`, or a file of the same form such as `millrace discover --write`
    /// makes
    #[arg(long, value_name = "NAME|FILE", value_parser = Preset::find, conflicts_with_all = ["config", "topic"])]
    pub preset: Option<Preset>,

    /// Use the in-memory broker: needs no Java, keeps nothing, 5 MiB a partition
    #[arg(long, conflicts_with = "brokers")]
    pub memory: bool,

    /// Use this Kafka instead of starting one
    #[arg(long, value_name = "HOST:PORT", env = "MILLRACE_BROKERS", hide_env_values = true)]
    pub brokers: Option<String>,

    /// Count the records of this existing topic instead of collecting a feed
    #[arg(long, value_name = "TOPIC", env = "MILLRACE_TOPIC", hide_env_values = true,
          conflicts_with_all = ["memory", "recording", "rate", "max", "events", "truth", "once"])]
    pub topic: Option<String>,

    /// Set a librdkafka property of every Kafka client; may be given several times
    #[arg(short = 'X', long = "kafka-property", value_name = "KEY=VALUE")]
    pub properties: Vec<Property>,

    /// Serve the lines of this file (plain, gzip or zstd; - is the standard input) instead of synthetic
    /// events; a pipe or a packed file is copied into the data directory while it is served
    #[arg(long, value_name = "FILE", env = "MILLRACE_RECORDING", hide_env_values = true)]
    pub recording: Option<PathBuf>,

    /// Events a second [default: 25; with --once as fast as possible]
    #[arg(
        long,
        value_name = "N",
        env = "MILLRACE_RATE",
        hide_env_values = true,
        conflicts_with = "max",
        allow_negative_numbers = true
    )]
    pub rate: Option<f64>,

    /// Send events as fast as possible
    #[arg(long)]
    pub max: bool,

    /// End the synthetic feed after this many events; with --once and a feed elsewhere, stop after so many
    #[arg(long, value_name = "N", conflicts_with = "recording")]
    pub events: Option<u64>,

    /// Write the correct answer for what the feed sent to this file, when `up` ends or is stopped
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,

    /// Address of the dashboard; port 0 takes any free one
    /// [default: 127.0.0.1:8080; with --once any free port]
    #[arg(long, value_name = "HOST:PORT", env = "MILLRACE_LISTEN", hide_env_values = true)]
    pub listen: Option<SocketAddr>,

    /// Port of the dashboard, 0 for any free one; the address is that of --listen
    #[arg(long, value_name = "PORT", env = "MILLRACE_PORT", hide_env_values = true)]
    pub port: Option<u16>,

    /// Where the data stays, so that the next `up` goes on where this one stopped
    /// [default: $XDG_DATA_HOME/millrace, below it presets/NAME for a preset; with --once or --memory a temporary directory on a disk]
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,

    /// How much a topic of the local Kafka keeps, for example 500MiB or 10GiB, or `unlimited`
    /// [default: 2GiB; with --once unlimited]
    #[arg(long, value_name = "SIZE", env = "MILLRACE_RETENTION", hide_env_values = true,
          value_parser = units::limit, conflicts_with_all = ["brokers", "memory"])]
    pub retention: Option<units::Limit>,

    /// Print the results and a summary once the feed has ended and is counted, then stop
    #[arg(long)]
    pub once: bool,

    /// With --once: stop collecting after this time, for example 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration, requires = "once",
          conflicts_with = "recording")]
    pub duration: Option<Duration>,

    /// With --once: stop collecting when no event has come for this long after the first one, for example 5s
    #[arg(long, value_name = "DURATION", value_parser = units::duration, requires = "once",
          conflicts_with = "recording")]
    pub idle: Option<Duration>,

    /// Give up if there is no answer after this time, for example 90s or 10m
    #[arg(long, value_name = "DURATION", env = "MILLRACE_TIMEOUT", hide_env_values = true,
          value_parser = units::duration, requires = "once")]
    pub timeout: Option<Duration>,

    /// How long each step of the start may take
    /// [default: 2m; 15m for a Kafka that may have to be fetched first]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub start_timeout: Option<Duration>,
}

/// When collecting from a feed that does not end is stopped: by whatever comes first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// After so many events.
    pub events: Option<u64>,
    /// After this time.
    pub duration: Option<Duration>,
    /// When no event has come for this long after the first one.
    pub idle: Option<Duration>,
}

/// How long a step of the start may take.
const START: Duration = Duration::from_secs(120);
/// How long the start of Kafka may take, for which 44 MB may have to be fetched over a slow line.
const FETCH: Duration = Duration::from_secs(900);

impl Args {
    /// How fast the feed goes.
    pub const fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Rate(rate),
            None if self.max || self.once => Pace::Max,
            None => Pace::Rate(DEFAULT_RATE),
        }
    }

    /// The address of the dashboard, if a flag sets it; port 0 means any free one.
    pub fn dashboard(&self) -> Option<SocketAddr> {
        let ip = self.listen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |listen| listen.ip());
        self.port.map(|port| SocketAddr::from((ip, port))).or(self.listen)
    }

    /// Whether the data is kept after this run.
    pub const fn keeps_data(&self) -> bool {
        self.data_dir.is_some() || !(self.once || self.memory)
    }

    /// Whether a flag asks for the feed that this program serves. `elsewhere` says that a feed is configured, of which `--events`
    /// with `--once` takes so many.
    pub const fn wants_own_feed(&self, elsewhere: bool) -> bool {
        self.recording.is_some() || self.events.is_some() && !(self.once && elsewhere)
    }

    /// When `--once` stops collecting from a feed that does not end; `None` if the feed ends by itself.
    pub fn limits(&self, elsewhere: bool) -> Option<Limits> {
        let (events, duration, idle) = (self.events, self.duration, self.idle);
        let limited = duration.is_some() || idle.is_some() || elsewhere && events.is_some();
        let live = self.once && self.recording.is_none() && limited;
        live.then_some(Limits { events, duration, idle })
    }

    /// How much a topic of the local Kafka keeps.
    pub fn retention(&self) -> units::Limit {
        let default = if self.once { None } else { Some(DEFAULT_RETENTION) };
        self.retention.unwrap_or(units::Limit(default))
    }

    /// How long a step of the start may take.
    pub fn step_deadline(&self) -> Duration {
        self.start_timeout.unwrap_or(START)
    }

    /// How long the start of the local Kafka may take.
    pub fn fetch_deadline(&self) -> Duration {
        self.start_timeout.unwrap_or(FETCH)
    }
}
