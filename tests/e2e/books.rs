//! The collector's books: what became of every message, for each source and at every scrape.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use pipeline_tests::{broker::Broker, feed::Feed, free_port, sandbox::scratch, within};
use tokio_tungstenite::tungstenite::Message;

const RECOVERED: &str = "(recovered)";
const LIMIT: Duration = Duration::from_secs(180);
/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(5);
/// Where a message is when it is not on its way.
const ENDS: [&str; 9] = [
    "published_events_total",
    "dead_letters_total",
    "pending_entries",
    "failed_entries",
    "evicted_entries_total",
    "damaged_entries_total",
    "dropped_messages_total",
    "shed_messages_total",
    "filtered_messages_total",
];

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// By metric and source, summed over the other labels; a metric without a source is there for `""`.
    sums: BTreeMap<(String, String), i64>,
}

impl Books {
    /// `None` while nobody answers, or the answer is torn because the collector was killed.
    fn scrape(admin: u16) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", admin)).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let whole = head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200");
        (whole && length.parse() == Ok(body.len())).then(|| Self::of(body))
    }

    fn of(text: &str) -> Self {
        let mut books = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("millrace_collector_")) {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let source = labels
                .split_once("source=\"")
                .map_or("", |(_, rest)| rest.split_once('"').expect("the end of a label").0);
            if let Ok(value) = value.parse::<i64>() {
                *books.sums.entry((name.to_owned(), source.to_owned())).or_default() += value;
            }
        }
        books
    }

    /// What the metric shows for the source; 0 if it is not there.
    pub fn sum(&self, name: &str, source: &str) -> i64 {
        self.sums.get(&(name.to_owned(), source.to_owned())).copied().unwrap_or_default()
    }

    fn sources(&self) -> BTreeSet<String> {
        let of = self.sums.keys().filter(|(name, _)| name == ENDS[0]);
        of.map(|(_, source)| source.clone()).collect()
    }

    /// Why they do not balance.
    fn problem(&self) -> Option<String> {
        let mut open = 0;
        for source in self.sources() {
            let sum = |name: &str| self.sum(name, &source);
            let came = sum("received_messages_total") + sum("recovered_entries_total");
            let became: Vec<_> = ENDS.iter().map(|name| (name, sum(name))).collect();
            let left: i64 = became.iter().map(|(_, count)| count).sum();
            if came != left || became.iter().any(|(_, count)| *count < 0) {
                return Some(format!("{came} of {source} became {left}: {became:?}"));
            }
            open += sum("pending_entries") + sum("failed_entries");
        }
        let log = self.sum("log_entries", "");
        (open != log).then(|| format!("{open} wait, and the log has {log}"))
    }
}

/// Scrapes again and again, until it is dropped.
pub struct Auditor {
    seen: Arc<Mutex<Seen>>,
    _stop: mpsc::Sender<()>,
}

#[derive(Default)]
struct Seen {
    scrapes: usize,
    /// How many of them had messages pending.
    under_way: usize,
    latest: Books,
    problems: Vec<String>,
}

impl Auditor {
    /// Scrapes the collector whose admin port this is, also after it was started again.
    pub fn start(admin: u16) -> Self {
        let (stop, stopped) = mpsc::channel();
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            while stopped.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let Some(books) = Books::scrape(admin) else { continue };
                let mut seen = noted.lock().expect("the test");
                seen.scrapes += 1;
                seen.under_way += usize::from(books.sum("log_entries", "") > 0);
                seen.problems.extend(books.problem());
                seen.latest = books;
            }
        });
        Self { seen, _stop: stop }
    }

    /// Waits until a scrape shows this, and panics if one did not balance.
    pub fn until(&self, what: &str, condition: impl Fn(&Books) -> bool) -> Books {
        within(LIMIT, what, || {
            let seen = self.seen.lock().expect("the auditor");
            assert!(
                seen.problems.is_empty(),
                "{what}, {} scrapes: {:?}",
                seen.scrapes,
                seen.problems
            );
            condition(&seen.latest).then(|| seen.latest.clone())
        })
    }
}

