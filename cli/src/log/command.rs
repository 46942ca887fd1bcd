//! `millrace log`: the arguments.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::{dead_letters, decrypt, export, inspect, replay, verify};
use crate::verbosity::Verbosity;

/// Look into a collector's message log: what waits in it, whether it is whole, and the payloads.
///
/// The log is the directory that is `log.path` of the collector; `millrace up` has it as `collector` in its data
/// directory. Nothing is changed in it, and a collector may use it meanwhile: then it is shown as it was at one moment. What
/// Kafka has acknowledged in the last second may be shown as waiting still. `dead-letters` and `replay` are about what the
/// collector has sent to Kafka's topic of dead letters.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log inspect /var/lib/millrace/log
  millrace log inspect DIR --entries 5
  millrace log inspect DIR --json | jq .pending
  millrace log verify DIR
  millrace log export DIR --failed --reason refused_by_kafka --out refused.jsonl
  millrace log export DIR --pending | jq -c .
  millrace log export DIR --key-file keys --out waiting.sealed
  millrace log decrypt waiting.sealed --key-file keys | jq -c .
  millrace log dead-letters --brokers kafka:9092
  millrace log replay --config millrace.toml --reason missing_id

The whole log is read each time: of a log of many gigabytes that takes minutes.

Exit codes:
    0  done; verify: everything can be read
    1  the log cannot be opened or read, or the output cannot be written
    2  an unknown flag, or an invalid value
   64  the file of --out exists already, or the configuration or the key file cannot be used, or lacks a key
   65  something in the log is damaged: what can be read is shown or exported, and the message says what cannot;
       replay: some dead letters are no events still
   66  there is no log
   69  Kafka does not answer
  130  stopped before it was done")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Verify(verify::Args),
    Export(export::Args),
    Decrypt(decrypt::Args),
    DeadLetters(dead_letters::Args),
    Replay(replay::Args),
}

/// Runs the command.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    args: Args,
    verbosity: Verbosity,
    stop: CancellationToken,
) -> Result<ExitCode, Error> {
    let is_quiet = verbosity.is_quiet();
    // When this future is dropped, the reading ends.
    let _guard = stop.clone().drop_guard();
    let work = tokio::task::spawn_blocking(move || match &args.command {
        Command::Inspect(args) => inspect::run(args, &stop),
        Command::Verify(args) => verify::run(args, &stop),
        Command::Export(args) => export::run(args, is_quiet, &stop),
        Command::Decrypt(args) => decrypt::run(args),
        Command::DeadLetters(args) => dead_letters::run(args, &stop),
        Command::Replay(args) => replay::run(args, &stop),
    });
    work.await.map_err(|_| Error::Interrupted)?
}
