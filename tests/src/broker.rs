//! One Apache Kafka and nothing else: for benches and for tests that bring their own tiers.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
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

    /// Settings of a client of it.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.address());
        client
    }

    /// Does something as an administrator, and waits for it.
    pub fn administer<T>(
        &self,
        what: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
    ) -> T {
        let client = self.client().create().expect("an administrator's client");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(what(&client, &AdminOptions::new()))
    }

    /// Makes a topic with the broker's own settings.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let created =
            self.administer(async |admin, options| admin.create_topics([&topic], options).await);
        for outcome in created.expect("an answer") {
            outcome.expect("a topic that was not there");
        }
    }

    /// Changes settings of a topic.
    pub fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let begin = AlterConfig::new(ResourceSpecifier::Topic(name));
        let wanted = settings.iter().fold(begin, |all, (key, value)| all.set(key, value));
        let altered =
            self.administer(async |admin, options| admin.alter_configs([&wanted], options).await);
        for outcome in altered.expect("an answer") {
            outcome.expect("settings that the broker takes");
        }
    }

    /// The value of a setting of a topic.
    pub fn setting(&self, topic: &str, key: &str) -> String {
        let asked = [ResourceSpecifier::Topic(topic)];
        let described =
            self.administer(async |admin, options| admin.describe_configs(&asked, options).await);
        let described = described.expect("an answer").remove(0).expect("a topic that exists");
        described.get(key).and_then(|entry| entry.value.clone()).expect("a setting that is known")
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
