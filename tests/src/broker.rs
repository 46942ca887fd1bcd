//! One Apache Kafka and nothing else: for benches and for tests that bring their own tiers.

use std::{
    path::{Path, PathBuf},
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
    setup: Setup,
    /// Where it answers without asking for a password.
    address: String,
}

/// How it is started.
struct Setup {
    directory: TempDir,
    port: u16,
    listeners: Vec<String>,
}

impl Broker {
    /// Starts it, from the project's own files, and waits until it answers.
    pub fn start() -> Self {
        let (directory, _) = scratch();
        let port = free_port();
        let setup = Setup { directory, port, listeners: Vec::new() };
        Self::start_at(&format!("127.0.0.1:{port}"), setup, "")
    }

    /// Starts it with further `properties` and `listeners` (`NAME://HOST:PORT`) on this port; it answers to anybody at
    /// `address`.
    pub fn start_with(port: u16, address: &str, listeners: Vec<String>, properties: &str) -> Self {
        let (directory, _) = scratch();
        Self::start_at(address, Setup { directory, port, listeners }, properties)
    }

    fn start_at(address: &str, setup: Setup, properties: &str) -> Self {
        copy_files(&setup.files(), properties);
        let broker = Self { child: setup.spawn(), setup, address: address.to_owned() };
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
        self.child = self.setup.spawn();
        self.await_answer();
    }

    /// Starts an empty one in its place after [`Broker::kill`]: another cluster, on the same port, without any topic.
    pub fn start_empty(&mut self) {
        std::fs::remove_dir_all(self.setup.data()).expect("removing its data");
        self.start_again();
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

    /// Changes settings of a topic, and waits until they are in force.
    pub fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) {
        for (key, _) in settings {
            self.setting(name, key);
        }
        let begin = AlterConfig::new(ResourceSpecifier::Topic(name));
        let wanted = settings.iter().fold(begin, |all, (key, value)| all.set(key, value));
        let altered =
            self.administer(async |admin, options| admin.alter_configs([&wanted], options).await);
        for outcome in altered.expect("an answer") {
            outcome.expect("settings that the broker takes");
        }
        // The controller has them before the broker that leads the topic.
        for &(key, value) in settings {
            eventually(&format!("{key} of {name} is {value}"), || {
                (self.setting(name, key) == value).then_some(())
            });
        }
    }

    /// The value of a setting of a topic, once the broker knows the topic: the controller knows one that was made just now
    /// sooner, and the client library does not tell that the broker does not.
    pub fn setting(&self, topic: &str, key: &str) -> String {
        let asked = [ResourceSpecifier::Topic(topic)];
        eventually(&format!("{key} of {topic}"), || {
            let described = self
                .administer(async |admin, options| admin.describe_configs(&asked, options).await);
            let described = described.expect("an answer").remove(0).ok()?;
            described.get(key)?.value.clone()
        })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Setup {
    /// The files that start it.
    fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("kafka")
    }

    fn spawn(&self) -> Child {
        let listeners = self.listeners.iter().flat_map(|listener| ["--listener", listener]);
        Command::new("bash")
            .arg(self.files().join("run"))
            .arg("--data")
            .arg(self.data())
            .args(["--port", &self.port.to_string()])
            .args(listeners)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starting Apache Kafka")
    }
}

/// Copies the project's own files, with further properties of the server; of two with one name the last one holds.
fn copy_files(to: &Path, properties: &str) {
    std::fs::create_dir(to).expect("a folder");
    for name in ["run", "pom.xml", "server.properties", "log4j2.properties"] {
        let mut text =
            std::fs::read_to_string(kafka_files().join(name)).expect("a file of the project");
        if name == "server.properties" {
            text = format!("{text}\n{properties}");
        }
        std::fs::write(to.join(name), text).expect("writing a file");
    }
}

/// The folder with the project's files for Kafka.
pub fn kafka_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kafka")
}
