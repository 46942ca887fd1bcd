//! `millrace` as people use and misuse it: stopped and killed at every phase of a start, started twice, started
//! without what it needs, told things that contradict each other.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::fs::PermissionsExt as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use pipeline_tests::{
    Sandbox, binaries, eventually,
    process::{MARKER, Process, marked},
    sandbox::{run, scratch},
    within,
};
use tempfile::TempDir;

/// A `millrace` whose log is read while it runs, in a directory of its own.
struct Running {
    child: Child,
    directory: TempDir,
}

impl Running {
    fn start<S: AsRef<OsStr>>(arguments: &[S], environment: &[(&str, &str)]) -> Self {
        let (directory, path) = scratch();
        let log = File::create(path.join("log")).expect("a log");
        let child = Command::new(binaries().join("millrace"))
            .args(arguments)
            .envs(environment.iter().copied())
            .env("XDG_DATA_HOME", path.join("home"))
            .env(MARKER, &path)
            .stdin(Stdio::null())
            .stdout(File::create(path.join("out")).expect("a file for stdout"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("starting millrace");
        Self { child, directory }
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn stdout(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default()
    }

    fn await_log(&mut self, text: &str) {
        let log = || std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        let child = &mut self.child;
        eventually(&format!("'{text}' in the log"), || {
            let said = String::from_utf8_lossy(&log()).into_owned();
            let ended = child.try_wait().expect("waiting for a child");
            assert!(ended.is_none() || said.contains(text), "it has ended, {ended:?}: {said}");
            said.contains(text).then_some(())
        });
    }

    fn processes(&self) -> Vec<Process> {
        marked(self.directory.path().to_str().expect("a temporary directory's name is text"))
    }

    fn signal(&self, signal: Signal) {
        Process { pid: self.child.id().cast_signed(), name: "millrace".to_owned() }.signal(signal);
    }

    /// Its end, and that of everything it started.
    fn end(&mut self) -> ExitStatus {
        let status = eventually("the end of millrace", || {
            self.child.try_wait().expect("waiting for a child")
        });
        within(Duration::from_secs(20), "the end of all that it started", || {
            self.processes().is_empty().then_some(())
        });
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in self.processes() {
            process.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- its log\n{}--- its stdout\n{}", self.log(), self.stdout());
        }
    }
}

/// A PATH where Maven never ends, and a cache where nothing was fetched yet.
fn endless_fetch(directory: &Path) -> (String, String) {
    let bin = directory.join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    let maven = bin.join("mvn");
    std::fs::write(&maven, "#!/bin/sh\necho fetching for ever >&2\nexec sleep 600\n")
        .expect("a script");
    std::fs::set_permissions(&maven, std::fs::Permissions::from_mode(0o755)).expect("a script");
    let path = std::env::var("PATH").expect("a PATH");
    (format!("{}:{path}", bin.display()), directory.join("cache").display().to_string())
}

/// Starts `up`, once for each phase of a start, waits until it is there, and breaks it.
fn at_each_phase(mut broken: impl FnMut(&str, Running)) {
    let (_directory, path) = scratch();
    let (commands, cache) = endless_fetch(&path);
    let fetching = [("PATH", commands.as_str()), ("XDG_CACHE_HOME", cache.as_str())];
    let mut running = Running::start(&["up", "--port", "0"], &fetching);
    running.await_log("fetching for ever");
    broken("while Maven fetches", running);
    let mut running = Running::start(&["up", "--port", "0"], &[]);
    running.await_log("starting Apache Kafka");
    broken("while Apache Kafka starts", running);
    for phase in ["broker is ready", "analyzer is ready", "collector is ready"] {
        let mut running = Running::start(&["up", "--memory", "--port", "0"], &[]);
        running.await_log(phase);
        broken(phase, running);
    }
}

#[test]
fn killed_at_any_phase_of_a_start_it_leaves_no_process() {
    at_each_phase(|_, mut running| {
        running.signal(Signal::SIGKILL);
        running.end();
    });
}

#[test]
fn asked_to_stop_at_any_phase_of_a_start_it_ends_with_0_and_leaves_no_process() {
    // Under `nohup` the tests ignore SIGHUP, and so does what they start.
    let all = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];
    let heard = all.into_iter().filter(|signal| *signal != Signal::SIGHUP || !ignores_hangup());
    let mut signals = heard.collect::<Vec<_>>().into_iter().cycle();
    at_each_phase(|phase, mut running| {
        let signal = signals.next().expect("for ever");
        running.signal(signal);
        assert_eq!(running.end().code(), Some(0), "{signal} {phase}");
    });
}

fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("a mask").trim(), 16).expect("a mask");
    ignored & 1 == 1
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_stop() {
    let mut running = Running::start(&["up", "--memory", "--port", "0"], &[]);
    running.await_log("collector is ready");
    let analyzer = running.processes().into_iter().find(|one| one.name == "analyzer");
    analyzer.expect("an analyzer").signal(Signal::SIGSTOP);
    running.signal(Signal::SIGINT);
    running.await_log("stopping analyzer");
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().code(), Some(130));
}

