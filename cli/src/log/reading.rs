//! Goes through a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::descriptors;
use common::message_log::{Found, Keyring, View};
use tokio_util::sync::CancellationToken;

use super::error::Error;

/// What a log is encrypted with.
#[derive(Debug, clap::Args)]
pub struct Keys {
    /// The file with the keys of an encrypted log: log.key_file of the collector
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Keys {
    /// Reads the file, if one is named.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read(&self) -> Result<Option<Arc<Keyring>>, Error> {
        Ok(self.key_file.as_deref().map(Keyring::read).transpose()?.map(Arc::new))
    }
}

/// Opens the log in the directory `path` for looking.
///
/// # Errors
/// When there is none, or it cannot be opened.
pub fn open(path: &Path, keys: Option<Arc<Keyring>>) -> Result<View, Error> {
    // All files of the log are open at once.
    descriptors::raise();
    Ok(View::open(path, keys)?)
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
