//! The command `millrace`.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cli::{
    broker, completions, discover, doctor, environment, log, presets, reset, run, simulate, status,
    tap, topics, up,
};

/// Counts what is trending in a stream of events, and gets every count right
#[derive(Debug, Parser)]
#[command(name = "millrace", version, arg_required_else_help = true)]
#[command(after_help = "`millrace COMMAND --help` has examples and exit codes.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    verbosity: cli::verbosity::Verbosity,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::Args>),
    Status(status::Args),
    Reset(reset::Args),
    Doctor(doctor::Args),
    Tap(tap::Args),
    Discover(discover::Args),
    Presets(presets::Args),
    Log(log::Args),
    Simulate(simulate::Args),
    Topics(topics::Args),
    Broker(broker::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let (matches, told) = environment::matches(Cli::command());
    let Cli { command, verbosity } =
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    told.iter().for_each(|lost| eprintln!("millrace: {lost}"));
    if !matches!(command, Command::Up(_)) {
        verbosity.log_to_stderr();
    }
    match command {
        Command::Up(args) => up::run(*args, verbosity),
        Command::Status(args) => run::until_stopped(|_| status::run(args)),
        Command::Reset(args) => reset::run(&args),
        Command::Doctor(args) => run::until_stopped(|_| doctor::run(args)),
        Command::Tap(args) => run::until_stopped(|shutdown| tap::run(args, shutdown)),
        Command::Discover(args) => run::until_stopped(|stop| discover::run(args, verbosity, stop)),
        Command::Presets(args) => run::until_stopped(|_| presets::run(args)),
        Command::Log(args) => run::until_stopped(|stop| log::run(args, verbosity, stop)),
        Command::Simulate(args) => run::until_stopped(|stop| run::done(simulate::run(args, stop))),
        Command::Topics(args) => run::until_stopped(|_| topics::run(args)),
        Command::Broker(args) => run::until_stopped(|stop| run::done(broker::run(args, stop))),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}