#[test]
fn a_broker_that_is_not_there_ends_the_start_with_the_reason() {
    let arguments = ["up", "--once", "--events", "5", "--brokers", "127.0.0.1:1"];
    let mut running = Running::start(&[&arguments[..], &["--start-timeout", "1s"]].concat(), &[]);
    assert_eq!(running.end().code(), Some(1));
    let log = running.log();
    assert!(log.contains("127.0.0.1:1") && log.contains("refused"), "where and why");
    assert_eq!(running.stdout(), "");
}

#[test]
fn a_broker_that_stops_answering_in_mid_start_ends_the_start() {
    let arguments = ["up", "--memory", "--port", "0", "--start-timeout", "4s"];
    let mut running = Running::start(&arguments, &[]);
    running.await_log("broker is ready");
    let is_broker =
        |one: &Process| one.name == "millrace" && one.arguments().iter().any(|one| one == "broker");
    running.processes().into_iter().find(is_broker).expect("a broker").signal(Signal::SIGSTOP);
    assert_eq!(running.end().code(), Some(1));
    assert!(running.log().contains("is not ready after 4 s"), "what it waited for");
}

#[test]
fn a_second_up_on_the_same_data_says_who_holds_it() {
    let mut first = Running::start(&["up", "--memory", "--port", "0", "--data-dir", &data()], &[]);
    first.await_log("data in");
    let log = first.log();
    let path = log.split("data in ").nth(1).and_then(|rest| rest.lines().next()).expect("a path");
    let second = run("millrace", &["up", "--memory", "--port", "0", "--data-dir", path], &[]);
    assert_eq!(second.status.code(), Some(64));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("process {}", first.child.id())), "who: {said}");
    let reset = run("millrace", &["reset", "--yes", "--data-dir", path], &[]);
    assert_eq!(reset.status.code(), Some(64), "nothing is deleted under a running one");
    first.signal(Signal::SIGTERM);
    assert_eq!(first.end().code(), Some(0));
    let _ = std::fs::remove_dir_all(path);
}

/// A path for data that nobody else uses.
fn data() -> String {
    let (directory, path) = scratch();
    drop(directory);
    path.display().to_string()
}

/// A broker in memory, as a process of its own.
fn broker() -> (Running, String) {
    let broker = Running::start(&["broker"], &[]);
    let address = eventually("the broker's address", || {
        let address = broker.stdout().trim().to_owned();
        (!address.is_empty()).then_some(address)
    });
    (broker, address)
}

#[test]
fn data_that_belongs_to_one_cluster_is_not_published_to_another() {
    let data = data();
    let once = |brokers: &str| {
        let arguments =
            ["up", "--once", "--events", "20", "--brokers", brokers, "--data-dir", &data];
        run("millrace", &arguments, &[])
    };
    let ((_first, first), (_second, second)) = (broker(), broker());
    let answered = once(&first);
    assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    let refused = once(&second);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("millrace reset"), "what to do: {said}");
    let reset = run("millrace", &["reset", "--data-dir", &data], &[]);
    assert_eq!(reset.status.code(), Some(1), "it says what it would delete");
    assert!(String::from_utf8_lossy(&reset.stderr).contains("collector"));
    assert!(run("millrace", &["reset", "--yes", "--data-dir", &data], &[]).status.success());
    assert!(once(&second).status.success(), "the directory is free again");
    let _ = std::fs::remove_dir_all(&data);
}

