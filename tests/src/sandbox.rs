//! A running pipeline: `millrace up` as people start it, observed from outside.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Outcome, binaries, eventually, free_port,
    outcome::Published,
    process::{MARKER, Process, marked},
    topics::Topics,
    within,
};

/// Held by the one sandbox that may exist in a process at a time, because two pipelines would slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long a run of `--once` may take.
const RUN: Duration = Duration::from_secs(300);

/// A running `millrace up`, or several of them one after another on the same data.
pub struct Sandbox {
    up: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    port: u16,
    directory: TempDir,
    started: Instant,
    extra: Vec<Child>,
    runtime: Runtime,
    http: reqwest::Client,
    _alone: MutexGuard<'static, ()>,
}

/// What to start. By default it is Apache Kafka and the synthetic feed, and runs until it is stopped.
#[derive(Default)]
pub struct Builder {
    input: Option<Stdio>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

// === impl Builder ===

impl Builder {
    /// Uses the in-memory broker.
    pub fn memory(self) -> Self {
        self.argument("--memory")
    }

    /// Uses a broker that is running already.
    pub fn brokers(self, brokers: &str) -> Self {
        self.argument("--brokers").argument(brokers)
    }

    /// Serves a recording instead of the synthetic feed.
    pub fn recording(self, path: &Path) -> Self {
        self.argument("--recording").argument(path)
    }

    /// Sends this many lines per second.
    pub fn rate(self, rate: u32) -> Self {
        self.argument("--rate").argument(rate.to_string())
    }

    /// Sends lines as fast as possible.
    pub fn max(self) -> Self {
        self.argument("--max")
    }

    /// Prints the results and ends when the feed ends.
    pub fn once(self) -> Self {
        self.argument("--once")
    }

    /// Sets the standard input; by default there is none.
    pub fn input(mut self, input: impl Into<Stdio>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Adds any argument of `up`.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable for `up`, and so for every tier.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts `up`, and does not wait until it is ready.
    pub fn start(self) -> Sandbox {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::Builder::new()
            .prefix("millrace-test-")
            .tempdir()
            .expect("a directory for the sandbox");
        let port = free_port();
        let stdout = Arc::default();
        let started = Instant::now();
        let up = self.spawn(directory.path(), port, &stdout);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .expect("an HTTP client");
        Sandbox {
            up,
            stdout,
            port,
            directory,
            started,
            extra: Vec::new(),
            runtime,
            http,
            _alone: alone,
        }
    }

    fn spawn(self, directory: &Path, port: u16, stdout: &Arc<Mutex<Vec<String>>>) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("up.log"))
            .expect("the log of up");
        let mut up = Command::new(binaries().join("millrace"))
            .arg("up")
            .args(&self.arguments)
            .args(["--port", &port.to_string(), "--data-dir"])
            .arg(directory.join("data"))
            .env(MARKER, directory)
            .envs(self.environment)
            .stdin(self.input.unwrap_or_else(Stdio::null))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("starting millrace");
        let lines = Arc::clone(stdout);
        let pipe = BufReader::new(up.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        up
    }
}

// === impl Sandbox ===

impl Sandbox {
    /// A builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Host and port of the dashboard and the API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of this path of the dashboard or the API.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// When `up` was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The sandbox's directory, which is removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything that `up` and all tiers have written to stderr so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("up.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All lines on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All live processes that this sandbox started, including `up` and orphans.
    pub fn processes(&self) -> Vec<Process> {
        marked(self.directory.path().to_str().expect("a temporary directory's name is text"))
    }

    /// The process of this name that `up` runs now (`collector`, `analyzer`, `access-api`, `java`), once there is one.
    pub fn process(&mut self, name: &str) -> Process {
        let extra: Vec<u32> = self.extra.iter().map(Child::id).collect();
        eventually(&format!("a process named {name}"), || {
            self.assert_running();
            // Before it starts anything, `up` runs the analyzer to ask for its queries; that process does not count.
            self.processes().into_iter().find(|one| {
                let arguments = one.arguments();
                one.name == name
                    && !extra.contains(&one.pid.cast_unsigned())
                    // It has none when it has ended meanwhile.
                    && arguments.iter().any(|argument| !argument.is_empty())
                    && !arguments.iter().any(|argument| argument == "--dump-config")
            })
        })
    }

