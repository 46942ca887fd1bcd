//! The answer stays exact when any process is killed in mid-stream.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox,
    broker::Broker,
    eventually,
    feed::Feed,
    oracle::Oracle,
    process::Process,
    recording,
    sandbox::{Builder, scratch},
    times,
    topics::Topics,
    within,
};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use crate::exact::assert_results;

/// A stream that takes about fifteen seconds, and its exact answer.
struct Stream {
    _directory: TempDir,
    path: PathBuf,
    truth: Oracle,
}

const LINES: u32 = 100_000;
const RATE: u32 = 7_000;

impl Stream {
    fn of(lines: u32, seed: u64) -> Self {
        Self::made(lines, seed, |_| ())
    }

    /// One whose event times lie as far apart as they are sent.
    fn spread(lines: u32, seed: u64, rate: u32) -> Self {
        Self::made(lines, seed, |path| recording::spread(path, rate))
    }

    fn made(lines: u32, seed: u64, change: impl FnOnce(&Path)) -> Self {
        let (directory, path) = scratch();
        let path = path.join("synthetic.jsonl");
        recording::synthesize(&path, lines, seed);
        change(&path);
        let truth = Oracle::of(recording::lines(&path));
        Self { _directory: directory, path, truth }
    }

    fn start(&self, pipeline: Builder) -> Sandbox {
        pipeline.recording(&self.path).once().start()
    }

    /// The total that is reached after this part of the stream, in percent.
    fn part(&self, percent: u64) -> u64 {
        self.truth.topics().total() * percent / 100
    }

    fn assert_exact_end(&self, sandbox: Sandbox) {
        let (results, summary) = sandbox.finish().results();
        assert_results(&results, &self.truth);
        assert_eq!(
            summary.published - summary.duplicates,
            self.truth.events(),
            "published, less what came again"
        );
        assert_eq!(
            summary.dead_letters.values().sum::<u64>(),
            0,
            "nothing was refused: {:?}",
            summary.dead_letters
        );
    }
}

#[test]
fn when_every_tier_is_killed_in_mid_stream_nothing_is_lost() {
    let stream = Stream::of(LINES, 11);
    let mut sandbox = stream.start(Sandbox::builder().rate(RATE));
    for (percent, tier) in [
        (10, "collector"),
        (25, "analyzer"),
        (40, "access-api"),
        (50, "analyzer"),
        (60, "collector"),
        (75, "analyzer"),
    ] {
        sandbox.await_total("topics", stream.part(percent));
        let killed = sandbox.kill9(tier);
        if tier == "collector" {
            await_recovery(&mut sandbox, &killed);
        }
    }
    stream.assert_exact_end(sandbox);
}

/// Waits until the successor of this collector has found entries in its log: then the kill came at a time at which it
/// mattered.
fn await_recovery(sandbox: &mut Sandbox, killed: &Process) {
    eventually("the next collector recovers entries", || {
        let successor = sandbox.process("collector").pid != killed.pid;
        let metrics = successor.then(|| sandbox.metrics("collector")).flatten()?;
        (metrics.sum("millrace_collector_recovered_entries_total") > 0.0).then_some(())
    });
}

#[test]
fn when_the_broker_is_killed_in_mid_stream_nothing_is_lost() {
    let stream = Stream::of(LINES, 12);
    let mut sandbox = stream.start(Sandbox::builder().rate(RATE));
    sandbox.await_total("topics", stream.part(30));
    sandbox.kill9("java");
    stream.assert_exact_end(sandbox);
}

/// The producer has room for a thousand records, so that the log is the only place for what comes while Kafka stands still.
#[test]
fn when_the_broker_stands_still_the_collector_goes_on_and_nothing_is_lost() {
    let stream = Stream::of(LINES, 17);
    let small = r#"{ "queue.buffering.max.messages" = "1000" }"#;
    let mut sandbox = stream
        .start(Sandbox::builder().rate(RATE).environment("COLLECTOR__KAFKA__PROPERTIES", small));
    sandbox.await_total("topics", stream.part(20));
    let broker = sandbox.process("java");
    broker.signal(Signal::SIGSTOP);
    await_received(&mut sandbox, 10_000.0);
    let killed = sandbox.kill9("collector");
    await_recovery(&mut sandbox, &killed);
    // Without Kafka it cannot find out what arrived, and takes messages in all the same.
    await_received(&mut sandbox, 5_000.0);
    broker.signal(Signal::SIGCONT);
    stream.assert_exact_end(sandbox);
}

/// Waits until the collector has taken in so many messages more, and has at least as many pending.
fn await_received(sandbox: &mut Sandbox, more: f64) {
    let received = "millrace_collector_received_messages_total";
    let mut before = None;
    eventually("the collector receives while kafka stands still", || {
        let metrics = sandbox.metrics("collector")?;
        let now = metrics.sum(received);
        let enough = now >= *before.get_or_insert(now) + more;
        (enough && metrics.sum("millrace_collector_pending_entries") >= more).then_some(())
    });
}

