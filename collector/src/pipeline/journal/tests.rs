use std::fs;
use std::thread;

use common::admin::Readiness;
use common::message_log::Options;
use common::trace::Tracer;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_that_was_reopened_is_still_not_ready() {
    let directory = TempDir::new().unwrap();
    let (path, away) = (directory.path().join("log"), directory.path().join("away"));
    let (log, mut appender, _) = MessageLog::open(&path, Options::default()).unwrap();
    let (reason, payload) = (None, vec![7; 3 << 20].into());
    let entry = Entry { source: "feed".into(), received_ms: 0, identity: None, reason, payload };
    let sequence = appender.allot();
    appender.append(&[(sequence, entry)], &[]).unwrap();
    appender.sync().unwrap();
    fs::rename(&path, &away).unwrap();
    fs::write(&path, "in its way").unwrap();
    appender.reopen().unwrap_err();
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();

    let (readiness, deadline) = (Readiness::default(), CancellationToken::new());
    let journal = Journal {
        log: log.clone(),
        clock: Clock::default(),
        appender,
        queues: Queues::default(),
        arrivals: Arc::default(),
        receipts: Arc::default(),
        traces: Traces::new(Tracer::off()),
        mode: Mode::Hybrid,
        room: Room { max_bytes: 1 << 20, path: path.clone(), spare_bytes: 0 },
        writable: readiness.condition("log"),
        metrics: Metrics::new(&Registry::new()).unwrap(),
        waiter: Waiter::new(Handle::current(), deadline.clone()),
        syncing: None,
        unsynced: None,
        is_urgent: false,
        cursors: Cursors::default(),
        full: None,
    };
    let running = thread::spawn(move || journal.run());
    while log.is_latched() {
        tokio::task::yield_now().await;
    }
    deadline.cancel();
    running.join().unwrap().unwrap();
    let why = readiness.unmet()["log"].clone();
    assert!(why.contains("log.max_bytes"), "{why}");
}
