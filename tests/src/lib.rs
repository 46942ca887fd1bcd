//! The tools of the end-to-end tests and the benches, which use the real binaries, a real broker and real sockets.
//!
//! - [`Sandbox`] runs `millrace up` in a directory of its own, observes it from outside (its JSON lines, `/proc`,
//!   HTTP, Kafka), breaks it (`kill -9`), and leaves nothing behind, even if the test panics.
//! - [`oracle`] computes the exact answer for a recording. It shares no code with the pipeline that it judges.
//! - [`recording`] finds, makes and rewrites recordings; [`feed`] is a WebSocket server for messages that a recording
//!   cannot hold; [`public_feed`] speaks the protocols of public feeds; [`client`] is a client of the access-api.
//! - [`otlp`] receives the traces that the tiers send.
//! - [`browser`] drives a browser without a screen; [`path_proxy`] puts the pipeline below a path, as a gateway does.
//! - [`mosquitto`] is an MQTT broker.
//! - [`secured`] is a Kafka with certificates and passwords, which an [`authority`] issues; [`rights`] tries what a
//!   principal is allowed there.
//! - [`structure`] reads the workspace's own sources to find out which file imports which; [`page`] finds the commands in
//!   a page of the documentation.
//!
//! Nothing here asserts on durations. Tests wait for a condition ([`eventually`]), with a limit far above what it takes.
#![expect(
    clippy::expect_used,
    reason = "if something that a test relies on is missing, the test must fail"
)]

pub mod authority;
pub mod broker;
pub mod browser;
pub mod client;
pub mod collector;
pub mod disk;
pub mod feed;
pub mod http;
pub mod mosquitto;
pub mod numbered;
pub mod oracle;
pub mod otlp;
pub mod outcome;
pub mod page;
pub mod path_proxy;
pub mod process;
pub mod public_feed;
pub mod pushing;
pub mod recording;
pub mod rights;
pub mod sandbox;
pub mod secured;
pub mod structure;
pub mod throughput;
pub mod topics;

use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

pub use outcome::Outcome;
pub use sandbox::Sandbox;

/// How long a condition may take before its test fails. It is far above what any condition takes, and no measure of
/// speed.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How many times as much a test tries: once, or ten times with `tests/run --long`.
pub fn times() -> u32 {
    if std::env::var_os("MILLRACE_LONG").is_some() { 10 } else { 1 }
}

/// Polls `condition` until it returns something, and returns that; panics with `what` after [`LIMIT`].
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, condition)
}

/// As [`eventually`], with a limit of its own.
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
        // The condition depends on other processes, so there is no event to wait for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Polls `condition` at most `at_most` times, a tenth of a second apart, until it returns something. Returns that, and
/// how many looks it took. This is for conditions that must hold soon: on a busy machine the looks are slower too.
pub fn looks<T>(at_most: u32, what: &str, mut condition: impl FnMut() -> Option<T>) -> (T, u32) {
    for look in 1..=at_most {
        if let Some(found) = condition() {
            return (found, look);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not within {at_most} looks: {what}")
}

/// Reports that a test, or a part of it, could not be done here; `tests/run` lists these at its end.
pub fn skip(what: &str) {
    // Not by `eprintln!`, because the output of that is hidden if the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
    if let Some(list) = std::env::var_os("MILLRACE_SKIPPED") {
        let mut list = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(list)
            .expect("the list of what was skipped");
        writeln!(list, "{what}").expect("writing the list of what was skipped");
    }
}

/// The directory of the binaries under test. It is the directory into which this test's own binary was built.
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let directory = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests lie in target/PROFILE/deps")
        .to_path_buf();
    for name in ["millrace", "collector", "analyzer", "access-api"] {
        assert!(
            directory.join(name).exists(),
            "{name} is not in {}: build the binaries first, as tests/run does",
            directory.display()
        );
    }
    directory
}

/// The directory for what people look at (screenshots, figures): `artifacts`, next to the profile's directory.
pub fn artifacts() -> PathBuf {
    let directory = binaries().parent().expect("target/PROFILE has a parent").join("artifacts");
    std::fs::create_dir_all(&directory).expect("making the directory for artifacts");
    directory
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
