//! Measures what encryption costs the message log: appending groups, and reading them back.
//!
//! `cargo bench --profile release --workspace --bench message_log`; with `-- 1000` it writes 1,000 MiB a run instead of 200.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench's failure is the message")]

use std::{fs, sync::Arc, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::message_log::{Entry, Keyring, MessageLog, Options};
use nix::sys::resource::{UsageWho, getrusage};
use rand::RngExt as _;

/// How many bytes a message has.
const MESSAGE_BYTES: usize = 1_000;
/// How many messages a group has: few feeds, and a feed at full speed.
const GROUPS: [usize; 3] = [1, 10, 1_000];
const ROUNDS: usize = 3;

fn main() {
    let mib = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    println!(
        "{mib} MiB of messages of {MESSAGE_BYTES} bytes, the best of {ROUNDS}; CPU of all threads"
    );
    println!("{:<18}{:>12}{:>14}{:>12}{:>14}", "messages a group", "", "append", "", "read");
    for group in GROUPS {
        let plain = best(group, mib, None);
        let sealed = best(group, mib, Some(Arc::new(keys())));
        for (name, figures) in [("plain", plain), ("encrypted", sealed)] {
            let [append, read] = figures.map(|seconds| seconds * 1e3 / mib as f64);
            println!("{group:<18}{name:>12}{append:>8.2} ms/MiB{:>12}{read:>7.2} ms/MiB", "");
        }
    }
}

fn keys() -> Keyring {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("keys");
    fs::write(&path, STANDARD.encode([7; 32])).expect("a file");
    Keyring::read(&path).expect("keys")
}

/// CPU seconds of appending and of reading.
fn best(group: usize, mib: usize, keys: Option<Arc<Keyring>>) -> [f64; 2] {
    let runs = (0..ROUNDS).map(|_| measure(group, mib, keys.clone()));
    runs.reduce(|one, other| [one[0].min(other[0]), one[1].min(other[1])]).unwrap_or_default()
}

fn measure(group: usize, mib: usize, keys: Option<Arc<Keyring>>) -> [f64; 2] {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { keys, ..Options::default() };
    let (log, mut appender, found) =
        MessageLog::open(directory.path(), options).expect("a new log");
    let mut payload = vec![0; MESSAGE_BYTES];
    rand::rng().fill(&mut payload[..]);
    let entry = Entry {
        source: "feed".into(),
        received_ms: 1,
        identity: None,
        reason: None,
        payload: payload.into(),
    };
    let groups = (mib << 20) / MESSAGE_BYTES / group;
    let (before, started) = (cpu(), Instant::now());
    let mut end = found.end;
    for number in 0..groups {
        let entries: Vec<_> = (0..group).map(|_| (appender.allot(), entry.clone())).collect();
        appender.append(&entries, &[("feed", &number.to_be_bytes())]).expect("an append");
        end = entries.last().map_or(end, |(last, _)| last.next());
        if appender.unsynced_bytes() > 8 << 20 {
            appender.sync().expect("a sync");
        }
    }
    appender.sync().expect("a sync");
    let appended = cpu() - before;
    let before = cpu();
    let (mut from, mut read) = (found.end, 0);
    while from < end {
        let page = log.page(from, end, 1 << 20).expect("a page");
        assert!(page.damaged.is_empty());
        read += page.entries.len();
        from = page.end;
    }
    assert_eq!(read, groups * group, "after {:?}", started.elapsed());
    [appended, cpu() - before]
}

/// The CPU time of this process, in seconds.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the process's usage");
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