/// As when the volume of the only broker is lost: other topics, another cluster's id, offsets from 0 on.
#[tokio::test(flavor = "multi_thread")]
async fn when_an_empty_broker_takes_the_place_of_the_former_one_the_collector_goes_on_by_itself() {
    let (_directory, path) = scratch();
    let feed = Feed::listen().await;
    let send = |ids: Range<u64>| {
        let event = |id| format!(r#"{{"rsvp_id":{id},"response":"yes","mtime":{}}}"#, 1_000 + id);
        let events: BTreeSet<String> = ids.map(event).collect();
        feed.send(events.iter().map(|event| Message::text(event.clone())));
        events
    };
    let mut broker = Broker::start();
    let mut collector = Command::new(pipeline_tests::binaries().join("collector"))
        .args(["--brokers", &broker.address(), "--set", "service.admin=127.0.0.1:0"])
        .args(["--set", &format!("log.path={}", path.join("log").display())])
        .args(["--set", &format!("source.rsvps.url={}", feed.url())])
        .stdin(Stdio::null())
        .spawn()
        .expect("a collector");
    tokio::task::block_in_place(|| {
        await_raw(&broker, &send(0..100));
        broker.kill();
        let mut events = send(100..200);
        broker.start_empty();
        events.extend(send(200..300));
        await_raw(&broker, &events);
        events.extend(send(300..400));
        await_raw(&broker, &events);
    });
    assert_eq!(collector.try_wait().expect("its state"), None, "it was never restarted");
    collector.kill().expect("killing it");
    collector.wait().expect("its end");
}

/// Waits until all these payloads are in `raw-rsvps`.
fn await_raw(broker: &Broker, events: &BTreeSet<String>) {
    let topics = Topics::at(&broker.address());
    within(Duration::from_secs(240), "events in raw-rsvps", || {
        let ends = topics.ends("raw-rsvps")?;
        if ends.values().sum::<i64>() < events.len() as i64 {
            return None;
        }
        let records = topics.read("raw-rsvps").into_iter();
        let there: BTreeSet<_> =
            records.map(|one| String::from_utf8(one.payload).expect("text")).collect();
        events.is_subset(&there).then_some(())
    });
}

#[test]
fn when_a_second_analyzer_comes_and_goes_nothing_is_lost() {
    let stream = Stream::of(LINES, 13);
    let mut sandbox = stream.start(Sandbox::builder().rate(RATE));
    sandbox.await_total("topics", stream.part(20));
    let second = sandbox.start_analyzer("analyzer-1");
    sandbox.await_assignment(second, 1);
    sandbox.await_total("topics", stream.part(60));
    let status = sandbox.stop_analyzer(second);
    assert!(status.success(), "an analyzer that is asked to stop ends without an error: {status}");
    stream.assert_exact_end(sandbox);
}

#[test]
fn when_a_second_analyzer_is_killed_nothing_is_lost() {
    let stream = Stream::of(LINES, 14);
    let mut sandbox = stream.start(Sandbox::builder().rate(RATE));
    let second = sandbox.start_analyzer("analyzer-1");
    sandbox.await_assignment(second, 1);
    sandbox.await_total("topics", stream.part(40));
    sandbox.kill_analyzer(second);
    stream.assert_exact_end(sandbox);
}

#[test]
fn when_an_analyzer_freezes_and_wakes_up_as_a_zombie_nothing_is_lost() {
    let stream = Stream::of(LINES, 16);
    let mut sandbox = stream.start(Sandbox::builder().rate(RATE / 2));
    let second = sandbox.start_analyzer("analyzer-1");
    sandbox.await_assignment(second, 1);
    let first = sandbox.process("analyzer");
    sandbox.await_total("topics", stream.part(20));
    first.signal(Signal::SIGSTOP);
    // The group gives the frozen analyzer's partitions to the other one; it still believes that it owns them.
    sandbox.await_assignment(second, 4);
    first.signal(Signal::SIGCONT);
    stream.assert_exact_end(sandbox);
}

#[test]
fn when_a_tier_is_killed_every_two_seconds_nothing_is_lost() {
    let stream = Stream::spread(40_000 * times(), 15, 1_500);
    let mut sandbox = stream.start(Sandbox::builder().rate(1_500));
    let mut kills = 0;
    for tier in ["collector", "analyzer", "access-api"].iter().cycle() {
        if sandbox.ends_within(Duration::from_secs(2)) {
            break;
        }
        if sandbox.kill9_if_running(tier) {
            kills += 1;
        }
    }
    // The stream takes 27 seconds. With fewer kills the run would have ended too early to show anything.
    assert!(kills >= 9 * times(), "only {kills} kills");
    stream.assert_exact_end(sandbox);
}
