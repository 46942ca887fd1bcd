//! The file by which others find a running `up`: `running.json` in its data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data_dir::DataDir;
use super::plan::reachable;
use super::tiers::{Tier, Wiring};

const NAME: &str = "running.json";

/// Where a running `up` can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The process.
    pub pid: u32,
    /// The dashboard.
    pub listen: SocketAddr,
    /// Kafka.
    pub brokers: String,
    /// Admin ports by tier, those that run.
    pub admin: std::collections::BTreeMap<String, SocketAddr>,
}

/// The file, for as long as `up` runs.
pub struct Running(PathBuf);

impl Running {
    /// Says where the parts of `up` are.
    ///
    /// # Errors
    /// When the file cannot be written; nothing but `millrace status` needs it.
    pub fn write(dir: &DataDir, wiring: &Wiring<'_>) -> std::io::Result<Self> {
        let collects = |tier: &Tier| *tier != Tier::Collector || !wiring.own_topics;
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

/// Where the `up` can be asked that works in `dir`.
///
/// # Errors
/// When there is none, or it is still starting.
pub fn read(dir: &Path) -> std::io::Result<Addresses> {
    Ok(serde_json::from_str(&std::fs::read_to_string(dir.join(NAME))?)?)
}
