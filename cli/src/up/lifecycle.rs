//! The processes of one `up`, in the order in which they start and stop. Each step of the start has a deadline,
//! and tells the user regularly what it waits for.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::kafka::Kafka;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::console::Console;
use super::feed::RunningFeed;
use super::ledger::Ledger;
use super::once::{self, Fed};
use super::plan::{Plan, reachable};
use super::probe;
use super::process::{self, Spec, State, Supervised};
use super::running::Running;
use super::tiers::{Tier, Wiring};
use super::{Error, cluster, kafka, ports, terminal};

/// The most processes that there are: the broker and three tiers.
pub const PROCESSES: usize = 4;

/// How often the user is told what `up` waits for.
const REMINDER: Duration = Duration::from_secs(10);

/// The id under which a data directory is bound to the in-memory broker. It is always the same, because such a broker has
/// no data of an earlier run that could be confused.
const MEMORY: &str = "memory";

/// The feed and the processes that run.
pub struct Stack {
    console: Console,
    failed: mpsc::Sender<process::Error>,
    force: CancellationToken,
    feed: Option<Arc<RunningFeed>>,
    running: Option<Running>,
    /// In the order in which they were started.
    processes: Vec<Supervised>,
}

impl Stack {
    /// A stack in which nothing runs yet. The error of a process that is given up is sent to `failed`.
    pub fn new(console: Console, failed: mpsc::Sender<process::Error>) -> Self {
        let force = CancellationToken::new();
        Self { console, failed, force, feed: None, running: None, processes: Vec::new() }
    }

    /// A token; cancelling it makes [`stop`](Self::stop) kill what still runs.
    pub fn force(&self) -> CancellationToken {
        self.force.clone()
    }

    /// Starts everything. Returns when the answer of `--once` is printed; without `--once` only with an error.
    ///
    /// # Errors
    /// When something cannot be started, is not ready in time, or cannot go on. Processes run on until
    /// [`stop`](Self::stop).
    pub async fn run(&mut self, plan: &Plan) -> Result<(), Error> {
        let began = Instant::now();
        let kept = if plan.dir.is_temporary() { ", removed at the end" } else { "" };
        self.console.say(format!("data in {}{kept}", plan.dir.path().display()));
        if plan.feed.as_ref().is_some_and(|feed| feed.scratch().is_some()) {
            self.console.say("the recording is copied there while it is served");
        }
        let feed = match &plan.feed {
            Some(feed) => {
                let truth = plan.args.truth.clone();
                let feed = RunningFeed::start(feed.clone(), plan.args.pace(), truth).await?;
                Some(Arc::clone(self.feed.insert(Arc::new(feed))))
            }
            None => None,
        };
        let (kafka, broker) = self.start_broker(plan).await?;
        let wiring = plan.wiring(kafka, feed.as_deref())?;
        for lost in wiring.overridden() {
            self.console.warn(lost);
        }
        self.running = Running::write(&plan.dir, &wiring).ok();

        let mut serving = self.start(plan.tiers.spec(Tier::AccessApi, &wiring), broker.clone());
        let mut analyzing = self.start(plan.tiers.spec(Tier::Analyzer, &wiring), broker.clone());
        let deadline = plan.args.step_deadline();
        // The ends of the topics must be known before the collector writes to them.
        let ledger = async {
            if !plan.args.once {
                return Ok(None);
            }
            match timeout(deadline, Ledger::open(&wiring.kafka)).await {
                Ok(ledger) => Ok(Some(ledger?)),
                Err(_) => Err(Error::NotReady {
                    what: "Kafka",
                    waited: deadline,
                    why: "its topics are not listed".to_owned(),
                }),
            }
        };
        let serving = async {
            self.await_tier(Tier::AccessApi, &wiring, &mut serving, deadline).await?;
            self.console
                .say(format!("the page is served after {:.1} s", began.elapsed().as_secs_f64()));
            if plan.args.once { Ok(()) } else { announce(reachable(plan.listen)) }
        };
        let analyzing = self.await_tier(Tier::Analyzer, &wiring, &mut analyzing, deadline);
        let ((), (), ledger) = tokio::try_join!(serving, analyzing, ledger)?;

        let collecting = if plan.args.topic.is_none() {
            Some(self.start(plan.tiers.spec(Tier::Collector, &wiring), broker))
        } else {
            None
        };
        let collector = collecting.clone().zip(self.processes.last().map(Supervised::stopper));
        let collecting = async {
            if let Some(mut state) = collecting {
                let ready = self.await_tier(Tier::Collector, &wiring, &mut state, deadline).await;
                // A feed elsewhere may become available later, so that it is waited for. Our own feed is available already.
                if let (Err(error), Some(_)) = (ready, &feed) {
                    return error;
                }
            }
            std::future::pending().await
        };
        let working = async {
            let feed = feed.as_deref();
            let fed = match (plan.limits, collector, feed) {
                (Some(limits), Some((state, stop)), feed) => {
                    Some(Fed::Limited { limits, state, stop, feed })
                }
                (_, _, Some(feed)) => Some(Fed::Served(feed)),
                (_, _, None) => None,
            };
            match (ledger, fed) {
                (Some(ledger), Some(fed)) => {
                    let page = reachable(plan.listen);
                    once::answer(&plan.asked.analysis, page, ledger, fed, &self.console).await
                }
                _ => terminal::show(reachable(plan.listen), feed, &self.console).await,
            }
        };
        tokio::select! {
            outcome = working => outcome,
            error = collecting => Err(error),
        }
    }

