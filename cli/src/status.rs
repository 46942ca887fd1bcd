//! `millrace status`: shows the state of a running `up`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use common::output::print;
use serde::Serialize;

use crate::exit;
use crate::presets::Preset;
use crate::run::Failure;
use crate::up::data_dir;
use crate::up::probe;
use crate::up::running::{self, Addresses};

/// Show the state of a running `millrace up`: its tiers, pending events, dead letters, lag, clients.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace status
  millrace status --json | jq .lag_records
  millrace status --data-dir DIR       of an `up` with this --data-dir

Exit codes: 0 every tier is ready, 1 a tier is not ready, 69 no `up` runs there")]
pub struct Args {
    /// The data directory of the `up` [default: $XDG_DATA_HOME/millrace]
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// The directory of this preset
    #[arg(long, value_name = "NAME|FILE", value_parser = Preset::find, conflicts_with = "data_dir")]
    preset: Option<Preset>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Why the state cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No `up` runs there.
    #[error(
        "no `millrace up` runs on {path}; start one, or name its directory with --data-dir (`up` prints it at its start)"
    )]
    NotRunning {
        /// The data directory.
        path: PathBuf,
    },
    /// An `up` runs there, but has not written its addresses yet.
    #[error("the `millrace up` on {path} is still starting")]
    Starting {
        /// The data directory.
        path: PathBuf,
    },
    /// There is no directory to look in.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The state cannot be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] std::io::Error),
}

impl Error {
    /// Whether the same command may succeed later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Starting { .. } => true,
            Self::DataDir(_) | Self::Stdout(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning { .. } => exit::UNAVAILABLE,
            Self::Starting { .. } | Self::DataDir(_) | Self::Stdout(_) => 1,
        }
    }
}

/// The state of an `up`. A value that no tier reported is absent.
#[derive(Debug, Serialize)]
struct Report {
    pid: u32,
    url: String,
    brokers: String,
    data_dir: PathBuf,
    tiers: Vec<TierReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TierReport {
    name: String,
    admin: SocketAddr,
    ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    waiting_for: String,
    #[serde(skip)]
    metrics: String,
}

/// Asks the tiers for their state, and prints it.
///
/// # Errors
/// When no `up` runs there, or stdout cannot be written to.
pub async fn run(args: Args) -> Result<ExitCode, Error> {
    let path = data_dir::path(args.data_dir.as_deref(), args.preset.as_ref())?;
    // The lock is tested because an `up` that is killed with -9 leaves its files behind, but not its lock.
    let held = File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    if !held {
        return Err(Error::NotRunning { path });
    }
    let addresses = running::read(&path).map_err(|_| Error::Starting { path: path.clone() })?;
    let report = ask(addresses, path).await;
    let all_ready = report.tiers.iter().all(|tier| tier.ready);
    let text = if args.json {
        serde_json::to_string(&report).map_err(std::io::Error::from)? + "\n"
    } else {
        text(&report)
    };
    print(&text)?;
    Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(addresses: Addresses, data_dir: PathBuf) -> Report {
    let asked = addresses.admin.into_iter().map(|(name, admin)| async move {
        let ready = probe::get(admin, "/ready").await.is_some_and(|(status, _)| status == 200);
        let waiting_for = if ready { String::new() } else { probe::unmet(admin).await };
        let metrics = probe::get(admin, "/metrics").await.map(|(_, text)| text).unwrap_or_default();
        TierReport { name, admin, ready, waiting_for, metrics }
    });
    let tiers = futures_util::future::join_all(asked).await;
    let sum = |metric: &str| {
        tiers.iter().find_map(|tier| sum(&tier.metrics, &format!("millrace_{metric}")))
    };
    Report {
        received_messages: sum("collector_received_messages_total"),
        published_events: sum("collector_published_events_total"),
        pending_entries: sum("collector_pending_entries"),
        dead_letters: sum("collector_dead_letters_total"),
        lag_records: sum("analyzer_lag_records"),
        clients: sum("access_api_clients"),
        pid: addresses.pid,
        url: format!("http://{}/", addresses.listen),
        brokers: addresses.brokers,
        data_dir,
        tiers,
    }
}

/// The sum of all series of a metric; `None` if there is none.
fn sum(metrics: &str, name: &str) -> Option<u64> {
    let series = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        if !labels.is_empty() && !labels.starts_with('{') {
            return None;
        }
        value.parse::<f64>().ok()
    });
    let values: Vec<f64> = series.collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    let whole = values.iter().sum::<f64>().max(0.0) as u64;
    (!values.is_empty()).then_some(whole)
}

fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("{:<16}{} (process {})", "dashboard", report.url, report.pid),
        format!("{:<16}{}", "kafka", report.brokers),
        format!("{:<16}{}", "data", report.data_dir.display()),
    ];
    for tier in &report.tiers {
        let state = if tier.ready {
            "ready".to_owned()
        } else {
            format!("not ready: {}", tier.waiting_for)
        };
        lines.push(format!("{:<16}{state}", tier.name));
    }
    let counts = [
        ("received", report.received_messages, "messages since the collector started"),
        ("published", report.published_events, "events since the collector started"),
        ("pending", report.pending_entries, "events that Kafka has not acknowledged"),
        ("dead letters", report.dead_letters, "messages that are not events"),
        ("lag", report.lag_records, "records that are not counted yet"),
        ("clients", report.clients, "connected"),
    ];
    for (name, count, what) in counts {
        // A counter with labels has no series before it counts for the first time.
        lines.push(format!("{name:<16}{} {what}", count.unwrap_or(0)));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_of_its_series_and_not_of_its_namesakes() {
        let metrics = "# TYPE millrace_x gauge\nmillrace_x{a=\"1\"} 2\nmillrace_x{a=\"2\"} 3\nmillrace_xy 7\n";
        assert_eq!(sum(metrics, "millrace_x"), Some(5));
        assert_eq!(sum(metrics, "millrace_xy"), Some(7));
        assert_eq!(sum(metrics, "millrace_z"), None);
    }
}
