//! The collector's process, see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::tier::main::<collector::Collector>()
}
