//! Finds the programs that `up` starts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that is needed and was not found.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} is neither beside this program ({beside}) nor in PATH; build it with `cargo build --release -p {name}`"
)]
pub struct Missing {
    name: &'static str,
    beside: String,
}

/// The program `name`: in the directory of this program, else in PATH.
///
/// # Errors
/// When it is in neither.
pub fn find(name: &'static str) -> Result<PathBuf, Missing> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    beside
        .map(|dir| dir.join(name))
        .filter(|path| executable(path))
        .or_else(|| in_path(name))
        .ok_or_else(|| Missing {
            name,
            beside: beside.map_or_else(String::new, |dir| dir.display().to_string()),
        })
}

/// The program `name` in PATH.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| executable(path))
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
