//! One Apache Kafka and nothing else: for benches and for tests that bring their own tiers.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use tempfile::TempDir;

use crate::{eventually, free_port, process::Process, sandbox::scratch};

/// A broker with a data directory of its own; ends, and forgets everything, when dropped.
pub struct Broker {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Broker {
    /// Starts it, from the project's own files, and waits until it answers.
    pub fn start() -> Self {
        let (directory, path) = scratch();
        let port = free_port();
        let child = Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kafka/run"))
            .arg("--data")
            .arg(path.join("kafka"))
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starting Apache Kafka");
        let broker = Self { child, port, _directory: directory };
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            .create()
            .expect("a client");
        eventually("Apache Kafka answers", || {
            consumer.fetch_metadata(None, Duration::from_secs(1)).ok()
        });
        broker
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        Process { pid: self.child.id().cast_signed(), name: "java".to_owned() }
            .signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
