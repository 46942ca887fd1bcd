//! One Apache Kafka and nothing else: for benches and for tests that bring their own tiers.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};
use tempfile::TempDir;

use crate::{eventually, free_port, sandbox::scratch};

/// A broker with a data directory of its own; ends, and forgets everything, when dropped.
pub struct Broker {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Broker {
    /// Starts it, from the project's own files, and waits until it answers.
    pub fn start() -> Self {
        let (directory, _) = scratch();
        let port = free_port();
        let broker = Self { child: spawn(directory.path(), port), port, directory };
        broker.await_answer();
        broker
    }

    /// Kills it with -9; its data stays.
    pub fn kill(&mut self) {
        // The script has replaced itself by Kafka: this is Kafka's own process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after [`Broker::kill`], on its data and its port, and waits until it answers.
    pub fn start_again(&mut self) {
        self.child = spawn(self.directory.path(), self.port);
        self.await_answer();
    }

    fn await_answer(&self) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            .create()
            .expect("a client");
        eventually("Apache Kafka answers", || {
            consumer.fetch_metadata(None, Duration::from_secs(1)).ok()
        });
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &Path, port: u16) -> Child {
    Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kafka/run"))
        .arg("--data")
        .arg(directory.join("kafka"))
        .args(["--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("starting Apache Kafka")
}
