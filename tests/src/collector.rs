//! A collector and a Kafka and nothing else, to which senders push without a pause.

use std::{
    fs::File,
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

/// The three of them; all end when dropped.
pub struct Collector {
    /// Kafka.
    pub kafka: Broker,
    pushing: Option<Pushing>,
    process: Option<Child>,
    admin: u16,
    file: PathBuf,
    settings: Vec<String>,
    directory: TempDir,
}

impl Collector {
    /// Starts them. The log is in the directory `log`, and `settings` are as after `--set`.
    pub fn start(log: &Path, settings: &[&str]) -> Self {
        let (directory, path) = scratch();
        let (file, address) = pushing::configuration(&path);
        let log = format!("log.path={}", log.display());
        let settings = settings.iter().map(|one| (*one).to_owned());
        let mut collector = Self {
            kafka: Broker::start(),
            pushing: Some(Pushing::start(address, 2)),
            process: None,
            admin: free_port(),
            file,
            settings: settings.chain([log]).collect(),
            directory,
        };
        collector.start_again();
        collector
    }

    fn stderr(&self) -> PathBuf {
        self.directory.path().join("collector.log")
    }

    /// Starts the collector after [`Collector::kill`].
    pub fn start_again(&mut self) {
        let admin = format!("service.admin=127.0.0.1:{}", self.admin);
        let settings = self.settings.iter().chain([&admin]);
        self.process = Some(spawn(&self.file, &self.kafka, settings, &self.stderr()));
    }

    /// Kills the collector with -9, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killing the collector");
            process.wait().expect("its end");
        }
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
            http::get(self.admin, "/ready").filter(|answer| answer.starts_with("HTTP/1.1 503"))
        });
        assert!(ready.contains("message_log"), "{ready}");
    }

    /// Ends the senders, and waits until all that was acknowledged has arrived in Kafka, no entry of the log twice.
    pub fn await_all_in_kafka(&mut self) -> Pushed {
        let pushed = self.pushing.take().expect("running senders").end();
        eventually("nothing waits in the log any more", || {
            let metrics = http::get(self.admin, "/metrics")?;
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
    kafka: &Broker,
    settings: impl Iterator<Item = &'s String>,
    stderr: &Path,
) -> Child {
    let stderr = File::options().append(true).create(true).open(stderr);
    Command::new(binaries().join("collector"))
        .arg("--config")
        .arg(file)
        .args(["--brokers", &kafka.address()])
        .args(settings.flat_map(|setting| ["--set", setting]))
        .stdin(Stdio::null())
        .stderr(stderr.expect("a file"))
        .spawn()
        .expect("a collector")
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.stderr()).unwrap_or_default());
        }
    }
}
