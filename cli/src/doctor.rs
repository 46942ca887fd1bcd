//! `millrace doctor`: checks whether this machine has what `up` needs.

use std::path::PathBuf;
use std::process::ExitCode;

use common::output::print;

use crate::run::Failure;

mod clock;
mod finding;
mod machine;

use finding::{Finding, Verdict};

/// Check whether this machine has what `millrace up` needs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace doctor
  millrace doctor --brokers kafka:9092     also whether that Kafka answers, and how far its clock is off
  millrace doctor --memory                 without what Apache Kafka needs

To compare the clocks, a topic `millrace-doctor` is created in that Kafka and deleted again.

Exit codes: 0 nothing is missing (there may be warnings), 1 something that is needed is missing")]
pub struct Args {
    /// The data directory to check [default: $XDG_DATA_HOME/millrace]
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// The dashboard's port
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,

    /// Check this Kafka instead of what a local one needs
    #[arg(
        long,
        value_name = "HOST:PORT",
        conflicts_with = "memory",
        env = "MILLRACE_BROKERS",
        hide_env_values = true
    )]
    brokers: Option<String>,

    /// Do not check what Apache Kafka needs
    #[arg(long)]
    memory: bool,
}

/// Why the findings cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] std::io::Error),
}

impl Error {
    /// Whether the same command may succeed later. It may not.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Stdout(_) => false,
        }
    }
}

impl Failure for Error {}

/// Makes all checks, and prints the findings.
///
/// # Errors
/// When stdout cannot be written to.
pub async fn run(args: Args) -> Result<ExitCode, Error> {
    let mut findings = machine::programs();
    match &args.brokers {
        Some(brokers) => findings.extend(clock::kafka(brokers).await),
        None if args.memory => {}
        None => findings.extend(machine::local_kafka()),
    }
    findings.extend(machine::room(args.data_dir.as_deref()));
    findings.extend(machine::ports(args.port));
    findings.push(machine::browser());
    let text: String = findings.iter().map(line).collect();
    print(&text)?;
    let lacks = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    Ok(if lacks { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Fine => "ok",
        Verdict::Warning => "warning",
        Verdict::Missing => "MISSING",
    };
    format!("{mark:<9}{:<14}{}\n", finding.what, finding.says)
}