/// A collector that is killed when the test ends.
struct Collector(Child);

impl Collector {
    fn start(broker: &Broker, admin: u16, log: &Path, sources: [(&str, &Feed); 2]) -> Self {
        let mut collector = Command::new(pipeline_tests::binaries().join("collector"));
        collector
            .args(["--brokers", &broker.address()])
            .args(["--set", &format!("service.admin=127.0.0.1:{admin}")])
            .args(["--set", &format!("log.path={}", log.display())]);
        for (name, feed) in sources {
            collector.args(["--set", &format!("source.{name}.url={}", feed.url())]);
        }
        Self(collector.stdin(Stdio::null()).spawn().expect("a collector"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("killing it");
        self.0.wait().expect("its end");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn event(id: u64) -> Message {
    Message::text(format!(r#"{{"rsvp_id":{id},"response":"yes","mtime":{}}}"#, 1_000 + id))
}

/// The same, but every fifth is cut off, and every seventh has no id.
fn spoilt(id: u64) -> (Message, bool) {
    match id {
        _ if id.is_multiple_of(5) => (Message::text(r#"{"rsvp_id":"#), true),
        _ if id.is_multiple_of(7) => (Message::text(r#"{"response":"yes"}"#), true),
        _ => (event(1_000_000 + id), false),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_scrape_what_was_received_is_accounted_for() {
    let (_directory, path) = scratch();
    let (clean, dirty) = (Feed::listen().await, Feed::listen().await);
    let send = |ids: std::ops::Range<u64>| {
        clean.send(ids.clone().map(event));
        dirty.send(ids.map(|id| spoilt(id).0));
    };
    let both = |books: &Books, name: &str| books.sum(name, "clean").min(books.sum(name, "dirty"));
    tokio::task::block_in_place(|| {
        let (mut broker, admin, log) = (Broker::start(), free_port(), path.join("log"));
        let sources = [("clean", &clean), ("dirty", &dirty)];
        let auditor = Auditor::start(admin);
        let mut collector = Collector::start(&broker, admin, &log, sources);
        send(0..20_000);
        auditor.until("messages in kafka", |books| both(books, ENDS[0]) > 5_000);
        broker.kill();
        send(20_000..30_000);
        auditor.until("messages that wait for kafka", |books| {
            both(books, "pending_entries") > 1_000
                && both(books, "received_messages_total") == 30_000
        });

        // The feeds send everything again to the one that comes after it.
        collector.kill();
        let mut collector = Collector::start(&broker, admin, &log, sources);
        auditor.until("both again, without kafka", |books| {
            books.sum("recovered_entries_total", RECOVERED) > 2_000
                && both(books, "pending_entries") > 20_000
        });
        broker.start_again();
        let end = auditor.until("nothing waits any more", |books| {
            both(books, "received_messages_total") == 30_000 && books.sum("log_entries", "") == 0
        });
        collector.kill();

        let dead = (0..30_000).filter(|id| spoilt(*id).1).count() as i64;
        let shown = |source: &str| [ENDS[0], ENDS[1]].map(|name| end.sum(name, source));
        assert_eq!(shown("clean"), [30_000, 0]);
        assert_eq!(shown("dirty"), [30_000 - dead, dead]);
        let recovered = end.sum("recovered_entries_total", RECOVERED);
        assert_eq!(shown(RECOVERED).iter().sum::<i64>(), recovered);
        let took = |source: &str| end.sum("receipt_to_kafka_seconds_count", source);
        assert!(took("clean") > 20_000 && took("dirty") > 20_000, "{end:?}");
        assert_eq!(took(RECOVERED), 0, "nobody knows how long the collector was away");
        let seen = auditor.seen.lock().expect("the auditor");
        assert!(seen.under_way > 20, "{} of {} scrapes", seen.under_way, seen.scrapes);
    });
}
