//! Events that are sent to the collector: what it has acknowledged is there, whatever happens to it.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pipeline_tests::{
    Sandbox, eventually,
    numbered::{await_in_kafka, event},
    sandbox::scratch,
};
use tempfile::TempDir;

/// A configuration whose source is sent to at a port that was free.
fn configuration() -> (TempDir, PathBuf, SocketAddr) {
    let (directory, path) = scratch();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let file = path.join("push.toml");
    let text = format!("[source.orders]\nkind = \"http_push\"\nlisten = \"{address}\"\n");
    fs::write(&file, text).expect("a file");
    (directory, file, address)
}

/// Sends batches without a pause until told to end. Returns the numbers of the events that were acknowledged, and whether
/// some were not.
fn send(
    address: SocketAddr,
    sender: u64,
    end: &AtomicBool,
    acknowledged: &Mutex<BTreeSet<u64>>,
) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = reqwest::Client::new();
        let (mut next, mut failures) = (sender * 1_000_000, 0);
        while !end.load(Ordering::Relaxed) {
            let numbers = next..next + 50;
            next = numbers.end;
            let body: Vec<_> = numbers.clone().map(event).collect();
            let request = client
                .post(format!("http://{address}/v1/events"))
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
                    eventually("the collector listens again", || TcpStream::connect(address).ok());
                }
            }
        }
        failures
    })
}

#[test]
fn what_was_acknowledged_is_in_kafka_whenever_the_collector_is_killed() {
    let (_directory, file, address) = configuration();
    let mut sandbox = Sandbox::builder().argument("--config").argument(file).start();
    let (end, acknowledged) =
        (Arc::<AtomicBool>::default(), Arc::<Mutex<BTreeSet<u64>>>::default());
    let senders: Vec<_> = (1..=4)
        .map(|sender| {
            let (end, acknowledged) = (Arc::clone(&end), Arc::clone(&acknowledged));
            thread::spawn(move || send(address, sender, &end, &acknowledged))
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
    await_in_kafka(&mut sandbox, |found| acknowledged.iter().all(|one| found.contains_key(one)));
    sandbox.stop();
}
