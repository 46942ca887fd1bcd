//! `millrace log inspect`: what is in a log.

use std::path::PathBuf;
use std::process::ExitCode;

use common::disk;
use common::message_log::Found;
use common::output::print;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::reading::{self, Keys};
use super::report::{self, Report};
use super::sample::Sample;
use super::summary::Summary;
use crate::exit;

/// Show what waits in a log, by source and by reason, and where its sources resume
///
/// Of a cursor only its kind and length are shown, because it may be secret. With --entries the payloads are shown, shortened
/// and with control characters escaped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log inspect /var/lib/millrace/log
  millrace log inspect DIR --entries 5
  millrace log inspect DIR --json | jq '.sources[] | {source, waiting: .groups}'

Exit codes: 0 shown, 65 shown, and something is damaged, 66 there is no log, 64 the log is
encrypted, and the key file cannot be used or lacks a key, 1 the log cannot be opened")]
pub struct Args {
    /// The log's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    keys: Keys,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Show so many entries, the oldest first
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    entries: u16,
}

/// Reads the log, and prints what is in it.
///
/// # Errors
/// When the log cannot be opened or read, or the output cannot be written.
pub fn run(args: &Args, stop: &CancellationToken) -> Result<ExitCode, Error> {
    let view = reading::open(&args.dir, args.keys.read()?)?;
    let mut summary = Summary::default();
    let mut samples = Vec::new();
    let unreadable = reading::read(&view, stop, |found| {
        summary.add(&found);
        if let Found::Entry(place, sequence, entry) = &found
            && samples.len() < usize::from(args.entries)
        {
            samples.push(Sample::of(*place, *sequence, entry));
        }
        Ok(())
    })?;
    let report = Report {
        path: &args.dir,
        instance: view.instance(),
        epoch: view.epoch(),
        bytes_on_disk: disk::size(&args.dir),
        kept_files: view.kept_files(),
        summary: &summary,
        cursors: view.cursors(),
        positions: view.positions(),
        unreadable: &unreadable,
        samples: &samples,
    };
    print(&if args.json { report::json(&report)? } else { report::text(&report) })?;
    let is_whole = summary.damaged_ranges == 0 && unreadable.is_empty();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(exit::DATA) })
}
