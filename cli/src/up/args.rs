//! What `millrace up` can be told.

use std::path::PathBuf;

use crate::simulate::Pace;

/// Events a second when nothing else is said: a page that moves, a machine that stays cool.
const DEFAULT_RATE: f64 = 25.0;
const DEFAULT_PORT: u16 = 8080;

/// Flags of `millrace up`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace up                                       a synthetic feed of 25 RSVPs a second, on Apache Kafka
  millrace up --recording rsvps.jsonl.gz --rate 200 a recording instead, 200 lines a second
  millrace up --once --recording rsvps.jsonl.gz     the exact answer for a recording, as JSON lines
  xz -dc rsvps.xz | millrace up --recording -       a recording from a pipe
  millrace up --memory                              no Java, nothing kept
  millrace up --brokers kafka:9092                  a Kafka that is there already

The environment is passed on to the tiers: ANALYZER__CAPACITY=200 millrace up
Exit codes: 0 stopped or answered, 1 failed, 64 cannot be started like this, 130 --once was interrupted")]
pub struct Args {
    /// Use the in-memory broker: needs no Java, keeps nothing, 5 MiB a partition
    #[arg(long, conflicts_with = "brokers")]
    pub memory: bool,

    /// Use this Kafka instead of starting one
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: Option<String>,

    /// Serve the lines of this file (plain, gzip or zstd; - is the standard input) instead of synthetic
    /// events; a pipe or a packed file is copied into the data directory while it is served
    #[arg(long, value_name = "FILE")]
    pub recording: Option<PathBuf>,

    /// Events a second [default: 25; with --once as fast as it goes]
    #[arg(long, value_name = "N", conflicts_with = "max", allow_negative_numbers = true)]
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

    /// Port of the dashboard, 0 for any free one [default: 8080; with --once any free one]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Where the data stays, so that the next `up` goes on where this one stopped
    /// [default: $XDG_DATA_HOME/millrace; with --once or --memory a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Print the results and a summary once the feed is through, then stop
    #[arg(long)]
    pub once: bool,
}

impl Args {
    /// How fast the feed goes.
    pub const fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::Rate(rate),
            None if self.max || self.once => Pace::Max,
            None => Pace::Rate(DEFAULT_RATE),
        }
    }

    /// The dashboard's port; 0 is any free one.
    pub fn dashboard_port(&self) -> u16 {
        self.port.unwrap_or(if self.once { 0 } else { DEFAULT_PORT })
    }

    /// Whether the data has a place of its own beyond this run.
    pub const fn keeps_data(&self) -> bool {
        self.data_dir.is_some() || !(self.once || self.memory)
    }
}
