//! The local broker as a process: Apache Kafka, started by the files of `deploy/kafka` that are part of this binary, or
//! the in-memory broker, `millrace broker`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::data_dir::DataDir;
use super::probe::Probe;
use super::process::Spec;
use crate::units::Limit;

const FILES: [(&str, &str); 4] = [
    ("run", include_str!("../../../deploy/kafka/run")),
    ("pom.xml", include_str!("../../../deploy/kafka/pom.xml")),
    ("server.properties", include_str!("../../../deploy/kafka/server.properties")),
    ("log4j2.properties", include_str!("../../../deploy/kafka/log4j2.properties")),
];

/// How long a broker may take to end. Closing all partitions normally takes well under a second.
const GRACE: Duration = Duration::from_secs(20);

/// Apache Kafka on `port`, with its data in `dir`. A topic with this number of `partitions` keeps as much as `retention`
/// says.
///
/// # Errors
/// When the files that start it cannot be written.
pub fn apache(
    dir: &DataDir,
    port: u16,
    retention: Limit,
    partitions: i32,
) -> std::io::Result<Spec> {
    let files = dir.join("kafka-files");
    let run = write_files(&files)?;
    let mut properties = OpenOptions::new().append(true).open(files.join("server.properties"))?;
    properties.write_all(retained(retention, partitions).as_bytes())?;
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

/// The in-memory broker, which prints its address when it is ready. It is not started again when it ends, because
/// its content is lost.
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

/// Kafka's settings for the retention. Kafka deletes only whole segments, so that they must be much smaller than what is
/// kept. Compacted topics keep their newest values in any case.
fn retained(retention: Limit, partitions: i32) -> String {
    const SMALLEST: u64 = 1 << 20;
    const LARGEST: u64 = 1 << 30;
    let Some(bytes) = retention.0 else {
        return "\nlog.retention.bytes=-1\nlog.retention.ms=-1\n".to_owned();
    };
    let partition = (bytes / u64::from(partitions.max(1).unsigned_abs())).max(SMALLEST);
    let segment = (partition / 8).clamp(SMALLEST, LARGEST);
    format!("\nlog.retention.bytes={partition}\nlog.segment.bytes={segment}\n")
}

/// Writes the files of `deploy/kafka` to `dir`. Returns the script, which is to be run with bash.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_keeps_is_shared_by_its_partitions_in_segments_that_can_go() {
        let text = retained(Limit(Some(2 << 30)), 4);
        assert!(text.contains("log.retention.bytes=536870912\n"), "{text}");
        assert!(text.contains("log.segment.bytes=67108864\n"), "{text}");
        assert!(retained(Limit(None), 4).contains("log.retention.bytes=-1\n"));
        let text = retained(Limit(Some(1)), 1024);
        assert!(text.contains("log.segment.bytes=1048576\n"), "{text}");
    }
}
