//! The local broker as a process: Apache Kafka from `deploy/kafka`, which this binary carries, or the
//! in-memory one, `millrace broker`.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::data_dir::DataDir;
use super::probe::Probe;
use super::process::Spec;

const FILES: [(&str, &str); 4] = [
    ("run", include_str!("../../../deploy/kafka/run")),
    ("pom.xml", include_str!("../../../deploy/kafka/pom.xml")),
    ("server.properties", include_str!("../../../deploy/kafka/server.properties")),
    ("log4j2.properties", include_str!("../../../deploy/kafka/log4j2.properties")),
];

/// Closing all partitions takes well under a second; more, and something is stuck.
const GRACE: Duration = Duration::from_secs(20);

/// Apache Kafka on `port`, with its data in `dir`.
///
/// # Errors
/// When the files that start it cannot be written.
pub fn apache(dir: &DataDir, port: u16) -> std::io::Result<Spec> {
    let run = write_files(&dir.join("kafka-files"))?;
    let args = [
        run.into_os_string(),
        "--data".into(),
        dir.join("kafka").into(),
        "--port".into(),
        port.to_string().into(),
    ];
    Ok(Spec {
        name: "broker",
        program: PathBuf::from("/usr/bin/env"),
        args: [OsString::from("bash")].into_iter().chain(args).collect(),
        env: Vec::new(),
        probe: Probe::Kafka(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        grace: GRACE,
        restart: true,
    })
}

/// The in-memory broker, which says its address when it is ready. What it held is gone when it ends:
/// there is no use in starting another one.
///
/// # Errors
/// When this program cannot be found.
pub fn memory(partitions: i32) -> std::io::Result<Spec> {
    Ok(Spec {
        name: "broker",
        program: std::env::current_exe()?,
        args: vec!["broker".into(), "--partitions".into(), partitions.to_string().into()],
        env: Vec::new(),
        probe: Probe::FirstLine,
        grace: GRACE,
        restart: false,
    })
}

/// Writes the files of `deploy/kafka` to `dir`; returns the one to run with bash.
///
/// # Errors
/// When they cannot be written.
pub fn write_files(dir: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in FILES {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(dir.join("run"))
}
