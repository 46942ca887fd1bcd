//! What `millrace up` can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::property::Property;
use crate::simulate::Pace;
use crate::units;

/// Events a second when nothing else is said: a page that moves, a machine that stays cool.
const DEFAULT_RATE: f64 = 25.0;
/// The dashboard's port when nothing else is said.
pub const DEFAULT_PORT: u16 = 8080;
/// What each topic of a local Kafka keeps when nothing else is said.
const DEFAULT_RETENTION: u64 = 2 << 30;

/// Run everything on this machine: Kafka, a feed, the three tiers, and the page.
///
/// The address of the page is the one line on stdout; with --once the results are, as JSON lines.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace up                                        a synthetic feed of 25 RSVPs a second, on Apache Kafka
  millrace up --recording rsvps.jsonl.gz --rate 200  a recording instead, 200 lines a second
  millrace up --once --recording rsvps.jsonl.gz      the exact answer for a recording, as JSON lines
  xz -dc rsvps.xz | millrace up --recording -        a recording from a pipe
  millrace up --memory                               no Java, nothing kept
  millrace up --config feed.toml                     a feed, its events and queries from a file
  millrace up --brokers kafka:9092                   a Kafka that is there already
  millrace up --brokers kafka:9092 --topic orders --config orders.toml
                                                     a topic that is there already: nothing is collected
  millrace up --brokers kafka:9093 -X security.protocol=SASL_SSL -X sasl.mechanism=PLAIN \\
              -X sasl.username=me -X sasl.password=…

What is not said by a flag comes from MILLRACE_* variables, then from the tiers' own variables
(ANALYZER__CAPACITY=200 millrace up), then from --config, then from the defaults. `up` itself says where
the tiers find each other; a variable that says something else is not used, and named at the start.

A property given with -X can be seen in the list of processes while `up` runs. [kafka.properties] in
the file of --config cannot.

Exit codes:
    0  stopped, or answered
    1  something failed while it ran, or did not start in time
    2  a flag that is not known, or a value that is none
   64  it cannot be started like this: the message says what to change
  124  --timeout passed before the answer was there
  130  --once was interrupted, or the stop was forced by a second Ctrl-C")]
pub struct Args {
    /// Read this TOML file: [event], [[query]], [source.NAME], [kafka], and sections of single tiers
    #[arg(long, value_name = "FILE", env = "MILLRACE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Use the in-memory broker: needs no Java, keeps nothing, 5 MiB a partition
    #[arg(long, conflicts_with = "brokers")]
    pub memory: bool,

    /// Use this Kafka instead of starting one
    #[arg(long, value_name = "HOST:PORT", env = "MILLRACE_BROKERS", hide_env_values = true)]
    pub brokers: Option<String>,

    /// Count the records of this topic, which is there already, instead of collecting a feed
    #[arg(long, value_name = "TOPIC", env = "MILLRACE_TOPIC", hide_env_values = true,
          conflicts_with_all = ["memory", "recording", "rate", "max", "events", "truth", "once"])]
    pub topic: Option<String>,

    /// Set a property of every Kafka client, as librdkafka calls it; may be given several times
    #[arg(short = 'X', long = "kafka-property", value_name = "KEY=VALUE")]
    pub properties: Vec<Property>,

    /// Serve the lines of this file (plain, gzip or zstd; - is the standard input) instead of synthetic
    /// events; a pipe or a packed file is copied into the data directory while it is served
    #[arg(long, value_name = "FILE", env = "MILLRACE_RECORDING", hide_env_values = true)]
    pub recording: Option<PathBuf>,

    /// Events a second [default: 25; with --once as fast as it goes]
    #[arg(
        long,
        value_name = "N",
        env = "MILLRACE_RATE",
        hide_env_values = true,
        conflicts_with = "max",
        allow_negative_numbers = true
    )]
    pub rate: Option<f64>,

    /// As fast as it goes
    #[arg(long)]
    pub max: bool,

    /// End the synthetic feed after so many events
    #[arg(long, value_name = "N", conflicts_with = "recording")]
    pub events: Option<u64>,

    /// Write the right answer for what the feed sent to this file, when the feed ends or is stopped
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
    /// [default: $XDG_DATA_HOME/millrace; with --once or --memory a temporary directory on a disk]
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,

    /// How much a topic of the local Kafka keeps, for example 500MiB or 10GiB, or `unlimited`
    /// [default: 2GiB; with --once unlimited]
    #[arg(long, value_name = "SIZE", env = "MILLRACE_RETENTION", hide_env_values = true,
          value_parser = units::limit, conflicts_with_all = ["brokers", "memory"])]
    pub retention: Option<units::Limit>,

    /// Print the results and a summary once the feed is through, then stop
    #[arg(long)]
    pub once: bool,

    /// Give up after so long when the answer is not there, for example 90s or 10m
    #[arg(long, value_name = "DURATION", env = "MILLRACE_TIMEOUT", hide_env_values = true,
          value_parser = units::duration, requires = "once")]
    pub timeout: Option<Duration>,

    /// How long each step of the start may take
    /// [default: 2m; 15m for a Kafka that may have to be fetched first]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub start_timeout: Option<Duration>,
}

/// How long a step of the start may take.
const START: Duration = Duration::from_secs(120);
/// The same where 43 MB may have to come over a slow line first.
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

    /// Where the dashboard is to be, if a flag says so; port 0 is any free one.
    pub fn dashboard(&self) -> Option<SocketAddr> {
        let ip = self.listen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |listen| listen.ip());
        self.port.map(|port| SocketAddr::from((ip, port))).or(self.listen)
    }

    /// Whether the data has a place of its own beyond this run.
    pub const fn keeps_data(&self) -> bool {
        self.data_dir.is_some() || !(self.once || self.memory)
    }

    /// Whether a flag asks for the feed that this program serves.
    pub const fn wants_own_feed(&self) -> bool {
        self.recording.is_some() || self.events.is_some()
    }

    /// What a topic of the local Kafka keeps.
    pub fn retention(&self) -> units::Limit {
        let default = if self.once { None } else { Some(DEFAULT_RETENTION) };
        self.retention.unwrap_or(units::Limit(default))
    }

    /// How long a step of the start may take.
    pub fn step_deadline(&self) -> Duration {
        self.start_timeout.unwrap_or(START)
    }

    /// How long the local Kafka may take.
    pub fn fetch_deadline(&self) -> Duration {
        self.start_timeout.unwrap_or(FETCH)
    }
}
