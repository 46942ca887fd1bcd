//! The processes of one `up`, in the order in which they start and stop. Each step of the start has a deadline,
//! and says now and then what it waits for.

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
use super::plan::{Plan, reachable};
use super::probe;
use super::process::{self, Spec, State, Supervised};
use super::running::Running;
use super::tiers::{Tier, Wiring};
use super::{Error, cluster, kafka, once, ports, terminal};

/// How many processes there are at most.
pub const PROCESSES: usize = 4;

/// How often somebody who waits is told what for.
const REMINDER: Duration = Duration::from_secs(10);

/// The in-memory broker is a new cluster each time, and has nothing that could be mixed up.
const MEMORY: &str = "memory";

/// What runs.
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
    /// Nothing runs yet. A process that is given up is told to `failed`.
    pub fn new(console: Console, failed: mpsc::Sender<process::Error>) -> Self {
        let force = CancellationToken::new();
        Self { console, failed, force, feed: None, running: None, processes: Vec::new() }
    }

    /// Cancel it to cut [`stop`](Self::stop) short.
    pub fn force(&self) -> CancellationToken {
        self.force.clone()
    }

    /// Starts everything; returns when `--once` is answered, else never.
    ///
    /// # Errors
    /// When something cannot be started, does not get ready in time, or cannot go on. What runs, runs on until
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
        // Where the topics stand must be known before the collector writes to them.
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
                .say(format!("the page serves after {:.1} s", began.elapsed().as_secs_f64()));
            if plan.args.once { Ok(()) } else { announce(reachable(plan.listen)) }
        };
        let analyzing = self.await_tier(Tier::Analyzer, &wiring, &mut analyzing, deadline);
        let ((), (), ledger) = tokio::try_join!(serving, analyzing, ledger)?;

        let collecting = if plan.args.topic.is_none() {
            Some(self.start(plan.tiers.spec(Tier::Collector, &wiring), broker))
        } else {
            None
        };
        let collecting = async {
            if let Some(mut state) = collecting {
                let ready = self.await_tier(Tier::Collector, &wiring, &mut state, deadline).await;
                // A feed of others may come later; ours is there.
                if let (Err(error), Some(_)) = (ready, &feed) {
                    return error;
                }
            }
            std::future::pending().await
        };
        let working = async {
            match (ledger, &feed) {
                (Some(ledger), Some(feed)) => {
                    let page = reachable(plan.listen);
                    once::answer(&plan.asked.analysis, page, ledger, feed, &self.console).await
                }
                _ => terminal::show(reachable(plan.listen), feed.as_deref(), &self.console).await,
            }
        };
        tokio::select! {
            outcome = working => outcome,
            error = collecting => Err(error),
        }
    }

    /// Stops what runs, the newest first, so that what is in flight gets as far as it can.
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

    /// Returns Kafka once it answers, and the broker's state if it is ours.
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

    /// Waits until a process is ready; what it said then. For ever if it is given up, which ends `up`.
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
