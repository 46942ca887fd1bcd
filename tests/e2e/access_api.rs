//! The access-api as a process: with few descriptors, and with many clients that resume after it was killed.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use pipeline_tests::{
    Sandbox, binaries,
    broker::Broker,
    client::{Buffer, Client},
    eventually, free_port, process, times,
    topics::Topics,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const RESULTS: &str = "topn-rsvps";

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

#[test]
fn results_are_read_anew_whenever_their_topic_was_made_anew() {
    let broker = Broker::start();
    let process = Process::start(&broker.address());
    eventually("ready", || process.is_ready().then_some(()));
    for round in 0..4 * times() {
        // Shorter and longer than the one before, and with lower versions.
        let (count, total) = ([40, 3, 1, 25][round as usize % 4], 1_000_000 - round);
        let producer: BaseProducer = broker.client().create().expect("a producer");
        let write = |key: &str, value: &str| {
            let sent = producer.send(BaseRecord::to(RESULTS).key(key).payload(value));
            sent.map_err(|(error, _)| error).expect("sending");
            producer.flush(Duration::from_secs(60)).expect("an acknowledgement");
        };
        write(&format!("stream/{:016x}", round + 1), "{}");
        for version in 1..=count {
            let result = serde_json::json!({
                "v": 1, "query": "topics", "window": {"kind": "running"}, "version": version,
                "stream": format!("{:016x}", round + 1), "total": total, "top": [],
            });
            write("topics", &result.to_string());
        }
        eventually(&format!("the last result of topic {round}"), || {
            let (_, text) = process.ask(process.port, "/v1/queries/topics")?;
            let result: serde_json::Value = serde_json::from_str(&text).ok()?;
            (result["version"] == count && result["total"] == total).then_some(())
        });
        eventually("ready again", || process.is_ready().then_some(()));

        let deleted = broker
            .administer(async |admin, options| admin.delete_topics(&[RESULTS], options).await);
        deleted.expect("deleting a topic");
        let topics = Topics::at(&broker.address());
        eventually("the topic is gone", || topics.ends(RESULTS).is_none().then_some(()));
        if round % 4 == 1 {
            eventually("the access-api knows it", || (!process.is_ready()).then_some(()));
        }
        broker.create_topic(RESULTS, 1);
    }
}

/// What a client has seen last.
#[derive(Default)]
struct Seen {
    cursor: Option<String>,
    version: u64,
}

impl Seen {
    /// Follows `topics` from where it stopped until the connection ends or `enough` results came, and adds itself to
    /// `served` with the first one. Returns the types of the frames.
    async fn follow(
        &mut self,
        server: SocketAddr,
        enough: usize,
        served: &AtomicUsize,
    ) -> Vec<String> {
        let cursor = self.cursor.as_deref();
        let mut client = Client::subscribe(server, &["topics"], cursor, Buffer::Usual).await;
        let mut types = Vec::new();
        while let Some(frame) = client.frame().await {
            if let Some(version) = frame.version() {
                assert!(version > self.version, "{version} after {}", self.version);
                self.version = version;
                self.cursor = frame.cursor().map(str::to_owned);
            }
            types.push(frame.kind().to_owned());
            let results = types.iter().filter(|kind| *kind == "result").count();
            if frame.kind() == "result" && results == 1 {
                served.fetch_add(1, Ordering::Relaxed);
            }
            if results == enough {
                break;
            }
        }
        types
    }
}

/// Follows with all `clients` at once, see [`Seen::follow`].
async fn follow(
    server: SocketAddr,
    mut clients: Vec<Seen>,
    enough: usize,
    served: Arc<AtomicUsize>,
) -> (Vec<Vec<String>>, Vec<Seen>) {
    let following = clients.iter_mut().map(|client| client.follow(server, enough, &served));
    let types = join_all(following).await;
    (types, clients)
}

#[test]
fn a_thousand_clients_that_resume_after_a_kill_see_no_gap_and_no_old_result() {
    const CLIENTS: usize = 1_000;
    allow_many_descriptors();
    // Two results a second are enough, and leave time to a slow machine.
    let pipeline = Sandbox::builder().rate(100).environment("ANALYZER__EMIT_INTERVAL_MS", "500");
    let mut sandbox = pipeline.start();
    sandbox.await_total("topics", 100);
    let server = sandbox.address().parse().expect("a socket address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut clients = std::iter::repeat_with(Seen::default).take(CLIENTS).collect();
    for kills in 0..=times() {
        // They follow until the server is killed; after the last kill they stop by themselves.
        let enough = if kills < times() { usize::MAX } else { 3 };
        let served = Arc::new(AtomicUsize::new(0));
        let following = runtime.spawn(follow(server, clients, enough, Arc::clone(&served)));
        if kills < times() {
            eventually("a result for every client", || {
                (served.load(Ordering::Relaxed) == CLIENTS).then_some(())
            });
            sandbox.kill9("access-api");
        }
        let (followed, back) = runtime.block_on(following).expect("the clients");
        for types in followed {
            let came = |kind: &str| types.iter().any(|type_| type_ == kind);
            assert!(!came("gap") && (kills == 0 || !came("snapshot")), "after a kill: {types:?}");
        }
        clients = back;
    }
    assert!(sandbox.stop().status.success());
}

/// As Kubernetes stops a pod: with `tests/run --long` there are 10,000 clients.
#[test]
fn a_server_that_is_stopped_tells_every_client_and_ends_in_time() {
    let count = 1_000 * times() as usize;
    allow_many_descriptors();
    // All clients are in this process, and have read everything when the server is stopped.
    let interval = (500 * times() * times()).to_string();
    let pipeline =
        Sandbox::builder().rate(100).environment("ANALYZER__EMIT_INTERVAL_MS", &interval);
    let mut sandbox = pipeline.start();
    sandbox.await_total("topics", 100);
    let server = sandbox.address().parse().expect("a socket address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clients = std::iter::repeat_with(Seen::default).take(count).collect();
    let served = Arc::new(AtomicUsize::new(0));
    let following = runtime.spawn(follow(server, clients, usize::MAX, Arc::clone(&served)));
    eventually("a result for every client", || {
        (served.load(Ordering::Relaxed) == count).then_some(())
    });
    let stopped = Instant::now();
    sandbox.process("access-api").signal(Signal::SIGTERM);
    let (followed, _) = runtime.block_on(following).expect("the clients");
    println!("{count} clients were told within {:.1} s", stopped.elapsed().as_secs_f64());
    for types in followed {
        assert_eq!(types.last().map(String::as_str), Some("bye"), "{types:?}");
    }
    // The next one is started, because nobody asked `up` to stop.
    let ended = "access-api ended (exit status: 0)";
    eventually(ended, || sandbox.log().contains(ended).then_some(()));
    assert!(sandbox.stop().status.success());
}

fn allow_many_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("more descriptors, up to the hard limit");
}
