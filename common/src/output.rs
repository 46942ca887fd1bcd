//! Standard output of a command.

use std::io::{self, Write};

/// Prints `text` on standard output. It is not an error if the reader closes the pipe early.
///
/// # Errors
/// When it cannot be written, because the disk is full for example.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
