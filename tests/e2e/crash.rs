//! The answer stays exact when any process is killed in mid-stream.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox, eventually,
    oracle::Oracle,
    process::Process,
    recording,
    sandbox::{Builder, scratch},
    times,
};
use tempfile::TempDir;

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
        let (directory, path) = scratch();
        let path = path.join("synthetic.jsonl");
        recording::synthesize(&path, lines, seed);
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
    let stream = Stream::of(40_000 * times(), 15);
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
