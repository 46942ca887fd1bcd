//! What the tests on Kubernetes run in a pod, because the addresses of a cluster cannot be reached from outside.
//!
//! - `cluster-client watch HOST:PORT CLIENTS QUERY…`: many clients of an access-api that come back whenever their
//!   connection ends. Prints one JSON line a second, which says what all of them together have seen so far: [`Seen`].
//! - `cluster-client connect HOST:PORT`: exit code 0 if something accepts a connection there, 1 if not. It tries for a
//!   while, and the last attempt counts, because the policies for a new pod come into force some seconds after it starts.
#![expect(clippy::expect_used, reason = "a test's failure is the message")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pipeline_tests::{
    client::{Buffer, Client, Frame},
    within,
};
use tokio::task::JoinSet;

mod seen;

use seen::Seen;

/// What one client knows of a query.
#[derive(Debug, Default, Clone, Copy)]
struct Newest {
    version: u64,
    total: u64,
}

type Known = BTreeMap<String, Newest>;

struct Audience {
    seen: Mutex<Seen>,
    known: Mutex<Vec<Known>>,
}

/// How long the policies of a new pod may take to come into force. Nothing in the pod tells when they have.
const SETTLING: Duration = Duration::from_secs(15);

/// How long a connection may take before it counts as forbidden.
const CONNECT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["watch", server, clients, ref queries @ ..] => {
            watch(server, clients.parse().expect("a number of clients"), queries)
        }
        ["connect", server] => connect(server),
        _ => panic!("usage: cluster-client watch HOST:PORT CLIENTS QUERY… | connect HOST:PORT"),
    }
}

fn connect(server: &str) -> ExitCode {
    let begun = Instant::now();
    let outcome = within(2 * SETTLING, "the policies of this pod to be in force", || {
        let outcome = attempt(server);
        (begun.elapsed() >= SETTLING).then_some(outcome)
    });
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{server}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(server: &str) -> std::io::Result<TcpStream> {
    let address = server.to_socket_addrs()?.next().expect("a name has an address");
    TcpStream::connect_timeout(&address, CONNECT)
}

fn watch(server: &str, clients: usize, queries: &[&str]) -> ExitCode {
    let server = server.to_socket_addrs().expect("a known host").next().expect("an address");
    let audience = Arc::new(Audience {
        seen: Mutex::default(),
        known: Mutex::new(vec![Known::new(); clients]),
    });
    let queries: Vec<String> = queries.iter().map(|&query| query.to_owned()).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut following = JoinSet::new();
        for client in 0..clients {
            following.spawn(follow(Arc::clone(&audience), client, server, queries.clone()));
        }
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = seconds.tick() => {}
                Some(ended) = following.join_next() => panic!("a client gave up: {ended:?}"),
            }
            let line = serde_json::to_string(&audience.summary(&queries)).expect("JSON");
            writeln!(std::io::stdout(), "{line}").expect("a reader");
        }
    })
}

/// Subscribes again and again, each time from where the client was.
async fn follow(audience: Arc<Audience>, client: usize, server: SocketAddr, queries: Vec<String>) {
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let mut cursor: Option<String> = None;
    loop {
        let mut socket =
            Client::subscribe(server, &queries, cursor.as_deref(), Buffer::Usual).await;
        audience.seen().connections += 1;
        let mut told = false;
        while let Some(frame) = socket.frame().await {
            told = frame.kind() == "bye";
            if let Some(newer) = frame.cursor() {
                cursor = Some(newer.to_owned());
            }
            audience.note(client, &frame);
        }
        if !told {
            audience.seen().broken += 1;
        }
    }
}

impl Audience {
    fn note(&self, client: usize, frame: &Frame) {
        let mut seen = self.seen();
        let unexpected = match frame.kind() {
            "result" | "snapshot" => {
                seen.results += 1;
                let query = frame.query().expect("a result has a query").to_owned();
                let (version, total) = (frame.version().expect("a version"), frame.total());
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                let newest = known[client].entry(query).or_default();
                let back = version < newest.version;
                *newest = Newest { version, total: total.expect("a total") };
                seen.backwards += u64::from(back);
                back
            }
            "gap" => {
                seen.gaps += 1;
                true
            }
            "error" => {
                seen.errors += 1;
                true
            }
            "bye" => {
                seen.byes += 1;
                false
            }
            _ => false,
        };
        if unexpected && seen.first_unexpected.is_none() {
            seen.first_unexpected = Some(format!("client {client}: {frame:?}"));
        }
    }

    fn summary(&self, queries: &[String]) -> Seen {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let least = |query: &String| {
            let totals =
                known.iter().map(|known| known.get(query).map_or(0, |newest| newest.total));
            (query.clone(), totals.min().unwrap_or(0))
        };
        Seen { totals: queries.iter().map(least).collect(), ..self.seen().clone() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
