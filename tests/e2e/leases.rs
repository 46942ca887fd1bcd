//! Several collectors on one Kafka: each source is followed by one of them, whoever comes and goes.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    binaries,
    broker::Broker,
    collector::spawn,
    eventually, free_port, http,
    numbered::{in_topic, lines},
    process::Process,
    sandbox::scratch,
    topics::Topics,
};
use tempfile::TempDir;

const SOURCES: u64 = 3;
/// How many events each feed has, and how many it sends a second.
const EVENTS: u64 = 12_000;
const RATE: u64 = 500;

/// Feeds that send numbers, each its own; they stand still while nobody is connected.
struct Feeds {
    processes: Vec<Child>,
    configuration: String,
}

impl Feeds {
    fn start(directory: &std::path::Path) -> Self {
        let mut feeds = Self { processes: Vec::new(), configuration: String::new() };
        for feed in 0..SOURCES {
            let (recording, port) = (directory.join(format!("{feed}.jsonl")), free_port());
            fs::write(&recording, lines(feed * EVENTS..(feed + 1) * EVENTS)).expect("a recording");
            let process = Command::new(binaries().join("millrace"))
                .args(["simulate", "--rate", &RATE.to_string()])
                .args(["--listen", &format!("127.0.0.1:{port}"), "--recording"])
                .arg(recording)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            feeds.processes.push(process.expect("a feed"));
            feeds.configuration += &format!(
                "[source.feed_{feed}]\nurl = \"ws://127.0.0.1:{port}/2/rsvps\"\nreconnect_cap_ms = 500\n\
                 resume = {{ query = \"since_mtime\", from = \"time\" }}\n"
            );
        }
        feeds
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        for feed in &mut self.processes {
            // One that has ended is not there any more.
            let _ended = feed.kill();
            feed.wait().expect("its end");
        }
    }
}

/// Collectors by their names, each with a log of its own.
struct Collectors {
    kafka: Broker,
    file: PathBuf,
    running: BTreeMap<&'static str, (Child, u16)>,
    directory: PathBuf,
    _feeds: Feeds,
    _directory: TempDir,
}

impl Collectors {
    fn new() -> Self {
        let (guard, directory) = scratch();
        let feeds = Feeds::start(&directory);
        let file = directory.join("collector.toml");
        let leases = "[leases]\nenabled = true\nsession_timeout = \"6s\"\n";
        fs::write(&file, format!("{leases}{}", feeds.configuration)).expect("a file");
        let (kafka, running) = (Broker::start(), BTreeMap::new());
        Self { kafka, file, running, directory, _feeds: feeds, _directory: guard }
    }

    fn start(&mut self, name: &'static str) {
        let admin = free_port();
        let settings = [
            format!("service.admin=127.0.0.1:{admin}"),
            format!("log.path={}", self.directory.join(name).display()),
        ];
        let stderr = self.directory.join(format!("{name}.log"));
        let process = spawn(&self.file, &self.kafka.address(), settings.iter(), &stderr);
        self.running.insert(name, (process, admin));
    }

    /// Ends a collector, for good if its log is removed.
    fn end(&mut self, name: &'static str, signal: Signal, is_for_good: bool) {
        let (mut process, _) = self.running.remove(name).expect("a running collector");
        let pid = process.id().cast_signed();
        Process { pid, name: "collector".to_owned() }.signal(signal);
        eventually("its end", || process.try_wait().expect("waiting for a child"));
        if is_for_good {
            fs::remove_dir_all(self.directory.join(name)).expect("its log");
        }
    }

    /// Waits until each source is followed by one collector, and no collector has more than one more than another.
    fn are_divided(&self) {
        eventually("the sources are divided", || {
            let mut held: BTreeMap<String, u64> = BTreeMap::new();
            let mut counts = Vec::new();
            for (_, admin) in self.running.values() {
                let metrics = http::get(*admin, "/metrics")?;
                let lines = metrics
                    .lines()
                    .filter(|line| line.starts_with("millrace_collector_lease_held{"));
                let own: Vec<_> = lines.filter(|line| line.ends_with(" 1")).collect();
                counts.push(own.len());
                for source in own {
                    *held.entry(source.to_owned()).or_default() += 1;
                }
            }
            let are_all =
                held.len() == usize::try_from(SOURCES).ok()? && held.values().all(|&by| by == 1);
            let is_even = counts.iter().max()? - counts.iter().min()? <= 1;
            (are_all && is_even).then_some(())
        });
    }

    /// Waits until Kafka has more events of each source than now.
    fn all_go_on(&self) {
        let topics = Topics::at(&self.kafka.address());
        let newest = |counts: &BTreeMap<u64, usize>| -> Vec<u64> {
            let of = |feed: u64| counts.range(..(feed + 1) * EVENTS).next_back();
            (0..SOURCES).map(|feed| of(feed).map_or(0, |(number, _)| *number)).collect()
        };
        let before = newest(&in_topic(&topics));
        eventually("each source brings something, or has ended", || {
            let ends = (0..SOURCES).map(|feed| (feed + 1) * EVENTS - 1);
            let now = newest(&in_topic(&topics));
            let go_on = before
                .iter()
                .zip(&now)
                .zip(ends)
                .all(|((before, now), end)| before < now || *now == end);
            go_on.then_some(())
        });
    }
}

impl Drop for Collectors {
    fn drop(&mut self) {
        for (name, (mut process, _)) in std::mem::take(&mut self.running) {
            process.kill().expect("killing a collector");
            process.wait().expect("its end");
            if std::thread::panicking() {
                let log = fs::read_to_string(self.directory.join(format!("{name}.log")));
                eprintln!("=== {name}\n{}", log.unwrap_or_default());
            }
        }
    }
}

#[test]
fn each_source_is_followed_by_one_collector_and_nothing_is_missing_whoever_is_killed() {
    let mut collectors = Collectors::new();
    collectors.start("a");
    collectors.are_divided();
    collectors.all_go_on();
    // Scaled up.
    collectors.start("b");
    collectors.start("c");
    collectors.are_divided();
    collectors.all_go_on();
    // A machine is lost, with its disk.
    collectors.end("b", Signal::SIGKILL, true);
    collectors.are_divided();
    collectors.all_go_on();
    // One that was killed comes back with its log.
    collectors.end("a", Signal::SIGKILL, false);
    collectors.start("a");
    collectors.are_divided();
    collectors.all_go_on();
    // Scaled down.
    collectors.end("c", Signal::SIGTERM, false);
    collectors.are_divided();
    collectors.all_go_on();
    let topics = Topics::at(&collectors.kafka.address());
    let all = usize::try_from(SOURCES * EVENTS).expect("a number of events");
    let counts = eventually("all events are in kafka", || {
        let counts = in_topic(&topics);
        (counts.len() == all).then_some(counts)
    });
    let copies = counts.values().sum::<usize>() - all;
    eprintln!("{copies} copies of {all} events, all told apart by their ids");
}
