//! Goes through a log.

use std::path::Path;

use common::descriptors;
use common::message_log::{Found, View};
use tokio_util::sync::CancellationToken;

use super::error::Error;

/// Opens the log in the directory `path` for looking.
///
/// # Errors
/// When there is none, or it cannot be opened.
pub fn open(path: &Path) -> Result<View, Error> {
    // All files of the log are open at once.
    descriptors::raise();
    Ok(View::open(path)?)
}

/// Shows `each` all that is not settled. What cannot be read any further because of damage is returned, each place with
/// what was told about it.
///
/// # Errors
/// When the log cannot be read for another reason than damage, `each` fails, or it is stopped.
pub fn read(
    view: &View,
    stop: &CancellationToken,
    mut each: impl FnMut(Found) -> Result<(), Error>,
) -> Result<Vec<String>, Error> {
    let mut unreadable = Vec::new();
    for found in view.found() {
        if stop.is_cancelled() {
            return Err(Error::Interrupted);
        }
        match found {
            Ok(found) => each(found)?,
            Err(error) if error.is_damage() => unreadable.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(unreadable)
}
