//! Combines the layers of a configuration.

use ::config::{Config, File, FileFormat, Map, Value};
use serde::de::DeserializeOwned;

use super::file::{Part, explain, read, to_toml};
use super::{Environment, Error, Flags, TierConfig};

/// The section that a file replaces as a whole instead of key by key. Otherwise a file that describes its
/// own events would inherit the time field of the default ones.
const WHOLE: &str = "event";

/// The variables of this process's environment that are text.
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Loads the configuration of the tier `name` (`access-api`: variables `ACCESS_API__…`).
///
/// # Errors
/// When a layer cannot be read or names an unknown key, or the configuration as a whole is not valid.
pub fn load<T: TierConfig>(
    name: &str,
    flags: &Flags,
    environment: &Environment,
) -> Result<T, Error> {
    let defaults = to_toml(&T::default())?;
    let mut builder = layer(&defaults);
    if let Some(path) = &flags.config {
        let text = read(path)?;
        let mut known: toml::Table = toml::from_str(&defaults).unwrap_or_default();
        let part = Part::of(&text, path, name, &known)?;
        if part.holds(WHOLE) {
            known.remove(WHOLE);
            builder = layer(&known.to_string());
        }
        builder = builder.add_source(File::from_str(&part.to_toml()?, FileFormat::Toml));
        check::<T>(&builder, &path.display().to_string())
            .map_err(|error| part.fault::<T>(error))?;
    }
    let prefix = prefix(name);
    let mut variables = Vec::new();
    for (variable, text) in environment {
        let Some(path) = variable.strip_prefix(&prefix) else { continue };
        let key = path.to_lowercase().replace("__", ".");
        variables.push((key, text, format!("environment variable {variable}")));
    }
    variables.sort_by_key(|(key, ..)| !decides_keys(key));
    for (key, text, origin) in variables {
        builder = set::<T>(builder, &key, text, &origin)?;
    }
    if let Some(brokers) = &flags.brokers {
        builder = set::<T>(builder, "kafka.brokers", brokers, "--brokers")?;
    }
    let mut assignments = Vec::new();
    for assignment in &flags.set {
        let assignment =
            assignment.split_once('=').ok_or_else(|| Error::MalformedFlag(assignment.clone()))?;
        assignments.push(assignment);
    }
    assignments.sort_by_key(|(key, _)| !decides_keys(key));
    for (key, text) in assignments {
        builder = set::<T>(builder, key, text, &format!("--set {key}"))?;
    }
    let config: T = check(&builder, "configuration")?;
    config.validate()?;
    Ok(config)
}

/// One sentence for each variable that a flag overrides with a different value.
pub fn overridden(name: &str, flags: &Flags, environment: &Environment) -> Vec<String> {
    let brokers =
        flags.brokers.as_ref().map(|brokers| ("--brokers", "kafka.brokers", brokers.as_str()));
    let set = flags.set.iter().filter_map(|assignment| assignment.split_once('='));
    let set = set.map(|(key, text)| ("--set", key, text));
    let lost = brokers.into_iter().chain(set).filter_map(|(flag, key, text)| {
        let variable = variable(name, key);
        let differs = environment.get(&variable).is_some_and(|said| said != text);
        let flag = if flag == "--set" { format!("--set {key}") } else { flag.to_owned() };
        differs.then(|| format!("{flag} overrides {variable} from the environment"))
    });
    lost.collect()
}

/// The variable that sets `key` of the tier `name`: `ANALYZER__KAFKA__BROKERS` for `kafka.brokers`.
pub fn variable(name: &str, key: &str) -> String {
    format!("{}{}", prefix(name), key.to_uppercase().replace('.', "__"))
}

/// Whether this key says which other keys its section has. It is set before them, because each is checked at once.
fn decides_keys(key: &str) -> bool {
    key.ends_with(".kind")
}

fn prefix(name: &str) -> String {
    format!("{}__", name.to_uppercase().replace('-', "_"))
}

fn layer(text: &str) -> Builder {
    Config::builder().add_source(File::from_str(text, FileFormat::Toml))
}

type Builder = ::config::ConfigBuilder<::config::builder::DefaultState>;

/// Overrides one key and checks at once that it fits, so that the error can name the flag or variable.
fn set<T: DeserializeOwned>(
    builder: Builder,
    key: &str,
    text: &str,
    origin: &str,
) -> Result<Builder, Error> {
    let misfit = |error: ::config::ConfigError| Error::Misfit {
        origin: origin.to_owned(),
        message: explain(&error.to_string()),
    };
    let typed = value(text);
    let candidate = builder.clone().set_override(key, typed.clone()).map_err(misfit)?;
    if check::<T>(&candidate, origin).is_ok() {
        return Ok(candidate);
    }
    // The `7` of `instance_id=7` is meant as a string, although TOML reads it as a number.
    let candidate = builder.clone().set_override(key, text).map_err(misfit)?;
    if check::<T>(&candidate, origin).is_ok() {
        return Ok(candidate);
    }
    let candidate = builder.set_override(key, typed).map_err(misfit)?;
    check::<T>(&candidate, origin).map(|_| candidate)
}

fn check<T: DeserializeOwned>(builder: &Builder, origin: &str) -> Result<T, Error> {
    builder.clone().build().and_then(Config::try_deserialize).map_err(|error| Error::Misfit {
        origin: origin.to_owned(),
        message: explain(&error.to_string()),
    })
}

/// The text of a flag or variable, read as a TOML value; plain text where it is not one.
fn value(text: &str) -> Value {
    let document = format!("value = {text}");
    Config::builder()
        .add_source(File::from_str(&document, FileFormat::Toml))
        .build()
        .and_then(Config::try_deserialize::<Map<String, Value>>)
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::from(text))
}
