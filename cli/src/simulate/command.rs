//! `millrace simulate`.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::output::print;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::truth::Follower;
use super::{Error, Feed, Handle, Pace, Progress, SyntheticOptions, serve};

/// How often progress is shown and the truth catches up.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The most lines that are added to the truth at once, so that progress is shown in time even if the feed is faster.
const CATCH_UP_LINES: u64 = 100_000;

/// Serve an event feed like Meetup's RSVP stream: WebSocket and chunked HTTP at /2/rsvps.
///
/// The feed starts when the first client connects and stands still while no client is connected. A client
/// that connects with ?since_mtime=T or ?since_count=N is first sent again what it may have missed.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8900", value_name = "HOST:PORT")]
    pub listen: SocketAddr,

    /// Serve the lines of this file as they are (plain, gzip or zstd; - is the standard input) instead of
    /// synthetic events
    #[arg(long, value_name = "FILE", conflicts_with_all = ["events", "seed", "redelivery", "start"])]
    pub recording: Option<PathBuf>,

    /// Lines a second [default: 10]
    #[arg(long, value_name = "N", conflicts_with = "max", allow_negative_numbers = true)]
    pub rate: Option<f64>,

    /// Send as fast as the client reads
    #[arg(long)]
    pub max: bool,

    /// End after this many synthetic lines [default: never]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Seed of the synthetic lines: the same seed, --start, pace and --redelivery give the same bytes
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Share of lines that repeat an earlier RSVP, from 0 to 0.95
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    pub redelivery: f64,

    /// Event time of the first line, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    pub start: Option<i64>,

    /// Cut the connection in the middle of every N-th message, the first time it is sent
    #[arg(long, value_name = "N")]
    pub break_every: Option<NonZeroU64>,

    /// Write the correct answer to this file, or with - to stdout, as JSON, after the last line and when the feed is
    /// stopped
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
}

impl Args {
    const DEFAULT_RATE: f64 = 10.0;

    fn pace(&self) -> Pace {
        if self.max { Pace::Max } else { Pace::Rate(self.rate.unwrap_or(Self::DEFAULT_RATE)) }
    }

    fn feed(&self) -> Result<Feed, Error> {
        let feed = match &self.recording {
            Some(path) => Feed::recording(path, &scratch())?,
            None => Feed::synthetic(SyntheticOptions {
                seed: self.seed,
                events: self.events,
                redelivery: self.redelivery,
                start_ms: self.start,
            })?,
        };
        Ok(feed.break_every(self.break_every))
    }
}

/// Serves the feed until `shutdown`. Prints its URL as the first line on stdout.
///
/// # Errors
/// If the arguments are not valid, or the recording cannot be read.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    let pace = args.pace().check()?;
    let feed = args.feed()?;
    if let Some(scratch) = feed.scratch() {
        say(&format!("the recording is copied to {} while it is served", scratch.display()));
    }
    let listen = |source| Error::Listen { address: args.listen, source: Arc::new(source) };
    let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
    let stop = shutdown.child_token();
    // However this function ends, the clients are told.
    let _guard = stop.clone().drop_guard();
    let feed = serve(feed, pace, listener, stop).await?;
    // Perhaps nobody reads stdout; the feed is served all the same.
    let _ = writeln!(io::stdout(), "{}", feed.url());
    let mut truth = args.truth.as_deref().map(|path| TruthFile::new(path, &feed)).transpose()?;
    let mut seconds = tokio::time::interval(PROGRESS_EVERY);
    let mut shown = Shown::default();
    let mut outcome = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = seconds.tick() => {
                shown.show(feed.progress());
                truth = caught_up(truth, CATCH_UP_LINES).await?;
            }
            ended = feed.exhausted(), if outcome.is_none() => {
                truth = caught_up(truth, u64::MAX).await?;
                truth.as_ref().map_or(Ok(()), TruthFile::write)?;
                shown.note(&match &ended {
                    Ok(()) => "every line was sent; resumes are served until the feed is stopped".to_owned(),
                    Err(error) => format!("{error}; resumes are served until the feed is stopped"),
                });
                outcome = Some(ended);
            }
        }
    }
    shown.note(&text(feed.progress()));
    feed.stopped().await;
    caught_up(truth, u64::MAX).await?.as_ref().map_or(Ok(()), TruthFile::write)?;
    outcome.unwrap_or(Ok(()))
}

/// The truth of a feed, counted while it is served, and where to write it.
struct TruthFile<'a> {
    path: &'a Path,
    follower: Follower,
}

async fn caught_up(
    truth: Option<TruthFile<'_>>,
    lines: u64,
) -> Result<Option<TruthFile<'_>>, Error> {
    match truth {
        Some(TruthFile { path, follower }) => {
            Ok(Some(TruthFile { path, follower: follower.catch_up(lines).await? }))
        }
        None => Ok(None),
    }
}

impl<'a> TruthFile<'a> {
    fn new(path: &'a Path, feed: &Handle) -> Result<Self, Error> {
        Ok(Self { path, follower: feed.follow()? })
    }

    /// Replaces the file as a whole, so that a reader never sees half of it.
    fn write(&self) -> Result<(), Error> {
        let written = || {
            if self.path == Path::new("-") {
                return print(&(serde_json::to_string(&self.follower.truth())? + "\n"));
            }
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut file, &self.follower.truth())?;
            file.write_all(b"\n")?;
            file.persist(self.path).map_err(|error| error.error)?;
            Ok(())
        };
        written().map_err(|source: io::Error| Error::WriteTruth {
            path: self.path.to_owned(),
            source: Arc::new(source),
        })
    }
}

/// Progress on stderr: on a terminal one line that changes, elsewhere a line every 10 s.
#[derive(Debug, Default)]
struct Shown {
    sent: u64,
    seconds: u64,
}

impl Shown {
    const SECONDS_BETWEEN_LINES: u64 = 10;

    fn show(&mut self, progress: Progress) {
        let rate = (progress.sent - self.sent) / PROGRESS_EVERY.as_secs();
        if io::stderr().is_terminal() {
            // Perhaps nobody reads stderr; the feed is served all the same.
            let _ = write!(io::stderr(), "\r\x1b[K{}, {rate}/s", text(progress));
        } else if self.seconds.is_multiple_of(Self::SECONDS_BETWEEN_LINES) {
            say(&format!("{}, {rate}/s", text(progress)));
        }
        self.sent = progress.sent;
        self.seconds += 1;
    }

    /// Prints a line that stays.
    fn note(&self, note: &str) {
        let begin = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        say(&format!("{begin}{note}"));
    }
}

fn text(progress: Progress) -> String {
    let Progress { sent, total, clients, .. } = progress;
    let total = total.map_or_else(String::new, |total| format!(" of {total}"));
    format!("sent {sent}{total}, clients {clients}")
}

/// Prints a line on stderr. That nobody reads it is no error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Where a pipe is copied to: `TMPDIR` if that is set, else `/var/tmp`, because `/tmp` may be in memory.
fn scratch() -> PathBuf {
    let asked = std::env::var_os("TMPDIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let on_disk = || Some(PathBuf::from("/var/tmp")).filter(|place| place.is_dir());
    asked.or_else(on_disk).unwrap_or_else(std::env::temp_dir)
}
