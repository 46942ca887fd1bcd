//! Where lines go: stdout, or a new file that is there when everything is in it.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::Error;

/// Has `fill` write to the new file, or to stdout if none is named. Only the owner of the file may read it.
///
/// # Errors
/// Those of `fill`; when the file exists already or cannot be written.
pub fn write<T: Default>(
    file: Option<&Path>,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(path) = file else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        return match flushed(&mut out, fill) {
            // Whoever has read enough closes the pipe.
            Err(Error::Stdout(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(T::default()),
            done => done,
        };
    };
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let done = flushed(&mut BufWriter::new(&mut file), fill).map_err(|error| match error {
        Error::Stdout(source) => failed(source),
        error => error,
    })?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => failed(error.error),
    })?;
    Ok(done)
}

fn flushed<T>(
    out: &mut impl Write,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, Error>,
) -> Result<T, Error> {
    let done = fill(out)?;
    out.flush()?;
    Ok(done)
}
