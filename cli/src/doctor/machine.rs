//! The checks of this machine alone.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};

use super::finding::Finding;
use crate::up::{data_dir, programs};
use crate::{disk, units};

/// The oldest version of Java with which the broker of Apache Kafka 4 runs.
const JAVA: u32 = 17;

pub(super) fn programs() -> Vec<Finding> {
    let tiers = ["collector", "analyzer", "access-api"].map(programs::find);
    let missing: Vec<String> =
        tiers.iter().filter_map(|found| Some(found.as_ref().err()?.to_string())).collect();
    let programs = if missing.is_empty() {
        Finding::fine("programs", "collector, analyzer, access-api")
    } else {
        Finding::missing("programs", missing.join("; "))
    };
    let setpriv = match programs::in_path("setpriv") {
        Some(path) => Finding::fine("setpriv", path.display().to_string()),
        None => Finding::warning(
            "setpriv",
            "not found: an `up` that is killed with -9 leaves its processes behind; install util-linux",
        ),
    };
    vec![programs, setpriv]
}

/// What Apache Kafka on this machine needs.
pub(super) fn local_kafka() -> Vec<Finding> {
    let mut findings = vec![java()];
    for tool in ["bash", "flock"] {
        findings.push(match programs::in_path(tool) {
            Some(path) => Finding::fine(tool, path.display().to_string()),
            None => Finding::missing(tool, "Kafka's start needs it; install it, or use --memory"),
        });
    }
    findings.push(match (fetched(), programs::in_path("mvn")) {
        (true, _) => Finding::fine("kafka", "its jars have been fetched"),
        (false, Some(_)) => {
            Finding::fine("kafka", "its jars (43 MB) are fetched by Maven at the first start")
        }
        (false, None) => Finding::missing(
            "kafka",
            "its jars have not been fetched, and Maven, which fetches them, is not found; install maven, or use --memory",
        ),
    });
    // Kafka's controller listens on this address.
    findings.push(match TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)) {
        Ok(_) => Finding::fine("loopback", "127.0.0.2 can be used"),
        Err(error) => Finding::missing(
            "loopback",
            format!("127.0.0.2 cannot be used ({error}); a local Kafka needs it; use --memory or --brokers"),
        ),
    });
    findings
}

fn java() -> Finding {
    let hint = format!("install Java {JAVA} or later, or use --memory or --brokers");
    let said = match Command::new("java").arg("-version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => {
            return Finding::missing("java", format!("cannot be run ({error}); {hint}"));
        }
    };
    let first = said.lines().next().unwrap_or_default();
    match version(first) {
        Some(major) if major >= JAVA => Finding::fine("java", first),
        Some(major) => Finding::missing("java", format!("this is Java {major}; {hint}")),
        None => Finding::warning("java", format!("cannot tell its version from '{first}'; {hint}")),
    }
}

/// The major version in `openjdk version "17.0.15" 2025-04-15`; before Java 9 it was the second number.
fn version(line: &str) -> Option<u32> {
    let mut numbers = line.split('"').nth(1)?.split(['.', '-', '_', '+']);
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

/// Whether Kafka's jars were fetched and prepared by an earlier start.
fn fetched() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")));
    let entries = cache.and_then(|cache| cache.join("millrace").read_dir().ok());
    entries.into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("kafka-")
            && name.to_string_lossy().ends_with("-prepared")
    })
}

/// Checks of disk, memory and descriptors.
pub(super) fn room(asked: Option<&Path>) -> Vec<Finding> {
    const GIB: u64 = 1 << 30;
    let mut findings = Vec::new();
    match asked.map(Path::to_owned).or_else(data_dir::default_path) {
        Some(path) => {
            let free = common::disk::free(&path);
            let says = |free| format!("{} free at {}", units::bytes(free), path.display());
            findings.push(match free {
                Some(free) if free < GIB => Finding::missing(
                    "disk",
                    format!("only {}; choose another place with --data-dir", says(free)),
                ),
                Some(free) if free < 8 * GIB => Finding::warning(
                    "disk",
                    format!("{}; lower what Kafka keeps with --retention", says(free)),
                ),
                Some(free) => Finding::fine("disk", says(free)),
                None => Finding::warning("disk", format!("cannot look at {}", path.display())),
            });
            if disk::is_memory(&path) {
                findings.push(Finding::warning(
                    "data",
                    format!("{} is in memory: a reboot deletes what is there", path.display()),
                ));
            }
        }
        None => findings.push(Finding::missing("disk", data_dir::Error::NoHome.to_string())),
    }
    let temporary = disk::temporary_root();
    findings.push(if disk::is_memory(&temporary) {
        Finding::warning(
            "temporary",
            format!(
                "{} is in memory, and --once keeps its data there; set TMPDIR to a directory on a disk",
                temporary.display()
            ),
        )
    } else {
        Finding::fine("temporary", format!("--once keeps its data in {}", temporary.display()))
    });
    if let Some(free) = available_memory() {
        let says = format!("{} available", units::bytes(free));
        findings.push(if free < GIB {
            Finding::warning("memory", format!("{says}; Kafka and the tiers need 1.5 GiB"))
        } else {
            Finding::fine("memory", says)
        });
    }
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let says = format!("{soft} open files a process (at most {hard})");
        findings.push(if soft < 4_096 {
            Finding::warning(
                "descriptors",
                format!("{says}; raise it with ulimit -n {}", hard.min(65_536)),
            )
        } else {
            Finding::fine("descriptors", says)
        });
    }
    findings
}

fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

pub(super) fn ports(port: u16) -> Vec<Finding> {
    vec![match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Finding::fine("port", format!("{port} is free")),
        Err(error) => Finding::warning(
            "port",
            format!("{port} cannot be used ({error}); choose another with --port"),
        ),
    }]
}

/// Only the page needs a browser.
pub(super) fn browser() -> Finding {
    const BROWSERS: [&str; 5] =
        ["chromium", "chromium-browser", "google-chrome", "firefox", "open"];
    match BROWSERS.iter().find_map(|name| programs::in_path(name)) {
        Some(path) => Finding::fine("browser", path.display().to_string()),
        None => Finding::warning(
            "browser",
            "none found: open the page from another machine (up --listen), or use `millrace tap`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_s_version_is_read_in_the_form_of_today_and_in_that_before_java_9() {
        assert_eq!(version("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(version("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(version("bash: java: command not found"), None);
    }
}
