//! The command `millrace`.

use std::{fmt::Display, process::ExitCode};

use clap::{Parser, Subcommand};
use cli::{broker, simulate, tap, up};
use tokio_util::sync::CancellationToken;

/// Counts what is trending in a stream of events, and gets every count right
#[derive(Debug, Parser)]
#[command(name = "millrace", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: broker, feed, the three tiers, and the page
    Up(up::Args),
    /// Serve a feed like Meetup's: lifelike synthetic RSVPs, or a recording
    Simulate(simulate::Args),
    /// Run the in-memory broker, for trying out
    Broker(broker::Args),
    /// Print a query's results as they are published
    Tap(tap::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Up(args) => up::run(args),
        Command::Simulate(args) => until_stopped(|shutdown| simulate::run(args, shutdown)),
        Command::Broker(args) => until_stopped(|shutdown| broker::run(args, shutdown)),
        Command::Tap(args) => until_stopped(|shutdown| tap::run(args, shutdown)),
    }
}

/// Runs a command that ends when it is done, or soon after Ctrl-C or SIGTERM.
fn until_stopped<F, E>(command: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone().drop_guard();
    runtime.spawn(async move {
        common::tier::stop_signal().await;
        drop(stop);
    });
    runtime.block_on(command(shutdown)).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &impl Display) -> ExitCode {
    eprintln!("millrace: {error}");
    ExitCode::FAILURE
}
