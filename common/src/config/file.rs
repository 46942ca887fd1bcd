//! The configuration file. One file serves all tiers, or one of them:
//!
//! - A key at the top is for every tier that has such a key.
//! - The section `[collector]`, `[analyzer]` or `[access-api]` is for that tier alone, and wins over the top.
//! - A tier ignores a key of [`SHARED`] that it does not have; any other key that it does not have is an error.
//!
//! So `analyzer --dump-config > analyzer.toml` is a configuration file, and a file for `millrace up` has
//! `[event]`, `[[query]]`, `[source.NAME]` and `[preset]` (for `up` alone) at its top and a tier's own keys in that tier's section.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Error;

/// Sections of single tiers.
const TIERS: [&str; 3] = ["access-api", "analyzer", "collector"];
/// Keys at the top of a shared file that a tier without such a key ignores.
const SHARED: [&str; 9] =
    ["access-api", "analyzer", "collector", "event", "kafka", "preset", "query", "source", "trace"];
/// All keys that may stand at the top of a shared file: those of [`SHARED`], and what every tier has.
const TOP: [&str; 10] = [
    "access-api",
    "analyzer",
    "collector",
    "event",
    "kafka",
    "preset",
    "query",
    "service",
    "source",
    "trace",
];

/// How similar an existing name must be to the unknown one to be suggested, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// The part of a file that concerns one tier, with the places where its keys stand.
pub(super) struct Part<'i> {
    text: &'i str,
    origin: String,
    table: Spanned<DeTable<'i>>,
}

impl<'i> Part<'i> {
    /// The part of `text`, read from `path`, for the tier `name`, whose own top-level keys are `known`.
    pub(super) fn of(
        text: &'i str,
        path: &Path,
        name: &str,
        known: &toml::Table,
    ) -> Result<Self, Error> {
        let origin = path.display().to_string();
        let mut table = DeTable::parse(text).map_err(|error| misfit(text, &origin, &error))?;
        let own = table.get_mut().remove(name);
        for foreign in SHARED.into_iter().filter(|key| !known.contains_key(*key)) {
            table.get_mut().remove(foreign);
        }
        if let Some(own) = own {
            let at = own.span();
            let DeValue::Table(own) = own.into_inner() else {
                let message = format!("`{name}` is not a section; write [{name}]");
                return Err(Error::Misfit { origin: place(&origin, text, at.start), message });
            };
            merge(table.get_mut(), own);
        }
        Ok(Self { text, origin, table })
    }

    /// Whether the part has this key at its top.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.get_ref().contains_key(key)
    }

    /// The part as a TOML document.
    pub(super) fn to_toml(&self) -> Result<String, Error> {
        let table = toml::Table::deserialize(Deserializer::from(self.table.clone()))
            .map_err(|error| misfit(self.text, &self.origin, &error))?;
        to_toml(&table)
    }

    /// Why the part does not fit `T`, with the line; `otherwise` if the part by itself does fit.
    pub(super) fn fault<T: DeserializeOwned>(&self, otherwise: Error) -> Error {
        match T::deserialize(Deserializer::from(self.table.clone())) {
            Ok(_) => otherwise,
            Err(error) => misfit(self.text, &self.origin, &error),
        }
    }
}

/// The configuration as TOML, the form of the file.
///
/// # Errors
/// When a value has no TOML form: a defect of the config type.
pub fn to_toml(config: &impl serde::Serialize) -> Result<String, Error> {
    toml::to_string(config).map_err(|error| Error::Misfit {
        origin: "defaults".to_owned(),
        message: error.to_string(),
    })
}

pub(super) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

/// Checks the keys at the top of a shared file. Without this check every tier would refuse a key that no
/// tier has, and would suggest only names of its own.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has an unknown key at its top.
pub fn check_sections(path: &Path) -> Result<toml::Table, Error> {
    let text = read(path)?;
    let origin = path.display().to_string();
    let table = DeTable::parse(&text).map_err(|error| misfit(&text, &origin, &error))?;
    for key in table.get_ref().keys() {
        if !TOP.contains(&key.get_ref().as_ref()) {
            let sections = TIERS.map(|tier| format!("[{tier}]")).join(", ");
            let message = format!(
                "{}; put a key of one tier into its section: {sections}",
                unknown(key.get_ref(), &TOP)
            );
            return Err(Error::Misfit { origin: place(&origin, &text, key.span().start), message });
        }
    }
    toml::from_str(&text).map_err(|error| misfit(&text, &origin, &error))
}

/// Rewrites serde's `unknown field` message for people, with the most similar name; returns other messages
/// unchanged.
pub(super) fn explain(message: &str) -> String {
    let Some((_, rest)) = message.split_once("unknown field `") else { return message.to_owned() };
    let Some((key, rest)) = rest.split_once('`') else { return message.to_owned() };
    let names: Vec<&str> = match rest.split_once("expected ") {
        // The names stand between backticks, so every second piece is one.
        Some((_, list)) => list.split('`').skip(1).step_by(2).collect(),
        None => Vec::new(),
    };
    unknown(key, &names)
}

fn unknown(key: &str, names: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::jaro_winkler(key, name);
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(name) if likeness(&name) >= ALIKE => {
            format!("unknown key `{key}`; did you mean `{name}`?")
        }
        Some(_) => format!("unknown key `{key}`; the known keys are {}", names.join(", ")),
        None => format!("unknown key `{key}`"),
    }
}

fn misfit(text: &str, origin: &str, error: &toml::de::Error) -> Error {
    let origin = match error.span() {
        Some(span) => place(origin, text, span.start),
        None => origin.to_owned(),
    };
    Error::Misfit { origin, message: explain(error.message()) }
}

fn place(origin: &str, text: &str, at: usize) -> String {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    format!("{origin}, line {}", before.iter().filter(|&&byte| byte == b'\n').count() + 1)
}

/// Puts `over` over `under`: tables are merged, anything else is replaced.
fn merge<'i>(under: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        match (under.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(old)), new) if matches!(new.get_ref(), DeValue::Table(_)) => {
                if let DeValue::Table(new) = new.into_inner() {
                    merge(old, new);
                }
            }
            (_, new) => {
                under.insert(key, new);
            }
        }
    }
}
