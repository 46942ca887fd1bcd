//! One child process: started, watched until it is ready, restarted when it ends, and stopped at the end.
//!
//! Children must end with `up` even if it is killed with -9. Therefore they are started through
//! `setpriv --pdeathsig KILL`, which replaces itself by the child's program. If `up` has ended before that signal was
//! asked for, the child ends at once. The kernel sends that signal when the
//! **thread** that started the child ends, so `up` starts every process from its main thread, the only
//! thread of its runtime. Each child has a process group of its own, so that a terminal's Ctrl-C reaches only `up`,
//! which stops the children in order. Signals go to the whole group, because the script that starts Kafka runs
//! programs of its own (Maven, when it fetches the jars), which must end with it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::console::Console;
use super::probe::Probe;
use super::restart::{Exit, Life, Policy, Verdict};

/// The longest log line in bytes; a longer one is split.
const MAX_LINE: u64 = 64 << 10;
/// How many log lines are repeated when a process is given up.
const TAIL: usize = 12;
/// How long `up` waits for the last lines of a process that has ended.
const TAIL_DEADLINE: Duration = Duration::from_millis(300);

/// What to start and how to treat it.
#[derive(Debug)]
pub struct Spec {
    /// The name in the logs.
    pub name: &'static str,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables that are added to the environment of `up`.
    pub env: Vec<(String, OsString)>,
    /// How it shows that it is ready.
    pub probe: Probe,
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
    /// Whether it is started again when it ends.
    pub restart: bool,
}

/// The state of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is not running, or not ready.
    Down,
    /// It is ready; with its first line on stdout, for [`Probe::FirstLine`].
    Ready(String),
}

/// Why a process is given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started at all.
    #[error("cannot start {name} ({program}): {source}")]
    Spawn {
        /// The process.
        name: &'static str,
        /// The executable.
        program: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It has ended and is not started again.
    #[error("{name} ended ({status}) and is not started again; its last lines were:\n{tail}")]
    GaveUp {
        /// The process.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its last log lines.
        tail: String,
    },
}

impl Error {
    /// Whether trying again can help. It cannot: `up` has tried already.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Spawn { .. } | Self::GaveUp { .. } => false,
        }
    }
}

/// A process under supervision.
#[derive(Debug)]
pub struct Supervised {
    name: &'static str,
    tail: Tail,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts `spec` and keeps it running. If it is given up, the error is sent to `failed`. Failures while `needs` is
    /// down do not count. Cancelling `force` kills it without the grace period.
    pub fn start(
        spec: Spec,
        console: Console,
        needs: Option<watch::Receiver<State>>,
        failed: mpsc::Sender<Error>,
        force: CancellationToken,
    ) -> Self {
        let (tell, state) = watch::channel(State::Down);
        let stop = CancellationToken::new();
        let name = spec.name;
        let tail = Tail::default();
        let supervisor = Supervisor {
            spec,
            console,
            needs,
            force,
            stop: stop.clone(),
            tell,
            tail: tail.clone(),
        };
        let task = tokio::spawn(async move {
            if let Err(error) = supervisor.run().await {
                // It fails only when another failure has already made `up` stop.
                let _told = failed.try_send(error);
            }
        });
        Self { name, tail, state, stop, task }
    }

    /// Its newest log lines.
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// A receiver of its state.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// A token; cancelling it stops the process as [`stop`](Self::stop) does. Its state has no sender any more when it
    /// has ended.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops it: SIGTERM, the grace period, SIGKILL.
    pub async fn stop(self, console: &Console) {
        if !self.task.is_finished() {
            console.say(format!("stopping {}", self.name));
        }
        self.stop.cancel();
        // The task has reported how the process ended.
        let _ended = self.task.await;
    }
}

struct Supervisor {
    spec: Spec,
    console: Console,
    needs: Option<watch::Receiver<State>>,
    force: CancellationToken,
    stop: CancellationToken,
    tell: watch::Sender<State>,
    tail: Tail,
}

/// How one run of a process ended.
enum Ending {
    Stopped,
    Ended { status: ExitStatus, life: Life, tail: String },
}

