use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use common::admin::Readiness;
use common::clock::Clock;
use common::event::Schema;
use common::message_log::{Error as LogError, Options};
use prometheus::Registry;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Common;
use crate::cursor::Cursor;
use crate::intake::Queues;
use crate::metrics::Metrics;
use crate::source::connection::Connections;

const SOURCES: [&str; 3] = ["a", "b", "c"];

type Mock = MockCluster<'static, DefaultProducerContext>;

/// A Kafka with a lease for each source.
fn cluster() -> (Mock, Kafka) {
    let (cluster, mut kafka) = (MockCluster::new(1).unwrap(), Kafka::default());
    let leases = i32::try_from(SOURCES.len()).unwrap();
    cluster.create_topic(kafka.name(Topic::Cursors), leases, 1).unwrap();
    kafka.brokers = cluster.bootstrap_servers();
    (cluster, kafka)
}

/// Where the sources were begun that are followed.
type Begun = Arc<Mutex<BTreeMap<&'static str, Option<Cursor>>>>;

/// A collector of a group, whose sources bring nothing.
struct Member {
    followed: Begun,
    progress: Progress,
    start: Sequence,
    metrics: Metrics,
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Member {
    fn start(kafka: &Kafka, directory: &TempDir) -> Self {
        // What is left of a former member may have it for a moment.
        let (log, _appender, found) = loop {
            match MessageLog::open(directory.path(), Options::default()) {
                Err(LogError::Locked { .. }) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let readiness = Readiness::default();
        let connections = Connections::new(readiness.condition("source"));
        let (mut queues, followed) = (Queues::default(), Begun::default());
        let leased = SOURCES.map(|name| {
            let (schema, clock) = (Schema::default(), Clock::default());
            let of_source = metrics.of_source(name);
            let followed = Arc::clone(&followed);
            queues.progress().share(&name.into());
            Leased {
                name: name.into(),
                feed: "ws://feed".to_owned(),
                intake: queues.add(name, &schema, &Common::default(), clock, of_source),
                connection: connections.of(&name.into()),
                metrics: metrics.of_lease(name),
                follow: Box::new(move |resume, stop| {
                    let followed = Arc::clone(&followed);
                    Box::pin(async move {
                        lock(&followed).insert(name, resume);
                        stop.cancelled().await;
                        lock(&followed).remove(name);
                        End::Stopped
                    })
                }),
            }
        });
        let (progress, stop) = (queues.progress().clone(), CancellationToken::new());
        let section = Section::default();
        let last = Last::of(directory.path(), Clock::default());
        let log = (log, found.end, last);
        let leases = Leases::new(kafka, &section, log, progress.clone(), leased.into()).unwrap();
        let task = tokio::spawn(leases.run(stop.clone()));
        Self { followed, progress, start: found.end, metrics, readiness, stop, task }
    }

    fn followed(&self) -> BTreeMap<&'static str, Option<Cursor>> {
        lock(&self.followed).clone()
    }

    /// Waits until so many sources are followed.
    async fn follows(&self, count: usize) {
        while self.followed().len() != count {
            assert!(!self.task.is_finished(), "it ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        assert_eq!(self.followed.lock().unwrap().len(), 0);
    }

    /// As the journal and the delivery do, with sequences counted from the start.
    fn logged(&self, source: &str, end: usize, text: &str) {
        self.progress.logged(source, self.sequence(end), cursor(text));
    }

    fn settled(&self, low: usize) {
        self.progress.settled_before(self.sequence(low));
    }

    fn sequence(&self, number: usize) -> Sequence {
        (0..number).fold(self.start, |sequence, _| sequence.next())
    }

    fn takeovers(&self) -> u64 {
        SOURCES.map(|name| self.metrics.of_lease(name).takeovers.get()).iter().sum()
    }
}

fn lock(followed: &Begun) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<Cursor>>> {
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cursor(text: &str) -> Cursor {
    Cursor(text.to_owned().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_is_followed_by_one_collector_while_they_come_and_go() {
    let (_cluster, kafka) = cluster();
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = Member::start(&kafka, &directories[0]);
    first.follows(3).await;
    assert!(first.followed().values().all(Option::is_none), "nobody was there before");

    let second = Member::start(&kafka, &directories[1]);
    second.follows(1).await;
    let (of_first, of_second) = (first.followed(), second.followed());
    assert!(of_first.len() == 2 && of_second.keys().all(|name| !of_first.contains_key(name)));
    let own = of_second.keys().next().unwrap();
    let why = second.readiness.unmet()["source"].clone();
    assert_eq!(why, format!("{own}: taking it over"), "the sources of others keep nobody waiting");
    let last = Last::of(directories[0].path(), Clock::default());
    assert_eq!(last.recent(LAST).len(), 2);
    first.stop().await;
    assert!(last.recent(LAST).is_empty(), "it has left");
    second.follows(3).await;
    assert_eq!(second.takeovers(), 3);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_goes_on_where_its_former_collector_had_everything_in_kafka() {
    let (_cluster, kafka) = cluster();
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = Member::start(&kafka, &directories[0]);
    first.follows(3).await;
    first.logged("a", 1, "one");
    first.logged("a", 2, "two");
    first.logged("b", 2, "all");
    first.logged("c", 1, "all");
    first.logged("a", 9, "three");
    first.settled(5);
    first.stop().await;

    let second = Member::start(&kafka, &directories[1]);
    second.follows(3).await;
    let [two, all] = ["two", "all"].map(|text| Some(cursor(text)));
    assert_eq!(second.followed(), [("a", two), ("b", all.clone()), ("c", all.clone())].into());
    second.stop().await;

    // The first one comes back. Its own log is older than what the second one has published. If Kafka takes its time it begins
    // there, and then again where the second one was.
    let first = Member::start(&kafka, &directories[0]);
    while first.followed().get("b") != Some(&all) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_starts_without_kafka_follows_what_it_followed_last_and_goes_on() {
    let (cluster, kafka) = cluster();
    let directory = TempDir::new().unwrap();
    cluster.broker_down(1).unwrap();
    let file = directory.path().join("leases.json");
    let ago_ms = Clock::default().now_ms() - 60_000;
    let note = format!(r#"{{"at_ms":{ago_ms},"has_left":true,"sources":["b","removed"]}}"#);
    std::fs::write(&file, &note).unwrap();
    let member = Member::start(&kafka, &directory);
    assert_eq!(member.followed().len(), 0, "others might have the lease");
    member.follows(1).await;
    assert_eq!(member.followed(), [("b", None)].into());
    member.logged("b", 1, "there");
    member.settled(1);

    cluster.broker_up(1).unwrap();
    member.follows(3).await;
    while member.takeovers() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It was not interrupted, and what it has come to is told.
    assert_eq!(member.followed()["b"], None);
    member.stop().await;
    let other = Member::start(&kafka, &TempDir::new().unwrap());
    other.follows(3).await;
    assert_eq!(other.followed()["b"], Some(cursor("there")));
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_was_killed_follows_at_once_what_it_followed_just_before() {
    let (_cluster, kafka) = cluster();
    let directory = TempDir::new().unwrap();
    let killed = Member::start(&kafka, &directory);
    killed.follows(3).await;
    let last = Last::of(directory.path(), Clock::default());
    while last.recent(LAST).len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its membership stays, as that of a process that was killed does for a while, and has all leases.
    killed.task.abort();
    killed.task.await.unwrap_err();
    drop((killed.progress, killed.metrics));
    let member = Member::start(&kafka, &directory);
    member.follows(3).await;
    assert_eq!(member.takeovers(), 0, "the group has given it nothing yet");
    member.stop().await;
}
