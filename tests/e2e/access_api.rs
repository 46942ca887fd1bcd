//! A process of the access-api that the system grants few descriptors: clients are told so, and Kafka stays within
//! reach.

use std::{
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pipeline_tests::{binaries, broker::Broker, eventually, free_port, process};

struct Process {
    child: Child,
    port: u16,
    admin: u16,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Process {
    fn start(brokers: &str) -> Self {
        let (port, admin) = (free_port(), free_port());
        let child = Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
            .arg(binaries().join("access-api"))
            .args(["--brokers", brokers])
            .args(["--set", &format!("listen=127.0.0.1:{port}")])
            .args(["--set", &format!("service.admin=127.0.0.1:{admin}")])
            // A client that holds a place without asking for anything keeps it.
            .args(["--set", "limits.header_timeout_ms=600000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting the access-api");
        // A connection that is kept open would take a place.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build();
        let http = http.expect("an HTTP client");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self { child, port, admin, http, runtime }
    }

    fn is_ready(&self) -> bool {
        self.ask(self.admin, "/ready").is_some_and(|(status, _)| status == 200)
    }

    fn ask(&self, port: u16, path: &str) -> Option<(u16, String)> {
        self.runtime.block_on(async {
            let answer =
                self.http.get(format!("http://127.0.0.1:{port}{path}")).send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn with_few_descriptors_clients_are_told_and_kafka_stays_connected() {
    let mut broker = Broker::start();
    let process = Process::start(&broker.address());
    eventually("ready", || process.is_ready().then_some(()));

    // More than there are descriptors, none of which ask for anything.
    let held: Vec<_> =
        (0..100).filter_map(|_| TcpStream::connect(("127.0.0.1", process.port)).ok()).collect();
    assert_eq!(held.len(), 100);
    eventually("a refusal", || {
        let (status, text) = process.ask(process.port, "/v1/queries")?;
        (status == 503 && text.contains("too_many_connections")).then_some(())
    });
    // Kafka goes and comes back while all places are taken.
    broker.kill();
    eventually("not ready", || (!process.is_ready()).then_some(()));
    broker.start_again();
    eventually("ready again", || process.is_ready().then_some(()));

    // A loop that spins would use a whole core. It is a share, so that a busy machine cannot make this fail.
    let pid = process.child.id().cast_signed();
    let (before, begun) = (process::cpu(pid).expect("CPU time"), Instant::now());
    eventually("a second", || (begun.elapsed() >= Duration::from_secs(1)).then_some(()));
    let used = process::cpu(pid).expect("CPU time") - before;
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    drop(held);
    eventually("an answer", || (process.ask(process.port, "/v1/queries")?.0 == 200).then_some(()));
    assert!(share < 0.5, "{share} of a core");
}
