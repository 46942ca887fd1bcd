//! The file in which a running `up` writes its addresses: `running.json` in its data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data_dir::DataDir;
use super::plan::reachable;
use super::tiers::{Tier, Wiring};

const NAME: &str = "running.json";

/// The addresses of a running `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The process.
    pub pid: u32,
    /// The dashboard.
    pub listen: SocketAddr,
    /// Kafka.
    pub brokers: String,
    /// The admin addresses of the tiers that run, by name.
    pub admin: std::collections::BTreeMap<String, SocketAddr>,
}

/// The file, which is removed when this is dropped.
pub struct Running(PathBuf);

impl Running {
    /// Writes the file.
    ///
    /// # Errors
    /// When the file cannot be written; only `millrace status` needs it.
    pub fn write(dir: &DataDir, wiring: &Wiring<'_>) -> std::io::Result<Self> {
        let collects = |tier: &Tier| *tier != Tier::Collector || wiring.collects;
        let admin = Tier::ALL.into_iter().filter(collects);
        let admin = admin.map(|tier| (tier.name().to_owned(), reachable(tier.of(&wiring.admin))));
        let addresses = Addresses {
            pid: std::process::id(),
            listen: reachable(wiring.listen),
            brokers: wiring.kafka.brokers.clone(),
            admin: admin.collect(),
        };
        let path = dir.join(NAME);
        std::fs::write(&path, serde_json::to_string(&addresses)? + "\n")?;
        Ok(Self(path))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Reads the addresses of the `up` that uses `dir`.
///
/// # Errors
/// When there is no such `up`, or it is still starting.
pub fn read(dir: &Path) -> std::io::Result<Addresses> {
    Ok(serde_json::from_str(&std::fs::read_to_string(dir.join(NAME))?)?)
}
