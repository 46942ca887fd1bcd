//! `millrace log decrypt`: what is in an encrypted export.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use common::message_log::{Keyring, SealedFileError, unseal};

use super::error::Error;
use super::output;

/// Write what is in an encrypted export, or in an encrypted file of the folders `damaged` and `lost`
///
/// The file of --out is there when the encrypted one was found to be whole, and only its owner may read it. What is written to
/// stdout comes 64 KiB at a time, each when it was found to be whole.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace log decrypt events.sealed --key-file keys | jq -c .
  millrace log decrypt events.sealed --key-file keys --out events.jsonl

Exit codes: 0 all is written, 64 the key file cannot be used, lacks the key, or the file of --out exists already, 65 the
encrypted file is damaged or cut off, or something else, 1 it cannot be read, or the output cannot be written")]
pub struct Args {
    /// The encrypted file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The file with the keys: log.key_file of the collector
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,

    /// Write to this new file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes what is in the file.
///
/// # Errors
/// When the file is not whole, the key is missing, or the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let keys = Keyring::read(&args.key_file)?;
    let failed = |source| Error::Sealed { path: args.file.clone(), source };
    let file = File::open(&args.file).map_err(|error| failed(SealedFileError::Read(error)))?;
    output::write(args.out.as_deref(), |mut out| {
        unseal(BufReader::new(file), &keys, &mut out).map_err(|error| match error {
            SealedFileError::Write(error) => Error::Stdout(error),
            error => failed(error),
        })
    })?;
    Ok(ExitCode::SUCCESS)
}