#[test]
fn two_stacks_on_one_cluster_do_not_fence_each_other() {
    let (_broker, brokers) = broker();
    let arguments = ["up", "--brokers", &brokers, "--port", "0", "--rate", "50"];
    let mut stacks = [Running::start(&arguments, &[]), Running::start(&arguments, &[])];
    for stack in &mut stacks {
        stack.await_log("collector is ready");
    }
    let instances: Vec<String> = stacks
        .iter()
        .map(|stack| {
            let analyzer = stack.processes().into_iter().find(|one| one.name == "analyzer");
            let environment = analyzer.expect("an analyzer").environment();
            environment.get("ANALYZER__INSTANCE_ID").expect("a name in its groups").clone()
        })
        .collect();
    assert_ne!(instances[0], instances[1]);
    for stack in &mut stacks {
        stack.signal(Signal::SIGTERM);
        assert_eq!(stack.end().code(), Some(0));
        assert!(!stack.log().contains("starting it again"), "nobody was fenced: {}", stack.log());
    }
}

#[test]
fn flags_beat_the_environment_and_what_lost_is_told() {
    let environment = [
        ("ACCESS_API__LISTEN", "127.0.0.1:1"),
        ("ANALYZER__KAFKA__BROKERS", "127.0.0.1:1"),
        ("ANALYZER__SERVICE__ADMIN", "127.0.0.1:0"),
        ("MILLRACE_RATE", "1"),
    ];
    let arguments = ["up", "--once", "--memory", "--events", "50", "--max", "--port", "0"];
    let output = run("millrace", &arguments, &environment);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for told in [
        "--port 0 overrides ACCESS_API__LISTEN from the environment",
        "--memory overrides ANALYZER__KAFKA__BROKERS from the environment",
        "MILLRACE_RATE from the environment is not used",
    ] {
        assert!(said.contains(told), "'{told}' is missing in: {said}");
    }
}

