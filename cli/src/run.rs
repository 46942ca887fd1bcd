//! How all commands except `up` run and end.

use std::fmt::Display;
use std::process::ExitCode;

use common::tier::StopSignals;
use tokio_util::sync::CancellationToken;

use crate::exit;
use crate::text::printable;

/// Runs a command until it is done, or until Ctrl-C, SIGTERM or SIGHUP stops it. A second signal ends the process at
/// once.
pub fn until_stopped<F, E>(command: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, E>>,
    E: Failure,
{
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, 1),
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone().drop_guard();
    runtime.spawn(async move {
        let Ok(mut signals) = StopSignals::listen() else {
            // The command works without signals, but cannot be stopped cleanly.
            stop.disarm();
            return;
        };
        signals.next().await;
        drop(stop);
        signals.next().await;
        std::process::exit(exit::INTERRUPTED.into());
    });
    let outcome = runtime.block_on(command(shutdown));
    // A thread that is still blocked is not waited for.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failed(&error, error.exit_code()))
}

/// Gives a command that succeeds the exit code 0.
///
/// # Errors
/// As the command's.
pub async fn done<E>(command: impl Future<Output = Result<(), E>>) -> Result<ExitCode, E> {
    command.await.map(|()| ExitCode::SUCCESS)
}

/// Why a command failed, with its exit code.
pub trait Failure: Display {
    /// The exit code.
    fn exit_code(&self) -> u8 {
        1
    }
}

impl Failure for crate::simulate::Error {
    fn exit_code(&self) -> u8 {
        if self.is_usage() { exit::USAGE } else { 1 }
    }
}

impl Failure for crate::broker::Error {}

fn failed(error: &impl Display, code: u8) -> ExitCode {
    // It may hold what a server has said.
    let lines: Vec<String> = error.to_string().lines().map(printable).collect();
    eprintln!("millrace: {}", lines.join("\n"));
    ExitCode::from(code)
}
