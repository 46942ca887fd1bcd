//! `millrace discover`: the arguments, and what is printed where.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use common::output::print;
use tokio_util::sync::CancellationToken;

use super::feed::{Framing, Header, Options, Source, Target};
use super::propose::Proposal;
use super::watch::{Limits, Progress, Watched, watch};
use super::{Error, preset, report};
use crate::text::{grouped, printable};
use crate::verbosity::Verbosity;

/// How wide the output is if nothing says it.
const COLUMNS: usize = 80;

/// Show the shape of an unknown feed, and propose an id, a time and what to count.
///
/// Watches the feed for a moment. Only the report is on stdout.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace discover wss://feed.example.org/events              a WebSocket
  millrace discover https://feed.example.org/stream            server-sent events, JSON lines, or a JSON array
  millrace discover events.jsonl.gz                            a recording (plain, gzip or zstd; - is stdin)
  millrace discover wss://feed.example.org --send '{\"subscribe\":\"trades\"}'
  millrace discover URL --write my.toml && millrace up --preset my.toml
  millrace discover URL --json | jq .time

Exit codes:
    0  the shape is shown
    1  the output or the file of --write cannot be written
    2  an unknown flag, or an invalid value
   64  it cannot work as it was given: the message says what to change
   65  something came, and none of it is an event
   66  there is no such file, or nothing came
   69  the server cannot be reached, or refuses")]
pub struct Args {
    /// Address (ws, wss, http, https) or file of the feed; - is the standard input
    #[arg(value_name = "URL|FILE")]
    pub feed: String,

    /// Watch for this many seconds at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,

    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,

    /// Write a preset to this new file, which `millrace up --preset FILE` runs
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// A header of the request; may be given several times. The preset has it too
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<Header>,

    /// A text to send first on a WebSocket, such as a subscription; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub send: Vec<String>,

    /// A file of PEM certificates to trust instead of the public authorities
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Watches the feed, and prints its shape.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    args: Args,
    verbosity: Verbosity,
    stop: CancellationToken,
) -> Result<ExitCode, Error> {
    let target = Target::of(&args.feed)?;
    check(&args, &target)?;
    let options = Options {
        headers: args.headers.clone(),
        first_messages: args.send.clone(),
        ca_file: args.ca_file.clone().unwrap_or_default(),
    };
    let limits =
        Limits { time: Duration::from_secs(args.seconds), events: args.events.unwrap_or(u64::MAX) };
    let what = printable(&target.shown());
    let screen = std::io::stderr().is_terminal() && !verbosity.is_quiet();
    if !verbosity.is_quiet() && !screen {
        eprintln!("watching {what} for up to {} s", args.seconds);
    }
    let show = |progress: Progress| {
        if screen {
            show(&what, progress, args.seconds);
        }
    };
    let watched = watch(target.clone(), options.clone(), limits, stop, show).await;
    if screen {
        eprint!("\r\x1b[2K");
    }
    let watched = watched?;
    check_events(&watched, &what, &target)?;
    if let Some(why) = &watched.ended {
        eprintln!("millrace: the feed ended early: {}", printable(&why.to_string()));
    }
    let proposal = Proposal::of(&watched.shape, &watched.sample);
    if args.json {
        print(&report::json(&watched.shape, &proposal)?)?;
    } else {
        print(&report::report(&watched.shape, &proposal, watched.took, columns()))?;
    }
    let Some(path) = &args.write else { return Ok(ExitCode::SUCCESS) };
    if matches!(watched.source, Some(Source::HttpStream(Framing::Array(_)))) {
        return Err(Error::ArrayWithoutEnd);
    }
    let text = preset::preset(&target, &options, &watched, &proposal).ok_or(Error::NoItems)?;
    write(path, &text)?;
    if !verbosity.is_quiet() {
        let stdin = if matches!(target, Target::Stdin) { " --recording -" } else { "" };
        eprintln!("written; run it: millrace up --preset {}{stdin}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks what can be checked before the watch, so that nobody waits for an error.
fn check(args: &Args, target: &Target) -> Result<(), Error> {
    if !args.send.is_empty() && !matches!(target, Target::Websocket(_)) {
        return Err(Error::Usage("--send is for a WebSocket (ws:// or wss://)".to_owned()));
    }
    if !args.headers.is_empty() && target.is_recording() {
        return Err(Error::Usage("-H is for an address, and this is a file".to_owned()));
    }
    match &args.write {
        Some(path) if path.exists() => Err(Error::Exists { path: path.clone() }),
        Some(_) | None => Ok(()),
    }
}

/// Checks that there was an event.
fn check_events(watched: &Watched, what: &str, target: &Target) -> Result<(), Error> {
    if watched.shape.events() > 0 {
        return Ok(());
    }
    if watched.shape.refused().is_empty() {
        let seconds = watched.took.as_secs().max(1);
        return Err(Error::Nothing(match (target, &watched.source) {
            (Target::File(_) | Target::Stdin, _) => format!("{what} is empty"),
            (Target::Websocket(_), Some(_)) => format!(
                "nothing came from {what} within {seconds} s; does it want a message first (--send), or more time (--seconds)?"
            ),
            _ => {
                format!("nothing came from {what} within {seconds} s; watch longer with --seconds")
            }
        }));
    }
    let first = watched.first_refused.as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(first);
    let hint = match first.trim_ascii_start().first() {
        Some(b'[') if target.is_recording() => {
            "; that is an array: jq -c '.[]' makes a line of each element"
        }
        _ if text.contains('\u{fffd}') || first.contains(&0) => {
            "; that is not text: is it packed in an unknown format?"
        }
        _ => "",
    };
    Err(Error::Garbage {
        what: what.to_owned(),
        refused: report::refused(&watched.shape),
        first: printable(&text.trim_end().chars().take(120).collect::<String>()),
        hint,
    })
}

/// One line on the terminal, which the next one replaces.
fn show(what: &str, progress: Progress, seconds: u64) {
    let Progress { elapsed, events, paths } = progress;
    let line = format!(
        "{:.0} of {seconds} s  {} events, {paths} paths  {what}  Ctrl-C shows what came",
        elapsed.as_secs_f64(),
        grouped(events)
    );
    let line = crate::text::cut(&line, columns().saturating_sub(1));
    let mut err = std::io::stderr().lock();
    // Progress that cannot be shown is no reason to stop.
    let _unseen = write!(err, "\r\x1b[2K{line}").and_then(|()| err.flush());
}

/// How wide the output may be: as `COLUMNS` says, as the terminal is, or 80.
fn columns() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        let outputs = [
            rustix::termios::tcgetwinsize(std::io::stdout()),
            rustix::termios::tcgetwinsize(std::io::stderr()),
        ];
        outputs.into_iter().flatten().map(|size| usize::from(size.ws_col)).find(|&wide| wide > 0)
    };
    set.filter(|&columns| columns > 0).or_else(terminal).unwrap_or(COLUMNS)
}

/// Writes a new file, which only its owner may read: an address, a header or a first message may hold a token.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Write { path: path.to_owned(), source },
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
