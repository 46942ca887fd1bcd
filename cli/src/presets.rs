//! `millrace presets`: the feeds that are known, each in one file: where it comes from, what its events are, what is counted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::output::print;
use serde::Deserialize;

use crate::exit;
use crate::run::Failure;
use crate::text::padded;

/// List the feeds that `millrace up --preset` knows, or print one.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  millrace presets                       list them
  millrace presets bluesky > my.toml     one to change; run it: millrace up --preset my.toml
  millrace up --preset bluesky

Exit codes: 0 printed, 1 stdout cannot be written, 66 there is no such preset")]
pub struct Args {
    /// Print this one
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// The presets by name; the default one is first.
const ALL: [(&str, &str); 8] = [
    (Preset::DEFAULT, include_str!("../../collector/presets/meetup.toml")),
    ("bitflyer", include_str!("../../collector/presets/bitflyer.toml")),
    ("bluesky", include_str!("../../collector/presets/bluesky.toml")),
    ("coinbase", include_str!("../../collector/presets/coinbase.toml")),
    ("github", include_str!("../../collector/presets/github.toml")),
    ("mastodon", include_str!("../../collector/presets/mastodon.toml")),
    ("wikimedia", include_str!("../../collector/presets/wikimedia.toml")),
    ("wikipedia", include_str!("../../collector/presets/wikipedia.toml")),
];

/// A preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// A name for directories and topics, different for different files.
    pub name: String,
    /// The recording that `up` serves, if it names one.
    pub recording: Option<PathBuf>,
    /// Whether its events are those that `up` makes if nothing names a feed or a recording.
    pub is_simulated: bool,
    /// Where it is.
    pub place: Place,
}

/// Where the text of a preset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this program.
    BuiltIn(&'static str),
    /// In this file.
    File(PathBuf),
}

/// Why there is no such preset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name, and no such file.
    #[error("there is no preset and no file {asked}; the presets are {known}")]
    Unknown {
        /// As asked.
        asked: String,
        /// All names.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the preset {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not TOML, or its section `[preset]` is not valid.
    #[error("the preset {path}: {source}", path = path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// The list cannot be printed.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[from] std::io::Error),
}

impl Error {
    /// Whether the same command may succeed later without any change.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::Unreadable { .. }
            | Self::Head { .. }
            | Self::Stdout(_) => false,
        }
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown { .. } | Self::Unreadable { .. } => exit::NO_INPUT,
            Self::Head { .. } => exit::USAGE,
            Self::Stdout(_) => 1,
        }
    }
}

/// The parts of a file that are of interest here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    preset: About,
    source: std::collections::BTreeMap<String, Kind>,
}

/// The section `[preset]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct About {
    /// What the feed is.
    about: String,
    /// Where it is documented.
    documentation: String,
    /// A recording that `up` serves, unless a flag names another.
    recording: Option<PathBuf>,
    /// Whether `up` can make its events.
    simulated: bool,
}

#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default = "websocket")]
    kind: String,
}

fn websocket() -> String {
    "websocket".to_owned()
}

impl Preset {
    /// The one that `up` runs if none is named.
    pub const DEFAULT: &str = "meetup";

    /// Finds a preset by its name, or takes a file for one.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(asked: &str) -> Result<Self, Error> {
        let path = Path::new(asked);
        let (name, text, place) = match ALL.into_iter().find(|(name, _)| *name == asked) {
            Some((name, text)) => (name.to_owned(), text.to_owned(), Place::BuiltIn(text)),
            None => {
                let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
                    std::io::ErrorKind::NotFound => unknown(asked),
                    _ => Error::Unreadable { path: path.to_owned(), source },
                })?;
                let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                (name_of(&path), text, Place::File(path))
            }
        };
        let head: Head = toml::from_str(&text)
            .map_err(|source| Error::Head { path: path.to_owned(), source: Box::new(source) })?;
        let About { recording, simulated: is_simulated, .. } = head.preset;
        Ok(Self { name, recording, is_simulated, place })
    }
}

fn unknown(asked: &str) -> Error {
    let known = ALL.map(|(name, _)| name).join(", ");
    Error::Unknown { asked: asked.to_owned(), known }
}

/// The file's name, and a hash of its path, because two files in different places may have the same name.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let stem: String = stem.chars().take(40).map(plain).collect();
    let hash = xxhash_rust::xxh3::xxh3_64(path.as_os_str().as_encoded_bytes());
    format!("{stem}-{:08x}", hash >> 32)
}

/// Prints the list, or one preset.
///
/// # Errors
/// When there is no such preset, or stdout cannot be written.
pub async fn run(args: Args) -> Result<ExitCode, Error> {
    let text = match &args.name {
        Some(asked) => {
            let found = ALL.into_iter().find(|(name, _)| name == asked);
            found.ok_or_else(|| unknown(asked))?.1.to_owned()
        }
        None => ALL.into_iter().map(|(name, text)| entry(name, text)).collect(),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn entry(name: &str, text: &str) -> String {
    let Head { preset, source } = toml::from_str(text).unwrap_or_default();
    let kind = source.values().next().map_or("recording", |source| source.kind.as_str());
    let (name, kind) = (padded(name, 10), padded(kind, 10));
    format!("{name}  {kind}  {}\n{:24}{}\n", preset.about, "", preset.documentation)
}

#[cfg(test)]
mod tests {
    use common::event::Schema;

    use super::*;

    #[derive(Deserialize)]
    struct Whole {
        event: Schema,
        query: Vec<toml::Table>,
    }

    #[test]
    fn every_preset_says_what_it_is_and_has_events_and_queries() {
        for (name, text) in ALL {
            let head: Head = toml::from_str(text).unwrap();
            assert!(!head.preset.about.is_empty(), "{name}");
            assert!(head.preset.documentation.starts_with("https://"), "{name}");
            let whole: Whole = toml::from_str(text).unwrap();
            assert_eq!(whole.event.problems(), Vec::<String>::new(), "{name}");
            assert!(!whole.query.is_empty(), "{name}");
            assert!(entry(name, text).contains(&head.preset.documentation), "{name}");
        }
    }

    #[test]
    fn the_default_preset_is_what_up_does_without_one() {
        let (_, text) = ALL[0];
        let whole: Whole = toml::from_str(text).unwrap();
        let rsvps = Schema::default();
        assert_eq!((&whole.event.id, &whole.event.time), (&rsvps.id, &rsvps.time));
    }

    #[test]
    fn files_of_the_same_name_in_different_places_have_different_names() {
        let place = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|folder| {
            let folder = place.path().join(folder);
            std::fs::create_dir(&folder).unwrap();
            let file = folder.join("my feed.toml");
            std::fs::write(&file, "[preset]\nrecording = '/x.jsonl'\n").unwrap();
            Preset::find(file.to_str().unwrap()).unwrap()
        });
        assert!(files.iter().all(|file| file.name.starts_with("my_feed-")));
        assert_ne!(files[0].name, files[1].name);
        assert_eq!(files[0].recording.as_deref(), Some(Path::new("/x.jsonl")));
        let error = Preset::find("blusky").unwrap_err().to_string();
        assert!(error.contains("bluesky"), "{error}");
        let file = place.path().join("wrong.toml");
        std::fs::write(&file, "[preset]\nrecodring = '/x.jsonl'\n").unwrap();
        let error = Preset::find(file.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("recodring"), "{error}");
    }
}
