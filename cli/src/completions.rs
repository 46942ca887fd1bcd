//! `millrace completions`: the scripts by which shells complete this command.

use std::process::ExitCode;

use clap_complete::Shell;
use common::output::print;

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
    match print(&String::from_utf8_lossy(&script)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}