    /// Stops the feed and then the processes, the newest first, so that data in flight gets as far as possible.
    ///
    /// # Errors
    /// When the truth cannot be written.
    pub async fn stop(self) -> Result<(), Error> {
        let mut truth = Ok(());
        if let Some(feed) = self.feed {
            let finishing = async {
                feed.stop().await;
                feed.write_truth().await
            };
            tokio::select! {
                written = finishing => truth = written,
                () = self.force.cancelled() => {}
            }
        }
        for process in self.processes.into_iter().rev() {
            process.stop(&self.console).await;
        }
        drop(self.running);
        truth
    }

    /// Starts the broker if `up` has one of its own. Returns Kafka once it answers, and the state of that broker.
    async fn start_broker(
        &mut self,
        plan: &Plan,
    ) -> Result<(Kafka, Option<watch::Receiver<State>>), Error> {
        let mut kafka = plan.kafka.clone();
        let deadline = plan.args.step_deadline();
        if let Some(brokers) = &plan.brokers {
            kafka.brokers.clone_from(brokers);
            self.console.say(format!("connecting to Kafka at {brokers}"));
            let found = cluster::reach(&kafka, deadline, &self.console).await?;
            plan.accept(&found)?;
            return Ok((kafka, None));
        }
        let port = ports::for_kafka().map_err(Error::Ports)?;
        let (spec, deadline) = if plan.args.memory {
            self.console.say("starting the in-memory broker");
            (kafka::memory(kafka.partitions).map_err(Error::Thread)?, deadline)
        } else {
            self.console.say("starting Apache Kafka");
            let retention = plan.args.retention();
            let spec = kafka::apache(&plan.dir, port, retention, kafka.partitions);
            (spec.map_err(Error::KafkaFiles)?, plan.args.fetch_deadline())
        };
        let mut broker = self.start(spec, None);
        let tail = self.processes.last().map(Supervised::tail).unwrap_or_default();
        let waiting = || async { tail.newest() };
        let said = self.await_ready("the broker", &mut broker, deadline, waiting).await?;
        if plan.args.memory {
            kafka.brokers = said;
            plan.dir.bind(MEMORY)?;
        } else {
            kafka.brokers = format!("127.0.0.1:{port}");
            let deadline = plan.args.step_deadline();
            plan.accept(&cluster::reach(&kafka, deadline, &self.console).await?)?;
        }
        Ok((kafka, Some(broker)))
    }

    fn start(
        &mut self,
        spec: Spec,
        needs: Option<watch::Receiver<State>>,
    ) -> watch::Receiver<State> {
        let process =
            Supervised::start(spec, self.console.clone(), needs, self.failed.clone(), self.force());
        let state = process.state();
        self.processes.push(process);
        state
    }

    async fn await_tier(
        &self,
        tier: Tier,
        wiring: &Wiring<'_>,
        state: &mut watch::Receiver<State>,
        deadline: Duration,
    ) -> Result<(), Error> {
        let admin = tier.of(&wiring.admin);
        let waiting = || async move { probe::unmet(admin).await };
        self.await_ready(tier.name(), state, deadline, waiting).await.map(|_| ())
    }

    /// Waits until a process is ready, and returns its first line. If the process is given up, this waits until
    /// `deadline`, or until `up` ends because of that.
    async fn await_ready<F: Future<Output = String>>(
        &self,
        what: &'static str,
        state: &mut watch::Receiver<State>,
        deadline: Duration,
        waiting_for: impl Fn() -> F,
    ) -> Result<String, Error> {
        let started = Instant::now();
        loop {
            let left = deadline.saturating_sub(started.elapsed());
            tokio::select! {
                said = ready(state) => return Ok(said),
                () = tokio::time::sleep(REMINDER.min(left)) => {}
            }
            let why = waiting_for().await;
            if started.elapsed() >= deadline {
                return Err(Error::NotReady { what, waited: deadline, why });
            }
            self.console.warn(format!("waiting for {what}: {why}"));
        }
    }
}

async fn ready(state: &mut watch::Receiver<State>) -> String {
    let ready =
        state.wait_for(|state| matches!(state, State::Ready(_))).await.map(|state| state.clone());
    match ready {
        Ok(State::Ready(said)) => said,
        Ok(State::Down) | Err(_) => std::future::pending().await,
    }
}

fn announce(listen: SocketAddr) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "http://{listen}/").and_then(|()| stdout.flush()).map_err(Error::Stdout)
}
