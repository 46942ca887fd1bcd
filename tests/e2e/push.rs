//! Events that are sent to the collector: what it has acknowledged is there, whatever happens to it.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pipeline_tests::{Sandbox, eventually, sandbox::scratch};
use serde_json::Value;
use tempfile::TempDir;

/// A configuration whose source is sent to at a port that was free.
fn configuration() -> (TempDir, PathBuf, String) {
    let (directory, path) = scratch();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let file = path.join("push.toml");
    let text = format!("[source.orders]\nkind = \"http_push\"\nlisten = \"{address}\"\n");
    fs::write(&file, text).expect("a file");
    (directory, file, format!("http://{address}"))
}

fn event(number: u64) -> String {
    format!(
        r#"{{"rsvp_id":{number},"response":"yes","mtime":{},"group":{{"group_topics":[]}}}}"#,
        1_700_000_000_000 + number
    )
}

/// Sends batches without a pause until told to end. Returns the numbers of the events that were acknowledged, and whether
/// some were not.
fn send(url: &str, sender: u64, end: &AtomicBool, acknowledged: &Mutex<BTreeSet<u64>>) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = reqwest::Client::new();
        let (mut next, mut failures) = (sender * 1_000_000, 0);
        while !end.load(Ordering::Relaxed) {
            let numbers = next..next + 50;
            next = numbers.end;
            let body: Vec<_> = numbers.clone().map(event).collect();
            let request = client
                .post(format!("{url}/v1/events"))
                .header("content-type", "application/x-ndjson")
                .timeout(Duration::from_secs(10))
                .body(body.join("\n"));
            match request.send().await {
                Ok(answer) if answer.status() == 202 => {
                    acknowledged.lock().expect("the numbers").extend(numbers);
                }
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        failures
    })
}

#[test]
fn what_was_acknowledged_is_in_kafka_whenever_the_collector_is_killed() {
    let (_directory, file, url) = configuration();
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let (end, acknowledged) =
        (Arc::<AtomicBool>::default(), Arc::<Mutex<BTreeSet<u64>>>::default());
    let senders: Vec<_> = (1..=4)
        .map(|sender| {
            let (url, end, acknowledged) =
                (url.clone(), Arc::clone(&end), Arc::clone(&acknowledged));
            thread::spawn(move || send(&url, sender, &end, &acknowledged))
        })
        .collect();
    let count = || acknowledged.lock().expect("the numbers").len();
    for _ in 0..5 {
        let before = count();
        eventually("events are acknowledged", || (count() > before + 2_000).then_some(()));
        sandbox.kill9("collector");
    }
    let before = count();
    eventually("events are acknowledged", || (count() > before + 2_000).then_some(()));
    end.store(true, Ordering::Relaxed);
    let failures: u64 = senders.into_iter().map(|sender| sender.join().expect("a sender")).sum();
    assert!(failures > 0, "a kill has bitten");

    let acknowledged = acknowledged.lock().expect("the numbers").clone();
    let topics = sandbox.topics();
    eventually("all that was acknowledged is in Kafka", || {
        let found: BTreeSet<u64> = topics
            .read("raw-rsvps")
            .iter()
            .filter_map(|record| {
                serde_json::from_slice::<Value>(&record.payload).ok()?["rsvp_id"].as_u64()
            })
            .collect();
        acknowledged.is_subset(&found).then_some(())
    });
    sandbox.stop();
}
