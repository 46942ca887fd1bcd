//! `millrace tap`: prints the results of a running access-api.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use common::protocol::{KafkaState, Queries, ServerFrame};
use common::result::TopN;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Event};

mod table;
#[cfg(test)]
mod tests;

/// Print the results of a running access-api, each as it comes.
///
/// The connection is made anew when it breaks, and resumes where it was. Ends at --limit or on Ctrl-C,
/// with exit code 0; with 1 when the URL is none or the output cannot be written.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Queries to follow; all of them if none is named
    #[arg(value_name = "QUERY")]
    pub queries: Vec<String>,

    /// WebSocket of the access-api
    #[arg(long, default_value = "ws://127.0.0.1:8080/v1/ws", value_name = "URL")]
    pub url: String,

    /// Stop after so many results
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,

    /// Print every result as published, one JSON object a line
    #[arg(long)]
    pub json: bool,

    /// How many items of each result a table shows
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub top: usize,
}

/// Why `tap` cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The output cannot be written.
    #[error("cannot write a result: {0}; results go to stdout")]
    Output(#[from] io::Error),
}

impl Error {
    /// Whether the same call may go well later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.retryable(),
            Self::Output(_) => false,
        }
    }
}

/// Prints results on stdout until `shutdown`, `--limit`, or until nobody reads them. What else happens is
/// said on stderr.
///
/// # Errors
/// If the URL is none, or the output cannot be written.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    let stdout = io::stdout();
    let screen = stdout.is_terminal() && !args.json;
    match print(args, shutdown, stdout, &mut io::stderr(), screen).await {
        // `millrace tap | head` is not a failure.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// `screen`: show the newest result of every query in place instead of one after the other.
async fn print(
    args: Args,
    shutdown: CancellationToken,
    mut out: impl Write + Send,
    notes: &mut (impl Write + Send),
    screen: bool,
) -> Result<(), Error> {
    let queries =
        if args.queries.is_empty() { Queries::All } else { args.queries.iter().collect() };
    // Ends the connection when this function ends.
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    let mut events = client::follow(&args.url, queries, stop)?;
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0
        && let Some(event) = events.recv().await
    {
        let note = match event {
            Event::Frame(frame) => match *frame {
                ServerFrame::Snapshot(update) | ServerFrame::Result(update) => {
                    left -= 1;
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
                        "reading too slowly: {} ms behind, {} results were passed over",
                        stall.lag_ms, stall.skipped
                    )
                }
                ServerFrame::Gap(gap) => match gap.skipped {
                    Some(skipped) => {
                        format!("missed {skipped} results while away; the newest follow")
                    }
                    None => "cannot go on where it was; the newest results follow".to_owned(),
                },
                ServerFrame::Status(status) => match status.kafka {
                    KafkaState::Away => "the server has no connection to kafka".to_owned(),
                    KafkaState::Reading => "the server is reading the results anew".to_owned(),
                    KafkaState::Connected | KafkaState::Other => continue,
                },
                ServerFrame::Error(refusal) => refusal.message,
                ServerFrame::Bye(_) => continue,
            },
            Event::Connected => continue,
            Event::Unknown(error) => {
                format!("passed over what the server said: {error}; is it newer than this program?")
            }
            Event::Lost { why, retry_in } => {
                format!("{why}; next attempt in {} ms", retry_in.as_millis())
            }
        };
        // Nothing depends on the notes.
        let _ = writeln!(notes, "tap: {note}");
    }
    Ok(())
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
