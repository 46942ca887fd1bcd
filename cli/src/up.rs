//! `millrace up`: all of Millrace on one machine: the feed in this process, the broker and the three tiers as child
//! processes.
//!
//! - The broker is started first, then analyzer and access-api at the same time, then the collector; the feed
//!   begins when the collector connects to it. They are stopped in the reverse order.
//! - A process that ends is started again, see [`restart`]. If one is given up, `up` ends.
//! - stdout has only the dashboard's URL, or with `--once` the JSON lines; everything else is on stderr.
//! - The first Ctrl-C stops everything in order, the second kills what is left, and a third ends `up` itself at
//!   once; its children die with it.
//!
//! Everything except the feed, the console's writer and the reader of Kafka runs on the main thread, see [`process`].

use std::process::ExitCode;
use std::time::Duration;

use common::tier::StopSignals;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

mod args;
mod cluster;
pub mod completion;
mod console;
pub mod data_dir;
mod error;
mod feed;
pub mod kafka;
mod ledger;
mod lifecycle;
mod no_events;
mod once;
mod plan;
pub mod ports;
pub mod probe;
mod process;
pub mod programs;
mod property;
pub mod restart;
pub mod running;
mod settings;
mod taken;
mod terminal;
mod tiers;

pub use args::Args;
pub use error::Error;

use crate::exit;
use crate::verbosity::Verbosity;
use console::Console;
use lifecycle::Stack;
use plan::Plan;

/// Runs until Ctrl-C, until a process is given up, or with `--once` until the answer is printed.
/// Must be called on the main thread.
pub fn run(args: Args, verbosity: Verbosity) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread);
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(up(args, verbosity));
        // Threads that still wait for Kafka, or for a pipe that nobody writes to, are not joined.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("millrace: {error}");
        error.exit_code()
    })
}

async fn up(args: Args, verbosity: Verbosity) -> Result<ExitCode, Error> {
    let mut stops = StopSignals::listen().map_err(Error::Thread)?;
    let once = args.once;
    let limit = Limit { at: args.timeout.map(|limit| Instant::now() + limit), of: args.timeout };
    let console = Console::start(verbosity.is_quiet()).map_err(Error::Thread)?;
    verbosity.log_to({
        let console = console.clone();
        move || console.log_line()
    });
    let interrupted = if once { ExitCode::from(exit::INTERRUPTED) } else { ExitCode::SUCCESS };

    // Until the plan is made, no process runs that would have to be stopped.
    let plan = tokio::select! {
        plan = limit.within(Plan::new(args, verbosity)) => plan?,
        () = stops.next() => return Ok(interrupted),
    };
    let (failed, mut failures) = mpsc::channel(lifecycle::PROCESSES);
    let mut stack = Stack::new(console.clone(), failed);
    let outcome = tokio::select! {
        outcome = limit.within(stack.run(&plan)) => outcome.map(|()| ExitCode::SUCCESS),
        Some(error) = failures.recv() => Err(error.into()),
        () = stops.next() => {
            console.warn("stopping; Ctrl-C again to stop at once");
            Ok(interrupted)
        }
    };
    let stopped = stop(stack, &mut stops).await;
    // The plan holds the data directory, which has to exist longer than the processes that use it.
    drop(plan);
    console.flush();
    let code = outcome?;
    Ok(if stopped? { ExitCode::from(exit::INTERRUPTED) } else { code })
}

/// The time limit of `--timeout`.
#[derive(Debug, Clone, Copy)]
struct Limit {
    at: Option<Instant>,
    of: Option<Duration>,
}

impl Limit {
    async fn within<T>(self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match (self.at, self.of) {
            (Some(at), Some(waited)) => {
                timeout_at(at, work).await.unwrap_or(Err(Error::TimedOut { waited }))
            }
            _ => work.await,
        }
    }
}

/// Stops everything in order; a second Ctrl-C kills what is left, a third ends this process. Returns whether the
/// stop was forced.
async fn stop(stack: Stack, stops: &mut StopSignals) -> Result<bool, Error> {
    let force = stack.force();
    let stopping = stack.stop();
    tokio::pin!(stopping);
    let mut forced = false;
    loop {
        tokio::select! {
            stopped = &mut stopping => return stopped.map(|()| forced),
            () = stops.next() => {
                if forced {
                    std::process::exit(exit::INTERRUPTED.into());
                }
                forced = true;
                force.cancel();
            }
        }
    }
}
