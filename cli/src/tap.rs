//! `millrace tap`: prints the results of a running access-api.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use common::protocol::{KafkaState, Queries, ServerFrame};
use common::result::TopN;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Event};
use crate::units;

mod catalogue;
mod error;
mod table;
#[cfg(test)]
mod tests;

pub use error::Error;

/// Print the results of a running access-api, each as it comes.
///
/// When the connection breaks, it is made again and resumes where it was.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace tap                                    every query, as tables
  millrace tap topics --json --limit 1            the newest result, as JSON
  millrace tap topics --json --timeout 30s | jq   for a script: fails when nothing comes

Exit codes:
    0  stopped, --limit reached, or nobody reads the output any more
    1  the output cannot be written
    2  an unknown flag, or an invalid value
   64  --url is not the address of an access-api
   66  there is no such query: the message names the existing ones
   69  the server could not be reached for --timeout, or for 10 s without it
  124  no result came within --timeout")]
pub struct Args {
    /// Queries to follow [default: all of them]
    #[arg(value_name = "QUERY")]
    pub queries: Vec<String>,

    /// WebSocket of the access-api
    #[arg(
        long,
        default_value = "ws://127.0.0.1:8080/v1/ws",
        value_name = "URL",
        env = "MILLRACE_URL",
        hide_env_values = true
    )]
    pub url: String,

    /// Stop after this many results
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Give up when no result comes for this long, connecting included, for example 30s [default: 10s to connect, then wait
    /// for ever]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub timeout: Option<Duration>,

    /// Print every result as published, one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How many items of each result a table shows
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub top: usize,
}

/// How long the first connection may take before the command gives up, if no `--timeout` says so.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Prints results on stdout until `shutdown`, until `--limit`, or until nobody reads them. Everything else is
/// reported on stderr.
///
/// # Errors
/// See [`Error`].
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<ExitCode, Error> {
    let stdout = io::stdout();
    let screen = stdout.is_terminal() && !args.json;
    match print(args, shutdown, stdout, &mut io::stderr(), screen).await {
        // `millrace tap | head` is not a failure.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

/// With `screen` the newest result of every query is shown in place, instead of one result after the other.
async fn print(
    args: Args,
    shutdown: CancellationToken,
    mut out: impl Write + Send,
    notes: &mut (impl Write + Send),
    screen: bool,
) -> Result<(), Error> {
    let queries =
        if args.queries.is_empty() { Queries::All } else { args.queries.iter().collect() };
    // The guard ends the connection when this function ends.
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    let mut events = client::follow(&args.url, queries, stop)?;
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut waiting = Waiting::new(args.timeout);
    let mut unheard: BTreeSet<String> = args.queries.iter().cloned().collect();
    let unknown = catalogue::unknown(&args.url, &args.queries);
    tokio::pin!(unknown);
    while left > 0 {
        let event = tokio::select! {
            event = events.recv() => event,
            error = waiting.over() => return Err(error),
            error = &mut unknown, if !unheard.is_empty() => return Err(error),
        };
        let Some(event) = event else { break };
        waiting.note(&event);
        let note = match event {
            Event::Frame(frame) => match *frame {
                ServerFrame::Snapshot(update) | ServerFrame::Result(update) => {
                    left -= 1;
                    unheard.remove(&update.query);
                    if args.json {
                        write_json(&mut out, &update.result)?;
                    } else {
                        let table = table::table(&update.result, update.lag_ms, args.top);
                        if screen {
                            newest.insert(update.query, table);
                            write_screen(&mut out, &newest)?;
                        } else {
                            out.write_all(table.as_bytes())?;
                            out.flush()?;
                        }
                    }
                    continue;
                }
                ServerFrame::SlowDown(slow) => {
                    format!("reading too slowly: {} ms behind", slow.lag_ms)
                }
                ServerFrame::StallWarning(stall) => {
                    format!(
                        "reading too slowly: {} ms behind, {} results were skipped",
                        stall.lag_ms, stall.skipped
                    )
                }
                ServerFrame::Gap(gap) => match gap.skipped {
                    Some(skipped) => {
                        format!(
                            "missed {skipped} results while disconnected; the newest results follow"
                        )
                    }
                    None => "cannot resume where it was; the newest results follow".to_owned(),
                },
                ServerFrame::Status(status) => match status.kafka {
                    KafkaState::Away => "the server has no connection to kafka".to_owned(),
                    KafkaState::Reading => "the server is reading the results again".to_owned(),
                    KafkaState::Connected | KafkaState::Other => continue,
                },
                ServerFrame::Error(refusal) => refusal.message,
                ServerFrame::Bye(_) => continue,
            },
            Event::Connected => continue,
            Event::Unknown(error) => {
                format!(
                    "ignored a frame of the server: {error}; is the server newer than this program?"
                )
            }
            Event::Lost { why, retry_in } => {
                format!("{why}; next attempt in {} ms", retry_in.as_millis())
            }
        };
        // That nobody reads the notes is no error.
        let _ = writeln!(notes, "tap: {note}");
    }
    Ok(())
}

/// How long no result has come, and how long none may come.
struct Waiting {
    limit: Option<Duration>,
    since: Instant,
    /// Why there was no connection yet; `None` once there was one.
    unconnected: Option<String>,
}

impl Waiting {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, since: Instant::now(), unconnected: Some("no answer".to_owned()) }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Connected => self.unconnected = None,
            Event::Lost { why, .. } => {
                if let Some(known) = &mut self.unconnected {
                    *known = why.to_string();
                }
            }
            Event::Frame(frame) => {
                if matches!(**frame, ServerFrame::Snapshot(_) | ServerFrame::Result(_)) {
                    self.since = Instant::now();
                }
            }
            Event::Unknown(_) => {}
        }
    }

    /// How long none may come now; `None` for ever.
    fn patience(&self) -> Option<Duration> {
        self.limit.or(self.unconnected.as_ref().map(|_| CONNECT_DEADLINE))
    }

    /// Resolves when that is too long.
    async fn over(&self) -> Error {
        let Some(waited) = self.patience() else { return std::future::pending().await };
        tokio::time::sleep_until(self.since + waited).await;
        match &self.unconnected {
            Some(why) => Error::Unreachable { waited, why: why.clone() },
            None => Error::TimedOut { waited },
        }
    }
}

fn write_json(out: &mut impl Write, result: &TopN) -> io::Result<()> {
    serde_json::to_writer(&mut *out, result)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn write_screen(out: &mut impl Write, tables: &BTreeMap<String, String>) -> io::Result<()> {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let tables: String = tables.values().map(String::as_str).collect();
    write!(out, "{CLEAR}{tables}")?;
    out.flush()
}
