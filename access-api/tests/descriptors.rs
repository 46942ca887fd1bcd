//! A process with few descriptors: clients are told so, and the process stays connected to Kafka.

#![expect(clippy::unwrap_used, reason = "a test's failure is the message")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::kafka::Kafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails when the process has ended by itself.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    fn start(kafka: &Kafka) -> Self {
        let (listen, admin) = (free_address(), free_address());
        let program = env!("CARGO_BIN_EXE_access-api");
        let child = Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", program])
            .args(["--brokers", &kafka.brokers])
            .args(["--set", &format!("listen={listen}")])
            .args(["--set", &format!("service.admin={admin}")])
            // A connection on which nothing is asked keeps its place.
            .args(["--set", "limits.header_timeout_ms=600000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, listen, admin }
    }

    fn is_ready(&self) -> bool {
        ask(self.admin, "/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// CPU time used so far, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn with_few_descriptors_clients_are_told_and_kafka_stays_connected() {
    let cluster: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("topn-rsvps", 1, 1).unwrap();
    let kafka = Kafka { brokers: cluster.bootstrap_servers(), ..Kafka::default() };
    let process = Process::start(&kafka);
    eventually("ready", || process.is_ready());

    // More connections than descriptors; nothing is asked on any of them.
    let held: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(process.listen).ok()).collect();
    assert_eq!(held.len(), 100);
    eventually("a refusal", || {
        ask(process.listen, "/v1/queries").is_some_and(|answer| {
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections")
        })
    });
    // Kafka goes and comes back while all places are taken.
    cluster.broker_down(1).unwrap();
    eventually("not ready", || !process.is_ready());
    cluster.broker_up(1).unwrap();
    eventually("ready again", || process.is_ready());

    // A loop that spins would use a whole core.
    let (before, begun) = (process.ticks(), Instant::now());
    eventually("a second", || begun.elapsed() >= Duration::from_secs(1));
    let share = (process.ticks() - before) as f64 / (begun.elapsed().as_millis() as f64 / 10.0);
    assert!(share < 0.5, "{share} of a core");
    drop(held);
    eventually("an answer", || {
        ask(process.listen, "/v1/queries").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
}
