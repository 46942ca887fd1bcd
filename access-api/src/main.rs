//! The access-api's process.

fn main() -> std::process::ExitCode {
    common::tier::main::<access_api::AccessApi>()
}
