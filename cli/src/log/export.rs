//! `millrace log export`: payloads as lines.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::event::Reason;
use common::message_log::{Entry, Found, Place};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::line::line;
use super::reason::reasons;
use super::summary::Summary;
use super::{reading, report};
use crate::text::grouped;
use crate::{exit, units};

/// The time between two lines that say how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// Write the payloads in a log as lines of JSON, in the order of arrival
///
/// A payload that is one JSON text without a line break is the line, byte for byte. Any other is the line
/// {"millrace_base64":"…"}. The file of --out is there when everything is in it, and only its owner may read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log export DIR --out events.jsonl
  millrace log export DIR --failed | jq -c .
  millrace log export DIR --reason not_json | jq -r '.millrace_base64 // empty | @base64d'

Exit codes: 0 all is written, 65 what can be read is written, and something is damaged, 66 there is no log,
64 the file exists already, 1 the log cannot be opened, or the file cannot be written")]
pub struct Args {
    /// The log's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

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
    let Some(path) = &args.out else {
        let out = BufWriter::new(std::io::stdout().lock());
        return match export(args, is_quiet, stop, out) {
            // Whoever has read enough closes the pipe.
            Err(Error::Stdout(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            done => done,
        };
    };
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: path.clone() });
    }
    let failed = |source| Error::Write { path: path.clone(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let code =
        export(args, is_quiet, stop, BufWriter::new(&mut file)).map_err(|error| match error {
            Error::Stdout(source) => failed(source),
            error => error,
        })?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
        _ => failed(error.error),
    })?;
    Ok(code)
}

fn export(
    args: &Args,
    is_quiet: bool,
    stop: &CancellationToken,
    mut out: impl Write,
) -> Result<ExitCode, Error> {
    let view = reading::open(&args.dir)?;
    let mut progress = Progress { is_quiet, events: 0, bytes: 0, told: Instant::now() };
    let mut damage = Summary::default();
    let unreadable = reading::read(&view, stop, |found| {
        match found {
            Found::Entry(place, _, entry) => {
                if args.takes(place, &entry) {
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
