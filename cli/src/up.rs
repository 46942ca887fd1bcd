//! `millrace up`: the whole of Millrace on one machine: broker, feed, and the three tiers as child
//! processes.
//!
//! - The broker comes first, then analyzer and access-api side by side, then the collector; the feed
//!   starts when the collector connects to it. They are stopped the other way round.
//! - A process that ends is started again, see [`restart`]; one that is given up ends everything.
//! - stdout belongs to the dashboard's URL, or with `--once` to the JSON lines; the rest is on stderr.
//!
//! Everything but the feed and the reader of Kafka runs on the main thread, see [`process`].

use std::process::ExitCode;

use tokio::sync::mpsc;

mod args;
pub mod completion;
mod console;
pub mod data_dir;
mod error;
mod feed;
mod first_line;
pub mod kafka;
mod ledger;
mod once;
pub mod ports;
mod probe;
mod process;
mod programs;
pub mod restart;
mod stack;
mod status;
mod tiers;

pub use args::Args;
pub use error::Error;

use console::Console;
use stack::{Plan, Stack};

/// Exit code of `--once` when it was interrupted before the answer was there.
const INTERRUPTED: u8 = 130;

/// Runs until Ctrl-C, until something is given up, or with `--once` until the answer is printed.
/// Must be called on the main thread.
pub fn run(args: Args) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread);
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(up(args));
        // A thread that still waits for Kafka has nothing to say any more.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("millrace: {error}");
        error.exit_code()
    })
}

async fn up(args: Args) -> Result<ExitCode, Error> {
    let once = args.once;
    let plan = Plan::new(args).await?;
    let console = Console::start().map_err(Error::Thread)?;
    let (failed, mut failures) = mpsc::channel(stack::PROCESSES);
    let mut stack = Stack::new(console.clone(), failed);

    let outcome = tokio::select! {
        outcome = stack.run(&plan) => outcome.map(|()| ExitCode::SUCCESS),
        Some(error) = failures.recv() => Err(error.into()),
        () = common::tier::stop_signal() => {
            console.say("stopping; Ctrl-C again to stop at once");
            Ok(if once { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
        }
    };
    let stopped = stop(stack).await;
    console.flush();
    outcome.and_then(|code| stopped.map(|()| code))
}

/// Stops everything in order; a second Ctrl-C at once.
async fn stop(stack: Stack) -> Result<(), Error> {
    let force = stack.force();
    let stopping = stack.stop();
    tokio::pin!(stopping);
    tokio::select! {
        stopped = &mut stopping => stopped,
        () = common::tier::stop_signal() => {
            force.cancel();
            stopping.await
        }
    }
}
