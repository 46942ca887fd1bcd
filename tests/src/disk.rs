//! A disk whose power can be cut, that can be full, and that can break: a file system in the memory of this process, mounted
//! by FUSE.

use std::{
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fuser::{BackgroundSession, Config, MountOption};
use tempfile::TempDir;

use crate::sandbox::scratch;
use contents::Contents;
use mount::Mounted;

mod contents;
mod mount;

/// A mounted disk; it is unmounted, and forgets everything, when dropped.
pub struct Disk {
    mounted: Option<BackgroundSession>,
    contents: Arc<Mutex<Contents>>,
    directory: TempDir,
}

impl Disk {
    /// Mounts an empty disk of this size.
    ///
    /// # Errors
    /// When this machine does not allow it: it takes `/dev/fuse`, and either root or the command `fusermount3`.
    pub fn mount(capacity: u64) -> std::io::Result<Self> {
        let (directory, _) = scratch();
        let contents = Arc::new(Mutex::new(Contents::new(capacity)));
        let mut disk = Self { mounted: None, contents, directory };
        disk.mounted = Some(disk.mounting()?);
        Ok(disk)
    }

    fn mounting(&self) -> std::io::Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("millrace-test".to_owned())];
        fuser::spawn_mount(Mounted(Arc::clone(&self.contents)), self.path(), &config)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Cuts the power: what was not synced may be lost. No process may use the disk any more. It is mounted again when this
    /// returns. `choose` gets a number, and returns a smaller one by chance. Returns how many changes were lost.
    pub fn cut_power(&mut self, choose: impl FnMut(usize) -> usize) -> usize {
        // The kernel forgets what it has read.
        let mounted = self.mounted.take().expect("a mounted disk");
        match mounted.umount_and_join() {
            // The thread that served it may be told of its end like this.
            Err(error) if error.kind() != ErrorKind::ConnectionAborted => {
                panic!("unmounting the disk: {error}")
            }
            _ => {}
        }
        let lost = self.contents().cut_power(choose);
        self.mounted = Some(self.mounting().expect("mounting the disk again"));
        lost
    }

    /// Leaves so many bytes free, as if somebody else had filled the disk or made room.
    pub fn leave_free(&self, bytes: u64) {
        let mut contents = self.contents();
        let used = contents.used();
        contents.set_capacity(used + bytes);
    }

    /// Lets every write and fsync fail, until it is called with `false`.
    pub fn set_broken(&self, is_broken: bool) {
        self.contents().set_broken(is_broken);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
