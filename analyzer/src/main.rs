//! The analyzer's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::tier::main::<analyzer::Analyzer>()
}
