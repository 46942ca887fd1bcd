//! `millrace completions`: the scripts by which shells complete this command.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

/// Print a script that completes `millrace` in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(millrace completions bash)
  millrace completions zsh > ~/.zfunc/_millrace
  millrace completions fish > ~/.config/fish/completions/millrace.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script for `command`.
pub fn run(args: &Args, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "millrace", &mut script);
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("millrace: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