#[test]
fn one_file_configures_every_tier_and_a_misspelt_key_is_named_with_its_line() {
    let (_directory, path) = scratch();
    let file = path.join("with a blank.toml");
    let once = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let arguments = ["up", "--once", "--memory", "--events", "200", "--config"];
        let file = file.to_str().expect("text");
        run("millrace", &[&arguments[..], &[file]].concat(), &[])
    };
    let query = "[[query]]\nname = 'cities'\nitem = '/group/group_city'\n";
    let output = once(&format!("{query}\n[analyzer]\nemit_interval_ms = 50\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let results = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(results.lines().count(), 2, "one query and the summary: {results}");
    assert!(results.contains("\"query\":\"cities\""), "{results}");

    for (text, line, nearest) in [
        ("[[query]]\nname = 'a'\nitm = '/x'\n", "line 3", "`item`"),
        ("\n[analyser]\ncapacity = 9\n", "line 2", "`analyzer`"),
        ("[analyzer]\ncapacty = 9\n", "line 2", "`capacity`"),
        ("[kafka]\nbrokr = 'a:1'\n", "line 2", "`brokers`"),
    ] {
        let refused = once(text);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{said}");
        for word in ["with a blank.toml", line, nearest] {
            assert!(said.contains(word), "{word} is missing in: {said}");
        }
    }
}

#[test]
fn a_limit_of_time_ends_it_with_124() {
    let arguments = ["up", "--once", "--memory", "--events", "100000", "--rate", "1"];
    let output = run("millrace", &[&arguments[..], &["--timeout", "6s"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(124), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tap_and_status_of_a_running_pipeline() {
    let mut sandbox = Sandbox::builder().memory().rate(200).start();
    sandbox.await_total("topics", 1);
    let url = sandbox.url("/v1/ws").replace("http://", "ws://");
    let tap = |arguments: &[&str]| run("millrace", &[&["tap"], arguments].concat(), &[]);

    let output = tap(&["topics", "--json", "--limit", "3", "--timeout", "60s", "--url", &url]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), said.lines().count()), (Some(0), 3), "{said}");
    assert!(said.lines().all(|line| line.contains("\"query\":\"topics\"")), "{said}");

    let output = tap(&["topcis", "--url", &url]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(66), "{said}");
    assert!(said.contains("topcis") && said.contains("topics_30m"), "which there are: {said}");

    let output = tap(&["--url", "ws://127.0.0.1:1/v1/ws", "--timeout", "500ms"]);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));

    let data = sandbox.directory().join("data");
    let data = data.to_str().expect("text").to_owned();
    let status = |flag: &str| run("millrace", &["status", "--data-dir", &data, flag], &[]);
    eventually("every tier is ready", || status("--json").status.success().then_some(()));
    let said = String::from_utf8_lossy(&status("--json").stdout).into_owned();
    for word in ["\"collector\"", "\"ready\":true", "\"pending_entries\":", "\"clients\":0"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
    sandbox.stop();
    assert_eq!(status("--json").status.code(), Some(69), "nobody runs there any more");
}

#[test]
fn a_topic_that_is_there_is_counted_without_a_collector() {
    let mut feed = Sandbox::builder().rate(200).start();
    feed.await_total("topics", 1);
    let brokers = feed.brokers();
    let topic = |name: &str| {
        let arguments = ["up", "--brokers", &brokers, "--port", "0", "--topic", name];
        Running::start(&arguments, &[])
    };
    let mut unknown = topic("raw-rsvp");
    assert_eq!(unknown.end().code(), Some(64));
    assert!(unknown.log().contains("raw-rsvps"), "the nearest: {}", unknown.log());

    let mut counting = topic("raw-rsvps");
    counting.await_log("analyzer is ready");
    let url = eventually("the address of the page", || {
        counting.stdout().strip_prefix("http://").map(|rest| format!("ws://{}v1/ws", rest.trim()))
    });
    let arguments = ["tap", "topics", "--json", "--limit", "1", "--timeout", "60s", "--url", &url];
    let output = run("millrace", &arguments, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!counting.processes().iter().any(|one| one.name == "collector"));
    counting.signal(Signal::SIGTERM);
    assert_eq!(counting.end().code(), Some(0));
    feed.stop();
}

#[test]
fn secrets_of_kafka_are_neither_printed_nor_in_the_log() {
    let secret = "zebra-crossing";
    let arguments = [
        "up",
        "--once",
        "--events",
        "5",
        "--brokers",
        "127.0.0.1:1",
        "--start-timeout",
        "1s",
        "-v",
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        "sasl.username=me",
    ];
    let password = format!("sasl.password={secret}");
    let mut running = Running::start(&[&arguments[..], &["-X", &password]].concat(), &[]);
    assert_eq!(running.end().code(), Some(1));
    assert!(!running.log().contains(secret));
}

#[test]
fn the_help_that_is_shown_before_a_build_is_the_commands() {
    let shown = include_str!("../../docs/help/up.txt");
    let output = run("millrace", &["up", "--help"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, shown, "millrace up --help > docs/help/up.txt");
}

#[test]
fn every_command_has_help_with_examples_and_exit_codes() {
    for command in
        ["up", "tap", "status", "reset", "doctor", "topics", "broker", "discover", "presets", "log"]
    {
        let output = run("millrace", &[command, "--help"], &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        for word in ["Examples:", "Exit codes:"] {
            assert!(said.contains(word), "{command}: {word} is missing in: {said}");
        }
    }
    let tiers = [("collector", "Kafka"), ("analyzer", "Counts"), ("access-api", "Serves")];
    for (tier, does) in tiers {
        let said = String::from_utf8(run(tier, &["--help"], &[]).stdout).expect("text");
        assert!(said.lines().next().is_some_and(|line| line.contains(does)), "{said}");
    }
    let completions = run("millrace", &["completions", "bash"], &[]);
    assert!(String::from_utf8_lossy(&completions.stdout).contains("millrace"));
    let doctor = run("millrace", &["doctor", "--memory"], &[]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("disk"));
}
