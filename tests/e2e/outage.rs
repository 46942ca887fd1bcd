//! A feed at 5,000 events a second: an outage of Kafka of a minute, or of ten with `MILLRACE_LONG`, is only a backlog; and what a
//! kill takes of a feed that cannot be asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    binaries, broker::Broker, collector::spawn, eventually, free_port, http, process::Process,
    sandbox::scratch, times, topics::Topics, within,
};
use tempfile::TempDir;

/// Events a second, and seconds, of which `.ci/run` has these and the long run ten times as many.
const RATE: u64 = 5_000;
const OUTAGE_S: u64 = 60;
const BEFORE_S: u64 = 5;
/// How long millions of events may take.
const LONG: Duration = Duration::from_secs(600);
const MAX_RESIDENT_KIB: u64 = 256 << 10;

/// Kafka, a feed, and a collector.
struct Setup {
    kafka: Broker,
    feed: Child,
    collector: Option<Child>,
    admin: u16,
    file: PathBuf,
    directory: PathBuf,
    _directory: TempDir,
}

impl Setup {
    /// `resume` are further keys of the source.
    fn start(events: u64, resume: &str) -> Self {
        let (guard, directory) = scratch();
        let (port, admin) = (free_port(), free_port());
        let feed = Command::new(binaries().join("millrace"))
            .args(["simulate", "--redelivery", "0"])
            .args(["--rate", &RATE.to_string(), "--events", &events.to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--truth"])
            .arg(directory.join("truth.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let file = directory.join("collector.toml");
        let text = format!(
            "[source.rsvps]\nurl = \"ws://127.0.0.1:{port}/2/rsvps\"\nreconnect_cap_ms = 500\n\
             {resume}\n"
        );
        std::fs::write(&file, text).expect("a file");
        let feed = feed.expect("a feed");
        let kafka = Broker::start();
        let (collector, _directory) = (None, guard);
        let mut setup = Self { kafka, feed, collector, admin, file, directory, _directory };
        setup.start_collector();
        setup
    }

    fn start_collector(&mut self) {
        let settings = [
            format!("service.admin=127.0.0.1:{}", self.admin),
            format!("log.path={}", self.directory.join("log").display()),
        ];
        let stderr = self.directory.join("collector.log");
        self.collector = Some(spawn(&self.file, &self.kafka.address(), settings.iter(), &stderr));
    }

    fn process(&self) -> Process {
        let pid = self.collector.as_ref().expect("a running collector").id().cast_signed();
        Process { pid, name: "collector".to_owned() }
    }

    /// A metric of the collector, all sources together.
    fn metric(&self, name: &str) -> Option<u64> {
        let metrics = http::get(self.admin, "/metrics")?;
        let name = format!("millrace_collector_{name}");
        let values = metrics.lines().filter_map(|line| {
            let (series, value) = line.split_once(' ')?;
            let is_it = series
                .strip_prefix(&name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
            is_it.then(|| value.parse::<f64>().ok())?
        });
        Some(values.sum::<f64>() as u64)
    }

    /// Waits until the collector, since its start, has received so many messages; returns how many.
    fn await_received(&self, messages: u64) -> u64 {
        eventually(&format!("{messages} messages"), || {
            self.metric("received_messages_total").filter(|received| *received >= messages)
        })
    }

    /// Watches the collector receive so many messages, second by second, and returns how much memory it had at most, in KiB.
    fn receives_on(&self, messages: u64) -> u64 {
        let before = self.await_received(0);
        let mut most = 0;
        for wanted in (before..before + messages).step_by(usize::try_from(RATE).expect("a step")) {
            self.await_received(wanted + 1);
            most = self.process().resident_kib().unwrap_or(0).max(most);
        }
        most
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(mut child) = self.collector.take() {
            // One that has ended is not there any more.
            let _ended = child.kill();
            child.wait().expect("its end");
        }
        let _ended = self.feed.kill();
        self.feed.wait().expect("its end");
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.join("collector.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(100)..].join("\n"));
        }
    }
}

#[test]
fn an_outage_of_kafka_is_only_a_backlog_also_for_a_collector_that_is_stopped_in_it() {
    let outage_s = OUTAGE_S * u64::from(times()).min(10);
    let events = RATE * (BEFORE_S + outage_s + outage_s / 2);
    let resume = r#"resume = { query = "since_mtime", from = "time" }"#;
    let mut setup = Setup::start(events, resume);
    setup.await_received(RATE * BEFORE_S);
    eventually("some are in kafka", || {
        setup.metric("published_events_total").filter(|&count| count > 0)
    });

    setup.kafka.kill();
    let mut resident_kib = setup.receives_on(RATE * outage_s / 2);
    let (process, stopped) = (setup.process(), Instant::now());
    process.signal(Signal::SIGTERM);
    let mut former = setup.collector.take().expect("a collector");
    let status = eventually("its end", || former.try_wait().expect("waiting for a child"));
    eprintln!("stopped with a backlog of {} s in {:?}", outage_s / 2, stopped.elapsed());
    assert!(status.success(), "{status}");
    let started = Instant::now();
    setup.start_collector();
    setup.await_received(1);
    eprintln!("receives {:?} after the start", started.elapsed());
    resident_kib = setup.receives_on(RATE * outage_s / 2).max(resident_kib);

    setup.kafka.start_again();
    let backlog = setup.metric("pending_entries").expect("an answer");
    let again = Instant::now();
    within(LONG, "the backlog is in kafka", || {
        resident_kib = setup.process().resident_kib().unwrap_or(0).max(resident_kib);
        (setup.metric("pending_entries")? < RATE / 2).then_some(())
    });
    let (seconds, published) =
        (again.elapsed().as_secs_f64(), setup.metric("published_events_total").expect("an answer"));
    eprintln!(
        "a backlog of {backlog} drained in {seconds:.1} s, at {:.0} events a second; {} MiB at most",
        published as f64 / seconds,
        resident_kib >> 10
    );
    assert!(resident_kib < MAX_RESIDENT_KIB, "{resident_kib} KiB");

    let truth = setup.directory.join("truth.json");
    within(LONG, "the feed has ended", || truth.exists().then_some(()));
    let topics = Topics::at(&setup.kafka.address());
    // Of what comes last nobody says that it has come.
    let (ids, copies) = within(LONG, "all are in kafka", || {
        setup.metric("pending_entries").filter(|&pending| pending == 0)?;
        let (ids, records) = in_order(&topics);
        (ids == events).then_some((ids, records - ids))
    });
    eprintln!(
        "{ids} events in the order in which they came, and {copies} copies that the feed has sent again"
    );
}

#[test]
fn a_kill_takes_few_events_of_a_feed_that_cannot_be_asked_again_and_the_gap_is_told() {
    let kills = u64::from(5 * times());
    let events = RATE * (kills + 2);
    let mut setup = Setup::start(events, r#"resume = "none""#);
    for _ in 0..kills {
        setup.await_received(RATE / 2);
        let mut former = setup.collector.take().expect("a collector");
        former.kill().expect("killing the collector");
        former.wait().expect("its end");
        setup.start_collector();
        setup.await_received(1);
        assert_eq!(setup.metric("source_gaps_total"), Some(1), "a gap between the two");
    }
    let truth = setup.directory.join("truth.json");
    within(LONG, "the feed has ended", || truth.exists().then_some(()));
    // Of what comes last nobody says that it has come: until twenty looks find nothing new.
    let (mut before, mut looks) = (0, 0);
    within(LONG, "nothing comes any more", || {
        setup.metric("pending_entries").filter(|&pending| pending == 0)?;
        let received = setup.metric("received_messages_total")?;
        looks = if std::mem::replace(&mut before, received) == received { looks + 1 } else { 0 };
        (looks == 20).then_some(())
    });
    let (ids, records) = in_order(&Topics::at(&setup.kafka.address()));
    assert_eq!(ids, records, "nothing is there twice");
    eprintln!("{kills} kills at {RATE} events a second have taken {} events", events - ids);
}

/// How many different events the raw topic has, and how many records, which are in the order of the log.
fn in_order(topics: &Topics) -> (u64, u64) {
    let (mut ids, mut records) = (BTreeSet::new(), 0);
    let mut last = BTreeMap::<i32, u64>::new();
    topics.each("raw-rsvps", |record| {
        let (_, sequence) = record.headers["mr-seq"].rsplit_once(':').expect("a sequence");
        let sequence: u64 = sequence.parse().expect("a number");
        let before = last.insert(record.partition, sequence);
        assert!(before < Some(sequence), "out of order: {before:?} {sequence}");
        ids.insert(record.headers["mr-id"].clone());
        records += 1;
    });
    (ids.len() as u64, records)
}
