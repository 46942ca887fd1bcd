//! Collectors to which events are pushed, on a Kafka and nothing else.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    binaries,
    broker::Broker,
    eventually, free_port, http,
    numbered::in_topic,
    pushing::{self, Pushed, Pushing},
    sandbox::scratch,
    topics::Topics,
};

/// A collector whose source `orders` is sent to. It ends when dropped.
pub struct Process {
    /// Where events are sent to.
    pub address: SocketAddr,
    child: Option<Child>,
    admin: u16,
    brokers: String,
    file: PathBuf,
    settings: Vec<String>,
    directory: TempDir,
}

impl Process {
    /// Starts it on this Kafka. The log is in the directory `log`, and `settings` are as after `--set`.
    pub fn start(kafka: &Broker, log: &Path, settings: &[&str]) -> Self {
        let (directory, path) = scratch();
        let (file, address) = pushing::configuration(&path);
        let log = format!("log.path={}", log.display());
        let settings = settings.iter().map(|one| (*one).to_owned());
        let mut process = Self {
            address,
            child: None,
            admin: free_port(),
            brokers: kafka.address(),
            file,
            settings: settings.chain([log]).collect(),
            directory,
        };
        process.start_again();
        process
    }

    fn stderr(&self) -> PathBuf {
        self.directory.path().join("collector.log")
    }

    /// Starts it after [`Process::kill`].
    pub fn start_again(&mut self) {
        let admin = format!("service.admin=127.0.0.1:{}", self.admin);
        let settings = self.settings.iter().chain([&admin]);
        self.child = Some(spawn(&self.file, &self.brokers, settings, &self.stderr()));
    }

    /// Kills it with -9, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing the collector");
            child.wait().expect("its end");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.stderr()).unwrap_or_default());
        }
    }
}

/// A collector, a Kafka, and senders that push without a pause; all end when dropped.
pub struct Collector {
    /// Kafka.
    pub kafka: Broker,
    pushing: Option<Pushing>,
    process: Process,
}

impl Collector {
    /// Starts them. The log is in the directory `log`, and `settings` are as after `--set`.
    pub fn start(log: &Path, settings: &[&str]) -> Self {
        let kafka = Broker::start();
        let process = Process::start(&kafka, log, settings);
        Self { kafka, pushing: Some(Pushing::start(process.address, 2)), process }
    }

    /// Starts the collector after [`Collector::kill`].
    pub fn start_again(&mut self) {
        self.process.start_again();
    }

    /// Kills the collector with -9, and waits for its end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The senders.
    pub fn pushing(&self) -> &Pushing {
        self.pushing.as_ref().expect("running senders")
    }

    /// Waits until the collector takes nothing any more, and says that it is its log's fault.
    pub fn await_stop(&self) {
        let refused = self.pushing().so_far().refused;
        eventually("requests are refused", || {
            (self.pushing().so_far().refused > refused).then_some(())
        });
        let ready = eventually("it is not ready", || {
            let ready = http::get(self.process.admin, "/ready");
            ready.filter(|answer| answer.starts_with("HTTP/1.1 503"))
        });
        assert!(ready.contains("message_log"), "{ready}");
    }

    /// Ends the senders, and waits until all that was acknowledged has arrived in Kafka, no entry of the log twice.
    pub fn await_all_in_kafka(&mut self) -> Pushed {
        let pushed = self.pushing.take().expect("running senders").end();
        eventually("nothing waits in the log any more", || {
            let metrics = http::get(self.process.admin, "/metrics")?;
            metrics.contains("\nmillrace_collector_log_entries 0\n").then_some(())
        });
        let found = in_topic(&Topics::at(&self.kafka.address()));
        let missing: Vec<_> =
            pushed.acknowledged.iter().filter(|one| !found.contains_key(one)).take(10).collect();
        assert!(missing.is_empty(), "some are missing: {missing:?}");
        pushed
    }
}

/// Starts a collector. `settings` are as after `--set`; what it logs is appended to `stderr`.
pub fn spawn<'s>(
    file: &Path,
    brokers: &str,
    settings: impl Iterator<Item = &'s String>,
    stderr: &Path,
) -> Child {
    let stderr = File::options().append(true).create(true).open(stderr);
    Command::new(binaries().join("collector"))
        .arg("--config")
        .arg(file)
        .args(["--brokers", brokers])
        .args(settings.flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null())
        .stderr(stderr.expect("a file"))
        .spawn()
        .expect("a collector")
}
