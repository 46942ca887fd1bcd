//! Finds out from the sources themselves which file imports which.
//!
//! The test target `structure` checks two rules with it, over the whole workspace:
//!
//! - **No circles.** Within a crate, no file imports a file that, directly or through others, imports it. A parent
//!   and its child count as two files. A re-export (`pub use`) is not an import. Test modules are left out, because
//!   they use everything.
//! - **Walls.** A pure folder uses nothing that depends on more than its arguments: no clock, no input or output, no
//!   threads, no log, no randomness without a seed, and nothing of the crate around it.
//!
//! It reads `use` items, and paths in code that begin with `crate`, `self`, `super`, `std` or a crate's name. An
//! import through a re-export leads to the file that defines the name. Names that only occur in the arguments of a
//! macro are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

mod circles;
mod imports;
#[cfg(test)]
mod tests;

pub use circles::circles;
use imports::File;

/// The sources of one crate, without its tests.
#[derive(Debug)]
pub struct Sources {
    /// The files by module path: `[]` for the crate's root, `["stage", "tally"]` for `stage/tally.rs`.
    files: BTreeMap<Vec<String>, File>,
}

/// An import that a wall forbids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// The module that imports.
    pub module: String,
    /// What it imports.
    pub import: String,
    /// Why it may not.
    pub because: &'static str,
}

/// The beginnings of paths that a pure folder may not import, each with the reason.
const OUTSIDE: [(&str, &str); 15] = [
    ("std::time::Instant", "time is an argument"),
    ("std::time::SystemTime", "time is an argument"),
    ("std::fs", "input and output are the shell's"),
    ("std::io", "input and output are the shell's"),
    ("std::net", "input and output are the shell's"),
    ("std::process", "input and output are the shell's"),
    ("std::env", "configuration is an argument"),
    ("std::thread", "threads are the shell's"),
    ("std::sync::mpsc", "threads are the shell's"),
    ("std::collections::hash_map::RandomState", "its seed differs from process to process"),
    ("std::hash::RandomState", "its seed differs from process to process"),
    ("tokio", "waiting is the shell's"),
    ("rdkafka", "Kafka is the shell's"),
    ("tracing", "what is to be logged is returned as data"),
    ("rand", "only randomness that is seeded by partition and offset replays"),
];

/// The parts of the shared crate that a pure folder may use: those about events and results, and how a duration is
/// written.
const SHARED: [&str; 5] = [
    "common::event",
    "common::result",
    "common::protocol",
    "common::distinct",
    "common::config::duration",
];

/// Macros that write to an output.
const WRITING_MACROS: [&str; 4] = ["print", "println", "eprint", "eprintln"];

/// All files below a folder whose names end like this, with their texts.
///
/// # Panics
/// When a file cannot be read.
pub fn texts_below(folder: &Path, extension: &str) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).expect("a text");
                texts.push((path, text));
            }
        }
    }
    texts
}

impl Sources {
    /// Reads all `.rs` files below `src`.
    ///
    /// # Panics
    /// When a file cannot be read, or is not Rust.
    pub fn read(src: &Path) -> Self {
        let texts = texts_below(src, "rs");
        let below = |path: PathBuf| path.strip_prefix(src).expect("it lies below").to_owned();
        Self::parse(texts.into_iter().map(|(path, text)| (below(path), text)))
    }

    /// Does the same as [`read`](Self::read) with `(path below src, text)`.
    pub fn parse(texts: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let files = texts.into_iter().filter_map(|(path, text)| {
            let module = module_of(&path)?;
            let parsed = syn::parse_file(&text)
                .unwrap_or_else(|error| panic!("{} is not Rust: {error}", path.display()));
            Some((module.clone(), File::new(&module, &parsed)))
        });
        Self { files: files.collect() }
    }

    /// For every module, the modules of this crate that it imports.
    pub fn edges(&self) -> BTreeMap<String, BTreeSet<String>> {
        let edges = self.files.iter().map(|(module, file)| {
            let imported = file
                .paths
                .iter()
                .filter(|path| path.first().is_some_and(|root| root == "crate"))
                .filter_map(|path| self.home(&path[1..], 0))
                .filter(|home| *home != module.as_slice());
            (name_of(module), imported.map(name_of).collect())
        });
        edges.collect()
    }

    /// The file in which `path` is defined; follows re-exports.
    fn home(&self, path: &[String], depth: usize) -> Option<&[String]> {
        // Ends a circle of re-exports, which rustc would refuse.
        if depth > 16 {
            return None;
        }
        let length = (0..=path.len()).rev().find(|&n| self.files.contains_key(&path[..n]))?;
        let (module, file) = self.files.get_key_value(&path[..length])?;
        let handed_on = path.get(length).and_then(|name| file.reexports.get(name));
        match handed_on {
            Some(target) if target.first().is_some_and(|root| root == "crate") => {
                self.home(&target[1..], depth + 1)
            }
            _ => Some(module),
        }
    }

    /// The imports of modules below the pure folder `folder` that the rule forbids.
    pub fn breaches(&self, folder: &str) -> BTreeSet<Breach> {
        let mut breaches = BTreeSet::new();
        for (module, file) in &self.files {
            if module.first().is_none_or(|first| first != folder) {
                continue;
            }
            let mut breach = |import: String, because| {
                breaches.insert(Breach { module: name_of(module), import, because });
            };
            for path in file.paths.iter().chain(file.reexports.values()) {
                let text = path.join("::");
                let begins = |with: &str| text == with || text.starts_with(&format!("{with}::"));
                if let Some((_, because)) = OUTSIDE.into_iter().find(|(with, _)| begins(with)) {
                    breach(text, because);
                } else if begins("crate") && !begins(&format!("crate::{folder}")) {
                    breach(text, "the crate may use the pure folder, but not the reverse");
                } else if begins("common") && !SHARED.into_iter().any(begins) {
                    breach(
                        text,
                        "only events, results and durations are pure among what tiers share",
                    );
                }
            }
            for name in file.macros.iter().filter(|name| WRITING_MACROS.contains(&name.as_str())) {
                breach(format!("{name}!"), "input and output are the shell's");
            }
        }
        breaches
    }
}

/// The module path of a file: `["stage", "tally"]` for `stage/tally.rs`; `None` for tests.
fn module_of(path: &Path) -> Option<Vec<String>> {
    let mut module: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|step| step.to_str().expect("a source's name is text").to_owned())
        .collect();
    if module.iter().any(|step| step == "tests" || step.starts_with("test_")) {
        return None;
    }
    if matches!(module.as_slice(), [root] if root == "lib" || root == "main") {
        module.clear();
    }
    Some(module)
}

fn name_of(module: &[String]) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { module.join("/") }
}
