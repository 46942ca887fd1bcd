//! Lines of a recording.

use std::fs::File;
use std::io::{BufRead, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::came::{Came, MAX_MESSAGE, Outlet, Source};
use crate::discover::Error;
use crate::simulate;

/// Reads a file, plain or packed, or the standard input, until nobody wants more.
pub(super) fn read(path: Option<&Path>, outlet: &Outlet) -> Result<(), Error> {
    let name = path.map_or_else(|| PathBuf::from("-"), Path::to_owned);
    let failed =
        |source: std::io::Error| Error::Open { path: name.clone(), source: Arc::new(source) };
    let input = match path {
        Some(path) if path.is_dir() => {
            return Err(failed(std::io::Error::other("it is a folder; name a file in it")));
        }
        Some(path) => File::open(path).map_err(failed)?,
        None => std::io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(failed)?,
    };
    if outlet.send_blocking(Came::Source(Source::Recording)).is_err() {
        return Ok(());
    }
    let mut lines = simulate::recorded_lines(input, &name)?;
    loop {
        let mut line = Vec::new();
        let room = MAX_MESSAGE as u64 + 1;
        let read = (&mut lines).take(room).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        let came = if line.last() != Some(&b'\n') && line.len() > MAX_MESSAGE {
            lines.skip_until(b'\n').map_err(failed)?;
            Came::TooLarge
        } else {
            let end = line.trim_ascii_end().len();
            line.truncate(end);
            if line.is_empty() {
                continue;
            }
            Came::Message { payload: Bytes::from(line), of: None }
        };
        if outlet.send_blocking(came).is_err() {
            return Ok(());
        }
    }
}
