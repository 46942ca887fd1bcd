//! A disk that loses what was not synced, that is full, or that fails: nothing that was acknowledged is lost, and the collector
//! goes on by itself.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use pipeline_tests::{
    binaries,
    broker::Broker,
    disk::Disk,
    eventually, free_port, http,
    numbered::in_topic,
    pushing::{self, Pushed, Pushing},
    sandbox::scratch,
    skip, times,
    topics::Topics,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// A log whose files are small, so that there are several.
const SMALL: [&str; 2] = ["log.write_buffer_bytes=4000000", "log.write_ahead_bytes=8000000"];

/// A collector whose log is on a disk of its own, and which is sent to; and a Kafka.
struct Setup {
    disk: Disk,
    kafka: Broker,
    pushing: Option<Pushing>,
    collector: Option<Child>,
    admin: u16,
    file: PathBuf,
    settings: Vec<String>,
    directory: TempDir,
}

impl Setup {
    /// `None` if this machine mounts no such disk.
    fn start(capacity: u64, settings: &[&str]) -> Option<Self> {
        let disk = match Disk::mount(capacity) {
            Ok(disk) => disk,
            Err(error) => {
                skip(&format!("faults of a disk: FUSE cannot be used: {error}"));
                return None;
            }
        };
        let (directory, path) = scratch();
        let (file, address) = pushing::configuration(&path);
        let mut setup = Self {
            disk,
            kafka: Broker::start(),
            pushing: Some(Pushing::start(address, 2)),
            collector: None,
            admin: free_port(),
            file,
            settings: settings.iter().map(|one| (*one).to_owned()).collect(),
            directory,
        };
        setup.start_collector();
        Some(setup)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("collector.log")
    }

    fn start_collector(&mut self) {
        let log = File::options().append(true).create(true).open(self.log()).expect("a file");
        let set = |setting: &String| ["--set".to_owned(), setting.clone()];
        let collector = Command::new(binaries().join("collector"))
            .arg("--config")
            .arg(&self.file)
            .args(["--brokers", &self.kafka.address()])
            .args(["--set", &format!("log.path={}", self.disk.path().join("log").display())])
            .args(["--set", &format!("service.admin=127.0.0.1:{}", self.admin)])
            .args(self.settings.iter().flat_map(set))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.collector = Some(collector.expect("a collector"));
    }

    fn kill_collector(&mut self) {
        if let Some(mut collector) = self.collector.take() {
            collector.kill().expect("killing the collector");
            collector.wait().expect("its end");
        }
    }

    fn pushing(&self) -> &Pushing {
        self.pushing.as_ref().expect("running senders")
    }

    /// Waits until the collector takes nothing any more, and says that it is its log's fault.
    fn await_stop(&self) {
        let refused = self.pushing().so_far().refused;
        eventually("requests are refused", || {
            (self.pushing().so_far().refused > refused).then_some(())
        });
        let ready = eventually("it is not ready", || {
            http::get(self.admin, "/ready").filter(|answer| answer.starts_with("HTTP/1.1 503"))
        });
        assert!(ready.contains("message_log"), "{ready}");
    }

    /// Ends the senders, and waits until all that was acknowledged has arrived in Kafka.
    fn await_all_in_kafka(mut self) -> Pushed {
        let pushed = self.pushing.take().expect("running senders").end();
        eventually("nothing waits in the log any more", || {
            let metrics = http::get(self.admin, "/metrics")?;
            metrics.contains("\nmillrace_collector_pending_entries 0\n").then_some(())
        });
        let found = in_topic(&Topics::at(&self.kafka.address()));
        let missing: Vec<_> =
            pushed.acknowledged.iter().filter(|one| !found.contains_key(one)).collect();
        assert!(
            missing.is_empty(),
            "{} are missing, such as {:?}",
            missing.len(),
            &missing[..10.min(missing.len())]
        );
        pushed
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.kill_collector();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
    }
}

#[test]
fn after_a_power_cut_all_that_was_acknowledged_is_there() {
    let Some(mut setup) = Setup::start(1024 * MIB, &SMALL) else { return };
    let seed = rand::random();
    eprintln!("the seed is {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cuts = 20 * times();
    for cut in 0..cuts {
        if cut == cuts / 2 {
            // From now on nothing but the log has what is acknowledged.
            setup.kafka.kill();
        }
        setup.pushing().await_more(random.random_range(1..1_000));
        setup.kill_collector();
        setup.disk.cut_power(|below| random.random_range(0..below));
        setup.start_collector();
    }
    setup.pushing().await_more(1);
    setup.kafka.start_again();
    let pushed = setup.await_all_in_kafka();
    assert!(pushed.unanswered > 0, "a cut has bitten");
}

#[test]
fn a_disk_that_somebody_else_has_filled_is_waited_for() {
    let Some(mut setup) = Setup::start(1024 * MIB, &[]) else { return };
    setup.kafka.kill();
    setup.pushing().await_more(2_000);
    setup.disk.leave_free(0);
    setup.await_stop();
    setup.disk.leave_free(1024 * MIB);
    setup.pushing().await_more(2_000);
    setup.kafka.start_again();
    setup.await_all_in_kafka();
}

#[test]
fn a_log_that_has_filled_its_disk_is_emptied_into_kafka_also_after_a_restart() {
    let settings = [&["log.max_bytes=1000000000"], &SMALL[..]].concat();
    let Some(mut setup) = Setup::start(48 * MIB, &settings) else { return };
    setup.kafka.kill();
    setup.await_stop();
    setup.kill_collector();
    setup.start_collector();
    setup.kafka.start_again();
    setup.pushing().await_more(2_000);
    setup.await_all_in_kafka();
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing_that_was_acknowledged() {
    let Some(mut setup) = Setup::start(1024 * MIB, &[]) else { return };
    setup.kafka.kill();
    for _ in 0..3 {
        setup.pushing().await_more(1_000);
        setup.disk.set_broken(true);
        setup.await_stop();
        setup.disk.set_broken(false);
    }
    setup.pushing().await_more(1_000);
    setup.kafka.start_again();
    setup.await_all_in_kafka();
}