impl Supervisor {
    async fn run(mut self) -> Result<(), Error> {
        let mut policy = Policy::default();
        loop {
            let (status, life, tail) = match self.live().await? {
                Ending::Stopped => return Ok(()),
                Ending::Ended { status, life, tail } => (status, life, tail),
            };
            let name = self.spec.name;
            match policy.after(life) {
                Verdict::Restart(delay) if self.spec.restart => {
                    self.console.warn(format!("{name} ended ({status}); starting it again"));
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.stop.cancelled() => return Ok(()),
                    }
                }
                Verdict::Restart(_) | Verdict::GiveUp => {
                    return Err(Error::GaveUp { name, status, tail });
                }
            }
        }
    }

    /// Starts the process, and waits until it ends or is stopped.
    async fn live(&mut self) -> Result<Ending, Error> {
        if let Some(needs) = &mut self.needs {
            needs.mark_unchanged();
        }
        let started = Instant::now();
        let mut child = self.spawn()?;
        let group = group(&child);
        let tail = self.tail.clone();
        tail.clear();
        let (said, mut first_line) = watch::channel(None);
        let logs = [
            child.stdout.take().map(|out| tokio::spawn(self.pump(out, tail.clone(), Some(said)))),
            child.stderr.take().map(|err| tokio::spawn(self.pump(err, tail.clone(), None))),
        ];
        let probe = self.spec.probe;
        let mut readiness = Box::pin(probe.ready(&mut first_line));
        let mut ready = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                said = &mut readiness, if !ready => {
                    ready = true;
                    let took = started.elapsed().as_secs_f64();
                    self.console.say(format!("{} is ready after {took:.1} s", self.spec.name));
                    self.tell.send_replace(State::Ready(said));
                }
                () = self.stop.cancelled() => {
                    self.tell.send_replace(State::Down);
                    self.end(child).await;
                    drain(logs).await;
                    return Ok(Ending::Stopped);
                }
            }
        };
        self.tell.send_replace(State::Down);
        signal_group(group, Signal::SIGKILL);
        drain(logs).await;
        let status = status.map_err(|source| self.spawn_error(source))?;
        let excused = self.needs.as_ref().is_some_and(|needs| {
            *needs.borrow() == State::Down || needs.has_changed().unwrap_or(true)
        });
        let life = Life { exit: Exit::of(status), lasted: started.elapsed(), ready, excused };
        Ok(Ending::Ended { status, life, tail: tail.text() })
    }

    fn spawn(&self) -> Result<Child, Error> {
        guarded(&self.spec.program)
            .args(&self.spec.args)
            .envs(self.spec.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.spawn_error(source))
    }

    fn spawn_error(&self, source: std::io::Error) -> Error {
        Error::Spawn {
            name: self.spec.name,
            program: self.spec.program.display().to_string(),
            source,
        }
    }

    /// Asks `child` to end, and kills it if it does not.
    async fn end(&self, mut child: Child) {
        let group = group(&child);
        signal_group(group, Signal::SIGTERM);
        let name = self.spec.name;
        let late = tokio::select! {
            biased;
            () = self.force.cancelled() => true,
            ended = timeout(self.spec.grace, child.wait()) => ended.is_err(),
        };
        if late {
            self.console.warn(format!("{name} did not end in time: killing it"));
        }
        // This is done even if it has ended, because programs that it started may still run.
        signal_group(group, Signal::SIGKILL);
        let _ended = child.wait().await;
    }

    /// Copies log lines to the console, and keeps the newest.
    fn pump(
        &self,
        from: impl AsyncRead + Unpin + Send + 'static,
        tail: Tail,
        first: Option<watch::Sender<Option<String>>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (console, name) = (self.console.clone(), self.spec.name);
        async move {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            loop {
                line.clear();
                match (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line).await {
                    Ok(read) if read > 0 => {}
                    Ok(_) | Err(_) => return,
                }
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if let Some(first) = first.as_ref().filter(|first| first.borrow().is_none()) {
                    first.send_replace(Some(text.clone()));
                }
                tail.push(text.clone());
                console.line(name, text);
            }
        }
    }
}

async fn drain(logs: [Option<JoinHandle<()>>; 2]) {
    for log in logs.into_iter().flatten() {
        // A grandchild may hold the pipe open, so that the wait is limited.
        let _late = timeout(TAIL_DEADLINE, log).await;
    }
}

/// The newest log lines of a process.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The newest line, or a text that says that there is none.
    pub fn newest(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .back()
            .map_or_else(|| "it has said nothing".to_owned(), |line| format!("it said: {line}"))
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}

/// Starts its arguments, unless another process than its first one is its parent by now.
const IF_PARENT_LIVES: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// A command that is killed when this thread ends, through util-linux's `setpriv`, which is essential on Debian. On a
/// system without it a killed `up` leaves its children behind.
pub fn guarded(program: &Path) -> Command {
    guarded_by(std::process::id(), program)
}

/// The same for a thread of the process `parent`. A parent that ends before the child has asked for its signal would
/// never cause it, so that the child looks afterwards whether it still has this parent.
fn guarded_by(parent: u32, program: &Path) -> Command {
    match super::programs::in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "/bin/sh", "-c", IF_PARENT_LIVES]);
            command.arg(parent.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The process group that `child` leads.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It fails when the group has ended already, which is the goal.
        let _gone = killpg(group, signal);
    }
}

#[cfg(test)]
mod tests;
