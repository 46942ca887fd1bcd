//! `millrace reset`: deletes the data of `up`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::disk;

use crate::presets::Preset;
use crate::up::data_dir::{self, CONTENTS};
use crate::{exit, units};

/// Delete the data of `millrace up`: events, counts and positions. Lists it first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace reset                       say what would be deleted
  millrace reset --yes                 delete it
  millrace reset --data-dir DIR --yes

Only what `up` made in the directory is deleted; other files in it stay. A Kafka that runs elsewhere
(up --brokers) is not touched.

Exit codes: 0 deleted, or there is nothing to delete; 1 not deleted; 64 a running `up` uses the directory")]
pub struct Args {
    /// The directory [default: $XDG_DATA_HOME/millrace]
    #[arg(long, value_name = "DIR", env = "MILLRACE_DATA_DIR", hide_env_values = true)]
    data_dir: Option<PathBuf>,

    /// The directory of this preset
    #[arg(long, value_name = "NAME|FILE", value_parser = Preset::find, conflicts_with = "data_dir")]
    preset: Option<Preset>,

    /// Delete it, instead of only listing it
    #[arg(long)]
    yes: bool,
}

/// Deletes the data, or only lists it.
pub fn run(args: &Args) -> ExitCode {
    match reset(args) {
        Ok(code) => code,
        Err(error @ data_dir::Error::InUse { .. }) => {
            eprintln!("millrace: {error}");
            ExitCode::from(exit::USAGE)
        }
        Err(error) => {
            eprintln!("millrace: {error}");
            ExitCode::FAILURE
        }
    }
}

fn reset(args: &Args) -> Result<ExitCode, data_dir::Error> {
    let dir = data_dir::path(args.data_dir.as_deref(), args.preset.as_ref())?;
    // Held until everything is deleted. An `up` that has only just begun has made nothing but its lock.
    let mut lock = dir.join("lock").exists().then(|| data_dir::lock(&dir)).transpose()?;
    let contents = contents(&dir);
    if contents.is_empty() {
        eprintln!("there is no data of `millrace up` in {}", dir.display());
        return Ok(ExitCode::SUCCESS);
    }
    if lock.is_none() {
        lock = Some(data_dir::lock(&dir)?);
    }
    eprintln!(
        "{} in {}:",
        if args.yes { "deleting" } else { "this would be deleted" },
        dir.display()
    );
    for (path, what) in &contents {
        eprintln!("  {:>10}  {what}", units::bytes(disk::size(path)));
    }
    if !args.yes {
        eprintln!("nothing was deleted; add --yes to delete it");
        return Ok(ExitCode::FAILURE);
    }
    for (path, _) in &contents {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(data_dir::Error::Unusable { path: path.clone(), source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    drop(lock);
    // It fails unless the directory is empty now, and then the other files stay.
    let _others_stay = std::fs::remove_dir(&dir);
    Ok(ExitCode::SUCCESS)
}

/// What `up` made in `dir`, each with a description.
fn contents(dir: &Path) -> Vec<(PathBuf, String)> {
    let what = |name: &str| match name {
        "kafka" => "kafka: the events and the counts of the local Kafka".to_owned(),
        "kafka-files" => "kafka-files: the files that start it".to_owned(),
        "collector" => {
            "collector: events that Kafka has not acknowledged, and the position in the feed"
                .to_owned()
        }
        "cluster" => "cluster: which Kafka the events belong to".to_owned(),
        "stack" => "stack: the analyzer's name in its groups".to_owned(),
        other => other.to_owned(),
    };
    // The lock is last, so that it is held to the end.
    let there = CONTENTS.into_iter().map(|name| (dir.join(name), what(name)));
    let there: Vec<_> = there.filter(|(path, _)| path.exists()).collect();
    if there.iter().all(|(path, _)| path.ends_with("lock")) { Vec::new() } else { there }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, yes: bool) -> Args {
        Args { data_dir: Some(dir.to_owned()), preset: None, yes }
    }

    #[test]
    fn only_what_up_made_is_deleted_and_only_when_told_so() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("data");
        std::fs::create_dir_all(dir.join("collector")).unwrap();
        std::fs::write(dir.join("collector/log"), "x").unwrap();
        std::fs::write(dir.join("notes.txt"), "mine").unwrap();
        assert_eq!(reset(&args(&dir, false)).unwrap(), ExitCode::FAILURE);
        assert!(dir.join("collector/log").exists());
        assert_eq!(reset(&args(&dir, true)).unwrap(), ExitCode::SUCCESS);
        assert!(!dir.join("collector").exists() && !dir.join("lock").exists());
        assert!(dir.join("notes.txt").exists());
        assert_eq!(reset(&args(&dir, true)).unwrap(), ExitCode::SUCCESS, "nothing is left");
    }

    #[test]
    fn while_an_up_works_there_nothing_is_deleted() {
        let place = tempfile::tempdir().unwrap();
        let held = data_dir::DataDir::kept(place.path()).unwrap();
        let error = reset(&args(place.path(), true)).unwrap_err();
        assert!(matches!(error, data_dir::Error::InUse { .. }), "as soon as it has begun: {error}");
        std::fs::create_dir(held.join("collector")).unwrap();
        let error = reset(&args(place.path(), true)).unwrap_err();
        assert!(matches!(error, data_dir::Error::InUse { .. }), "{error}");
        assert!(held.join("collector").exists());
    }
}
