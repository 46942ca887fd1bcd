//! A copy of something that can be read only once, which is made while it is read.
//!
//! A separate thread copies, because a pipe may give nothing for hours. It stays at most [`AHEAD`] bytes
//! ahead of what was read of the copy, so that a fast writer is slowed down and the disk holds little more than what
//! was served. The copy has no name, so that it disappears with the process, however that ends.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::unpack::Fault;

#[cfg(test)]
mod tests;

/// Large enough that a reader does not wait for the disk, and small compared with a long recording.
const AHEAD: u64 = 64 << 20;

/// A copy that grows.
#[derive(Debug)]
pub(super) struct Copy {
    file: File,
    scratch: PathBuf,
    extent: watch::Receiver<Extent>,
    demand: Arc<Demand>,
}

/// How far the copy has come.
#[derive(Debug, Clone, Default)]
struct Extent {
    bytes: u64,
    /// How the original ended, once it has ended.
    end: Option<Result<(), Fault>>,
}

/// How far the copy was read; `u64::MAX` once nobody will read on.
#[derive(Debug, Default)]
struct Demand {
    read: Mutex<u64>,
    raised: Condvar,
}

impl Copy {
    /// Begins to copy what `open` gives into the directory `scratch`.
    pub(super) fn start<B: BufRead>(
        scratch: &Path,
        open: impl FnOnce() -> Result<B, Fault> + Send + 'static,
    ) -> Result<Self, Fault> {
        let file = tempfile::tempfile_in(scratch).map_err(Fault::write)?;
        let copy = file.try_clone().map_err(Fault::write)?;
        let (tell, extent) = watch::channel(Extent::default());
        let demand = Arc::new(Demand::default());
        let demanded = Arc::clone(&demand);
        let copying = move || {
            let copied = open().and_then(|original| transfer(original, copy, &tell, &demanded));
            tell.send_modify(|extent| extent.end = Some(copied));
        };
        let thread = std::thread::Builder::new().name("recording".to_owned());
        // The thread is not joined, because it may wait for a pipe that never ends.
        thread.spawn(copying).map_err(Fault::open)?;
        Ok(Self { file, scratch: scratch.to_owned(), extent, demand })
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Reads at `offset`. Reads 0 bytes at the current end of the copy.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        self.demand.raise(offset + read as u64);
        Ok(read)
    }

    /// Whether the original has ended at or before `offset`.
    pub(super) fn ended(&self, offset: u64) -> Result<bool, Fault> {
        let extent = self.extent.borrow();
        match &extent.end {
            Some(end) if extent.bytes <= offset => end.clone().map(|()| true),
            Some(_) | None => Ok(false),
        }
    }

    /// Waits until there is something at `offset`, or until the original has ended.
    pub(super) async fn grown(&self, offset: u64) {
        let mut extent = self.extent.clone();
        // It fails only when the thread is gone, and then `end` is set.
        let _grown = extent.wait_for(|extent| extent.bytes > offset || extent.end.is_some()).await;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.demand.raise(u64::MAX);
    }
}

/// Copies until the original ends, or until nobody will read the copy.
fn transfer(
    mut original: impl BufRead,
    mut copy: impl Write,
    tell: &watch::Sender<Extent>,
    demand: &Demand,
) -> Result<(), Fault> {
    let mut copied = 0;
    while demand.reaches(copied) {
        let length = match original.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(bytes) => {
                copy.write_all(bytes).map_err(Fault::write)?;
                bytes.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::read(error)),
        };
        original.consume(length);
        copied += length as u64;
        tell.send_modify(|extent| extent.bytes = copied);
    }
    Ok(())
}

impl Demand {
    fn raise(&self, to: u64) {
        let mut read = self.read();
        if to > *read {
            *read = to;
            self.raised.notify_all();
        }
    }

    /// Waits until the byte at `copied` may be copied. `false` if nobody will read it.
    fn reaches(&self, copied: u64) -> bool {
        let mut read = self.read();
        while read.saturating_add(AHEAD) <= copied {
            read = self.raised.wait(read).unwrap_or_else(PoisonError::into_inner);
        }
        *read < u64::MAX
    }

    fn read(&self) -> MutexGuard<'_, u64> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
