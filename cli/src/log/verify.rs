//! `millrace log verify`: whether everything is there that should be.

use std::path::PathBuf;
use std::process::ExitCode;

use common::output::print;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::reading::{self, Keys};
use super::report;
use super::summary::Summary;
use crate::exit;

/// Read everything that a log holds, check its checksums, and say what is damaged and where
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log verify /var/lib/millrace/log && echo whole

Exit codes: 0 everything can be read, 65 something is damaged, 66 there is no log, 64 the log is
encrypted, and the key file cannot be used or lacks a key, 1 the log cannot be opened")]
pub struct Args {
    /// The log's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    keys: Keys,
}

/// Reads the log, and prints what is damaged.
///
/// # Errors
/// When the log cannot be opened or read, or the output cannot be written.
pub fn run(args: &Args, stop: &CancellationToken) -> Result<ExitCode, Error> {
    let view = reading::open(&args.dir, args.keys.read()?)?;
    let own_values = view.read_metadata()?;
    let mut summary = Summary::default();
    let unreadable = reading::read(&view, stop, |found| {
        summary.add(&found);
        Ok(())
    })?;
    let (kept, lost) = (view.kept_files(), view.lost_files());
    print(&report::verified(&summary, own_values, &unreadable, (kept, lost), &args.dir))?;
    let is_whole = summary.damaged_ranges == 0 && unreadable.is_empty() && lost == 0;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) })
}
