//! `millrace log export`: payloads as lines.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::event::Reason;
use common::event::control::Control;
use common::message_log::{Entry, Found, Place, SealedWriter, View};
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::line::line;
use super::output;
use super::reading::{self, Keys};
use super::reason::reasons;
use super::report;
use super::summary::Summary;
use crate::text::grouped;
use crate::{exit, units};

/// The time between two lines that say how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// Write the payloads in a log as lines of JSON, in the order of arrival
///
/// A payload that is one JSON text without a line break is the line, byte for byte. Any other is the line
/// {"millrace_base64":"…"}. The file of --out is there when everything is in it, and only its owner may read it. The export of an
/// encrypted log is encrypted too, unless --decrypt is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log export DIR --out events.jsonl
  millrace log export DIR --failed | jq -c .
  millrace log export DIR --key-file keys --decrypt | jq -c .
  millrace log export DIR --reason not_json | jq -r '.millrace_base64 // empty | @base64d'

Exit codes: 0 all is written, 65 what can be read is written, and something is damaged, 66 there is no log,
64 the file exists already, or the log is encrypted and the key file cannot be used or lacks a key, 1 the log cannot be opened, or the file cannot be written")]
pub struct Args {
    /// The log's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    keys: Keys,

    /// What Kafka has refused, and whose dead letter it has not taken
    #[arg(long, group = "which")]
    failed: bool,

    /// What waits for Kafka
    #[arg(long, group = "which")]
    pending: bool,

    /// Both [default]
    #[arg(long, group = "which")]
    all: bool,

    /// Only what goes to the dead letters for this reason
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<Reason>,

    /// Write the lines of an encrypted log as they are; otherwise they are encrypted, for `millrace log decrypt`
    #[arg(long)]
    decrypt: bool,

    /// Write to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    fn takes(&self, place: Place, entry: &Entry) -> bool {
        let is_there = match place {
            Place::Failed => !self.pending,
            Place::Group | Place::Deferred => !self.failed,
        };
        is_there && self.reason.is_none_or(|reason| entry.reason == Some(reason))
    }
}

/// Writes the payloads, and says on stderr how far it is, unless it is to be quiet.
///
/// # Errors
/// When the log cannot be opened or read, or the output cannot be written.
pub fn run(args: &Args, is_quiet: bool, stop: &CancellationToken) -> Result<ExitCode, Error> {
    let keys = args.keys.read()?;
    let view = reading::open(&args.dir, keys.clone())?;
    let keys = keys.filter(|_| view.is_encrypted() && !args.decrypt);
    if keys.is_some() && args.out.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::Terminal);
    }
    output::write(args.out.as_deref(), |out| match keys {
        None => export(args, &view, is_quiet, stop, out),
        Some(keys) => {
            let mut sealed = SealedWriter::new(out, keys)?;
            let code = export(args, &view, is_quiet, stop, &mut sealed)?;
            sealed.finish()?;
            Ok(code)
        }
    })
}

fn export(
    args: &Args,
    view: &View,
    is_quiet: bool,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let mut progress = Progress { is_quiet, events: 0, bytes: 0, told: Instant::now() };
    let mut damage = Summary::default();
    let unreadable = reading::read(view, stop, |found| {
        match found {
            Found::Entry(place, _, entry) => {
                let key = entry.identity.as_ref().and_then(|known| known.key.as_deref());
                let is_control = Control::read(key.map(str::as_bytes), &entry.payload).is_some();
                if !is_control && args.takes(place, &entry) {
                    let line = line(&entry.payload);
                    out.write_all(&line)?;
                    out.write_all(b"\n")?;
                    progress.count(line.len() as u64 + 1);
                }
            }
            damaged @ Found::Damaged(..) => damage.add(&damaged),
        }
        Ok(())
    })?;
    out.flush()?;
    progress.end();
    let missing = report::damage(&damage, &unreadable);
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("millrace: not all can be read, and this is not in the export:\n{missing}");
    Ok(ExitCode::from(exit::DATA))
}

/// How far it is.
struct Progress {
    is_quiet: bool,
    events: u64,
    bytes: u64,
    told: Instant,
}

impl Progress {
    fn count(&mut self, bytes: u64) {
        self.events += 1;
        self.bytes += bytes;
        if self.told.elapsed() >= PROGRESS {
            self.tell("so far");
            self.told = Instant::now();
        }
    }

    fn end(&self) {
        self.tell("exported");
    }

    fn tell(&self, what: &str) {
        if !self.is_quiet {
            eprintln!("{what}: {} events, {}", grouped(self.events), units::bytes(self.bytes));
        }
    }
}
