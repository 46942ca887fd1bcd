//! What clients authenticate with: files that are read when a client is made, and looked at while it lives.
//!
//! librdkafka reads certificates, keys and passwords once, when a client is made. Whoever holds clients therefore makes new
//! ones when [`Rotation`] says that the files have changed. It says so only when Kafka takes the new contents: the clients
//! in use stay while a certificate was replaced and its key not yet, or while Kafka does not know the new password.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::Producer as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::heard::list_topics;
use super::properties::is_secret;
use super::{ClientError, Heard, Kafka, Properties};
use crate::watched::{digest, look_repeatedly};

/// How long Kafka may take to answer a client with new credentials.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// librdkafka properties by their names, and the files with their values. Section `kafka.property_files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PropertyFiles(BTreeMap<String, PathBuf>);

impl PropertyFiles {
    /// What is wrong with the section, one line for each fault.
    pub(super) fn problems(&self, properties: &Properties) -> Vec<String> {
        let mut problems = Vec::new();
        for name in self.0.keys() {
            if properties.contains_key(name) {
                problems.push(format!(
                    "kafka.property_files: {name} is set in kafka.properties too; remove one of them"
                ));
            }
            let known = ClientConfig::new().set(name, "x").create_native_config().is_ok();
            if !known || !(is_secret(name) || name == "sasl.username") {
                problems.push(format!(
                    "kafka.property_files: '{name}' is not a name or a secret of librdkafka; others belong in \
                     kafka.properties"
                ));
            }
        }
        problems
    }

    /// The values. A line break at the end of a file does not belong to its value.
    pub(super) fn read(&self) -> Result<BTreeMap<&str, String>, ClientError> {
        let read = |(name, path): (&'_ String, &PathBuf)| match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(source) => {
                Err(ClientError::File { property: name.clone(), path: path.clone(), source })
            }
        };
        self.0.iter().map(|entry| Ok((entry.0.as_str(), read(entry)?))).collect()
    }
}

impl Deref for PropertyFiles {
    type Target = BTreeMap<String, PathBuf>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Says when the credentials have changed and Kafka takes the new ones. Clones are told independently.
#[derive(Debug, Clone)]
pub struct Rotation(watch::Receiver<()>);

impl Rotation {
    /// Whether they have changed since the last [`acknowledge`](Self::acknowledge), or since the watch began.
    pub fn is_due(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Says that clients made from now on are the new ones.
    pub fn acknowledge(&mut self) {
        self.0.mark_unchanged();
    }

    /// Resolves when they have changed.
    pub async fn due(&self) {
        let mut own = self.0.clone();
        if own.changed().await.is_err() {
            // There is nothing to watch, or the process ends.
            std::future::pending().await
        }
    }
}

impl Kafka {
    /// Watches the files of the credentials until `stop`. What is in them now counts as known, so call it before clients
    /// are made.
    pub fn watch_credentials(&self, stop: CancellationToken) -> Rotation {
        let (changed, rotation) = watch::channel(());
        let files = self.credential_files();
        if !files.is_empty() {
            let mut files =
                Files { kafka: self.clone(), known: digest(&files), refused: None, files };
            look_repeatedly(&stop, move || {
                if files.look() {
                    tracing::info!("credentials for kafka have changed, making new clients");
                    changed.send_replace(());
                }
            });
        }
        Rotation(rotation)
    }

    /// The files of certificates, keys and passwords.
    fn credential_files(&self) -> Vec<PathBuf> {
        let named = self.properties.iter().filter(|(name, value)| {
            name.starts_with("ssl.") && name.ends_with(".location") && *value != "probe"
        });
        let named = named.map(|(_, value)| PathBuf::from(value));
        named.chain(self.property_files.values().cloned()).collect()
    }
}

/// Files that are looked at.
struct Files {
    kafka: Kafka,
    files: Vec<PathBuf>,
    /// The contents that clients were told of.
    known: u64,
    /// The contents that were not taken, which is logged once.
    refused: Option<u64>,
}

impl Files {
    /// Whether there are new contents that Kafka takes. Blocks while it asks Kafka.
    fn look(&mut self) -> bool {
        let found = digest(&self.files);
        if found == self.known {
            self.refused = None;
            return false;
        }
        match self.try_them() {
            // The files may have changed again since they were looked at; the next look finds that.
            Ok(()) => {
                self.known = found;
                true
            }
            Err(why) => {
                if self.refused.replace(found) != Some(found) {
                    tracing::warn!(
                        why,
                        "the changed credentials for kafka cannot be used yet, the former ones stay"
                    );
                }
                false
            }
        }
    }

    /// Asks Kafka something as a client with the present contents.
    fn try_them(&self) -> Result<(), String> {
        let client = Heard::client(&self.kafka).map_err(|error| error.to_string())?;
        let answer = list_topics(&client, ANSWER_DEADLINE);
        answer.map(drop).map_err(|error| client.context().explain(&error, &self.kafka))
    }
}

#[cfg(test)]
mod tests;
