//! The processes of one `up`, in the order in which they start and stop.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::args::Args;
use super::console::Console;
use super::data_dir::DataDir;
use super::feed::RunningFeed;
use super::ledger::Ledger;
use super::process::{self, Spec, State, Supervised};
use super::tiers::{Analysis, Tiers, Wiring};
use super::{Error, kafka, once, ports, status};
use crate::simulate::{Feed, SyntheticOptions};

/// How many processes there are at most.
pub const PROCESSES: usize = 4;

/// How often somebody who waits for the broker is told so.
const REMINDER: Duration = Duration::from_secs(10);

/// What is to be run: everything that can be wrong with the command was looked at.
pub struct Plan {
    args: Args,
    feed: Feed,
    tiers: Tiers,
    analysis: Analysis,
    dir: DataDir,
    listen: SocketAddr,
}

impl Plan {
    /// Checks the command before anything is started.
    ///
    /// # Errors
    /// What is wrong with it, or with the machine.
    pub async fn new(args: Args) -> Result<Self, Error> {
        if args.once && args.recording.is_none() && args.events.is_none() {
            return Err(Error::Endless);
        }
        args.pace().check()?;
        let dir = if args.keeps_data() {
            DataDir::kept(args.data_dir.as_deref())?
        } else {
            DataDir::temporary()?
        };
        let feed = match &args.recording {
            Some(recording) => Feed::recording(recording, dir.path())?,
            None => Feed::synthetic(SyntheticOptions {
                events: args.events,
                ..SyntheticOptions::default()
            })?,
        };
        let tiers = Tiers::find()?;
        let analysis = tiers.analysis().await?;
        let feed = tiers.taken().await?.fit(feed);
        let listen = listen(args.dashboard_port())?;
        Ok(Self { args, feed, tiers, analysis, dir, listen })
    }
}

/// Where the dashboard will be. The user's own variable wins, as for everything that tiers are told.
fn listen(port: u16) -> Result<SocketAddr, Error> {
    let chosen = std::env::var("ACCESS_API__LISTEN").ok().and_then(|address| address.parse().ok());
    let address = match chosen {
        Some(address) => address,
        None if port == 0 => {
            let [free] = ports::free().map_err(Error::Ports)?;
            SocketAddr::from((Ipv4Addr::LOCALHOST, free))
        }
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    };
    TcpListener::bind(address).map_err(|source| Error::Port { address, source })?;
    Ok(address)
}

/// What runs.
pub struct Stack {
    console: Console,
    failed: mpsc::Sender<process::Error>,
    force: CancellationToken,
    feed: Option<Arc<RunningFeed>>,
    /// In the order in which they were started.
    processes: Vec<Supervised>,
}

impl Stack {
    /// Nothing runs yet. A process that is given up is told to `failed`.
    pub fn new(console: Console, failed: mpsc::Sender<process::Error>) -> Self {
        Self { console, failed, force: CancellationToken::new(), feed: None, processes: Vec::new() }
    }

    /// Cancel it to cut [`stop`](Self::stop) short.
    pub fn force(&self) -> CancellationToken {
        self.force.clone()
    }

    /// Starts everything; returns when `--once` is answered, else never.
    ///
    /// # Errors
    /// When something cannot be started or go on. What runs, runs on until [`stop`](Self::stop).
    pub async fn run(&mut self, plan: &Plan) -> Result<(), Error> {
        let began = Instant::now();
        self.console.say(format!("data in {}", plan.dir.path().display()));
        if plan.feed.scratch().is_some() {
            self.console.say("the recording is copied there while it is served");
        }
        let feed = RunningFeed::start(plan.feed.clone(), plan.args.pace(), plan.args.truth.clone())
            .await?;
        let feed = Arc::clone(self.feed.insert(Arc::new(feed)));
        let (brokers, broker) = self.start_broker(plan).await?;
        let [collector, analyzer, access_api] = ports::free().map_err(Error::Ports)?;
        let admin = [collector, analyzer, access_api];
        let (listen, feed_id) = (plan.listen, feed.id().to_owned());
        let wiring = Wiring { brokers, feed: feed.url(), feed_id, listen, admin };

        let kafka = plan.analysis.kafka(&wiring.brokers);
        let mut serving = self.start(plan.tiers.access_api(&wiring), broker.clone());
        let mut analyzing = self.start(plan.tiers.analyzer(&wiring), broker.clone());
        // Where the topics stand must be known before the collector writes to them.
        let ledger =
            async { if plan.args.once { Ledger::open(&kafka).await.map(Some) } else { Ok(None) } };
        let serving = async {
            ready(&mut serving).await;
            self.console
                .say(format!("the page serves after {:.1} s", began.elapsed().as_secs_f64()));
            if plan.args.once { Ok(()) } else { announce(plan.listen) }
        };
        let (served, _, ledger) = tokio::join!(serving, ready(&mut analyzing), ledger);
        served?;
        let ledger = ledger?;
        self.start(plan.tiers.collector(&wiring, &plan.dir), broker);

        match ledger {
            Some(ledger) => {
                once::answer(&plan.analysis, plan.listen, ledger, &feed, &self.console).await
            }
            None => status::show(plan.listen, &feed, &self.console).await,
        }
    }

    /// Stops what runs, the newest first, so that what is in flight gets as far as it can.
    ///
    /// # Errors
    /// When the truth cannot be written.
    pub async fn stop(self) -> Result<(), Error> {
        let mut truth = Ok(());
        if let Some(feed) = self.feed {
            feed.stop().await;
            truth = feed.write_truth().await;
        }
        for process in self.processes.into_iter().rev() {
            process.stop(&self.console).await;
        }
        truth
    }

    /// Returns the bootstrap servers once they answer, and the broker if it is ours.
    async fn start_broker(
        &mut self,
        plan: &Plan,
    ) -> Result<(String, Option<watch::Receiver<State>>), Error> {
        if let Some(brokers) = &plan.args.brokers {
            return Ok((brokers.clone(), None));
        }
        let port = ports::for_kafka().map_err(Error::Ports)?;
        let spec = if plan.args.memory {
            self.console.say("starting the in-memory broker");
            kafka::memory(plan.analysis.partitions()).map_err(Error::Thread)?
        } else {
            self.console.say("starting Apache Kafka");
            kafka::apache(&plan.dir, port).map_err(Error::KafkaFiles)?
        };
        let mut broker = self.start(spec, None);
        let said = loop {
            tokio::select! {
                said = ready(&mut broker) => break said,
                () = tokio::time::sleep(REMINDER) => self.console.say("waiting for the broker"),
            }
        };
        let brokers = if plan.args.memory { said } else { format!("127.0.0.1:{port}") };
        Ok((brokers, Some(broker)))
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
}

/// Waits until a process is ready; what it said then. For ever if it is given up, which ends `up`.
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