    /// Kills the process of this name with -9.
    pub fn kill9(&mut self, name: &str) -> Process {
        let process = self.process(name);
        process.signal(Signal::SIGKILL);
        process
    }

    /// Kills a process of this name with -9 if there is one now. Returns whether there was.
    pub fn kill9_if_running(&self, name: &str) -> bool {
        let found = self.processes().into_iter().find(|one| one.name == name);
        if let Some(process) = &found {
            process.signal(Signal::SIGKILL);
        }
        found.is_some()
    }

    /// Waits up to `time` for the end of `up`. Returns whether it ended.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        within(time + RUN, "the end of up, or of the time", || {
            let ended = self.up.try_wait().expect("waiting for a child").is_some();
            (ended || Instant::now() >= until).then_some(ended)
        })
    }

    /// The host and port of Kafka, as `up` has told the analyzer.
    pub fn brokers(&mut self) -> String {
        self.environment()
            .get("ANALYZER__KAFKA__BROKERS")
            .expect("up tells the analyzer where Kafka is")
            .clone()
    }

    /// Kafka's topics, for reading.
    pub fn topics(&mut self) -> Topics {
        Topics::at(&self.brokers())
    }

    /// What `up` has told the analyzer.
    fn environment(&mut self) -> HashMap<String, String> {
        eventually("the environment of the analyzer", || {
            let environment = self.process("analyzer").environment();
            // It is empty when the process has ended meanwhile.
            environment.contains_key(MARKER).then_some(environment)
        })
    }

    /// Starts another analyzer beside the one that `up` runs, and returns its process id.
    pub fn start_analyzer(&mut self, instance: &str) -> u32 {
        let environment = self.environment();
        let log = File::options()
            .append(true)
            .open(self.directory.path().join("up.log"))
            .expect("the log of up");
        let child = Command::new(binaries().join("analyzer"))
            .env_clear()
            .envs(environment)
            .env("ANALYZER__INSTANCE_ID", instance)
            .env("ANALYZER__SERVICE__ADMIN", format!("127.0.0.1:{}", free_port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starting a second analyzer");
        let pid = child.id();
        self.extra.push(child);
        pid
    }

    /// Waits until an analyzer that [`Sandbox::start_analyzer`] started has at least this many partitions to count.
    pub fn await_assignment(&mut self, pid: u32, partitions: u32) {
        let process = Process { pid: pid.cast_signed(), name: "analyzer".to_owned() };
        eventually(&format!("{partitions} partitions for the second analyzer"), || {
            self.assert_running();
            let metrics = self.metrics_of(&process)?;
            let assigned = metrics.sum("millrace_analyzer_assigned_partitions{stage=\"tally\"}");
            (assigned >= f64::from(partitions)).then_some(())
        });
    }

    /// Stops an analyzer that [`Sandbox::start_analyzer`] started, as Kubernetes would, and waits for its end.
    pub fn stop_analyzer(&mut self, pid: u32) -> ExitStatus {
        self.end_analyzer(pid, Signal::SIGTERM)
    }

    /// Kills an analyzer that [`Sandbox::start_analyzer`] started with -9.
    pub fn kill_analyzer(&mut self, pid: u32) {
        self.end_analyzer(pid, Signal::SIGKILL);
    }

    fn end_analyzer(&mut self, pid: u32, signal: Signal) -> ExitStatus {
        let at = self.extra.iter().position(|child| child.id() == pid).expect("a started analyzer");
        let mut child = self.extra.remove(at);
        Process { pid: pid.cast_signed(), name: "analyzer".to_owned() }.signal(signal);
        eventually("the second analyzer's end", || child.try_wait().expect("waiting for a child"))
    }

    /// `GET path` from the access-api: status and body, or `None` while it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.fetch(&self.url(path))
    }

    /// The newest result of a query, if the access-api has it.
    pub fn result(&self, query: &str) -> Option<Published> {
        let (status, body) = self.get(&format!("/v1/queries/{query}"))?;
        (status == 200).then(|| serde_json::from_str(&body).expect("a published result"))
    }

    /// Waits until a query's total is at least this, and returns the result.
    pub fn await_total(&mut self, query: &str, total: u64) -> Published {
        within(RUN, &format!("{query} with a total of {total}"), || {
            self.assert_running();
            self.result(query).filter(|result| result.total >= total)
        })
    }

    /// `GET path` from a tier's admin port.
    pub fn admin(&mut self, tier: &str, path: &str) -> Option<(u16, String)> {
        let process = self.process(tier);
        self.admin_of(&process, path)
    }

    /// The metrics of a tier at this moment.
    pub fn metrics(&mut self, tier: &str) -> Option<Metrics> {
        let process = self.process(tier);
        self.metrics_of(&process)
    }

    fn metrics_of(&self, process: &Process) -> Option<Metrics> {
        self.admin_of(process, "/metrics").map(|(_, text)| Metrics { text })
    }

    fn admin_of(&self, process: &Process, path: &str) -> Option<(u16, String)> {
        let name = format!("{}__SERVICE__ADMIN", process.name.to_uppercase().replace('-', "_"));
        self.fetch(&format!("http://{}{path}", process.environment().get(&name)?))
    }

    /// Asks `up` to stop, as Ctrl-C and Kubernetes do.
    pub fn stop(self) -> Outcome {
        Process { pid: self.up.id().cast_signed(), name: "millrace".to_owned() }
            .signal(Signal::SIGTERM);
        self.finish()
    }

    /// Waits for the end of `up`, and panics if a process of it is left.
    pub fn finish(mut self) -> Outcome {
        self.wait()
    }

    /// Waits for the end of `up`, then runs it once more on the same data.
    pub fn finish_and_restart(&mut self, next: Builder) -> Outcome {
        let outcome = self.wait();
        self.port = free_port();
        self.stdout = Arc::default();
        self.started = Instant::now();
        self.up = next.spawn(self.directory.path(), self.port, &self.stdout);
        outcome
    }

    /// Asks `up` to stop, then does the same as [`Sandbox::finish_and_restart`].
    pub fn stop_and_restart(&mut self, next: Builder) -> Outcome {
        Process { pid: self.up.id().cast_signed(), name: "millrace".to_owned() }
            .signal(Signal::SIGTERM);
        self.finish_and_restart(next)
    }

    fn wait(&mut self) -> Outcome {
        let status =
            within(RUN, "the end of up", || self.up.try_wait().expect("waiting for a child"));
        for child in &mut self.extra {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.extra.clear();
        let left = self.processes();
        assert!(left.is_empty(), "up has ended and left these behind: {left:?}");
        Outcome { status, stdout: self.stdout(), stderr: self.log() }
    }

    /// Fails the test at once if `up` has ended, so that it need not wait for a limit.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.up.try_wait().expect("waiting for a child") {
            panic!("up has ended with {status}");
        }
    }

    fn fetch(&self, url: &str) -> Option<(u16, String)> {
        self.runtime.block_on(async {
            let response = self.http.get(url).send().await.ok()?;
            Some((response.status().as_u16(), response.text().await.ok()?))
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) {
            Process { pid: self.up.id().cast_signed(), name: "millrace".to_owned() }
                .signal(Signal::SIGTERM);
            let patience = Instant::now() + Duration::from_secs(10);
            while Instant::now() < patience && matches!(self.up.try_wait(), Ok(None)) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        // Kills what did not stop by itself.
        for process in self.processes() {
            process.signal(Signal::SIGKILL);
        }
        for child in self.extra.iter_mut().chain([&mut self.up]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the last of {} lines of up's log", lines.len());
            for line in &lines[lines.len().saturating_sub(80)..] {
                eprintln!("{}", line.get(..400).unwrap_or(line));
            }
            eprintln!("--- stdout");
            for line in self.stdout() {
                eprintln!("{}", line.get(..400).unwrap_or(&line));
            }
        }
    }
}

/// The text of a tier's `/metrics`.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) text: String,
}

impl Metrics {
    /// The sum of all series whose name and labels begin with this.
    pub fn sum(&self, prefix: &str) -> f64 {
        let series = self.text.lines().filter(|line| line.starts_with(prefix));
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Whether there is a series whose name and labels begin with this.
    pub fn has(&self, prefix: &str) -> bool {
        self.text.lines().any(|line| line.starts_with(prefix))
    }
}

/// Runs one of the binaries to its end, for tests that need no pipeline.
pub fn run(binary: &str, arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    Command::new(binaries().join(binary))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("running {binary}: {error}"))
}

/// A temporary directory for files that are made before there is a sandbox.
pub fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::Builder::new()
        .prefix("millrace-test-")
        .tempdir()
        .expect("a directory for a test");
    let path = directory.path().to_path_buf();
    (directory, path)
}
