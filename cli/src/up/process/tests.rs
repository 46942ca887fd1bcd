use nix::sys::signal::kill;

use super::*;

/// A shell script as a process that is ready once it wrote a line.
fn script(text: &str) -> Spec {
    Spec {
        name: "script",
        program: "/bin/sh".into(),
        args: vec!["-c".into(), text.into()],
        env: vec![("WORD".to_owned(), "hello".into())],
        probe: Probe::FirstLine,
        grace: Duration::from_secs(60),
        restart: true,
    }
}

struct Watched {
    process: Supervised,
    state: watch::Receiver<State>,
    failures: mpsc::Receiver<Error>,
    force: CancellationToken,
    console: Console,
}

fn watched(spec: Spec) -> Watched {
    let (failed, failures) = mpsc::channel(1);
    let (console, force) = (Console::start(false).unwrap(), CancellationToken::new());
    let process = Supervised::start(spec, console.clone(), None, failed, force.clone());
    Watched { state: process.state(), process, failures, force, console }
}

impl Watched {
    async fn said(&mut self) -> String {
        let state = self.state.wait_for(|state| *state != State::Down).await.unwrap().clone();
        match state {
            State::Ready(said) => said,
            State::Down => unreachable!("waited for the contrary"),
        }
    }

    /// What it prints after a restart.
    async fn said_after(&mut self, earlier: Pid) -> String {
        let said = State::Ready(earlier.to_string());
        self.state.wait_for(|state| *state != State::Down && *state != said).await.unwrap();
        self.said().await
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

fn is_running(pid: Pid) -> bool {
    kill(pid, None).is_ok()
}

#[tokio::test]
async fn a_process_whose_parent_has_ended_before_it_was_guarded_does_not_start() {
    let another = std::os::unix::process::parent_id();
    let ended = guarded_by(another, Path::new("/bin/true")).status().await.unwrap();
    assert!(!ended.success());
    assert!(guarded(Path::new("/bin/true")).status().await.unwrap().success());
}

#[tokio::test]
async fn a_process_that_is_killed_from_outside_is_there_again() {
    let mut watched = watched(script("echo $$; exec sleep 1000"));
    let first = pid(&watched.said().await);
    kill(first, Signal::SIGKILL).unwrap();
    let second = pid(&watched.said_after(first).await);
    watched.process.stop(&watched.console).await;
    assert!(!is_running(second));
}

#[tokio::test]
async fn a_process_that_cannot_work_is_given_up_with_its_last_words() {
    let mut watched =
        watched(script("for i in $(seq 100); do echo $i; done; echo $WORD, no java >&2; exit 69"));
    let error = watched.failures.recv().await.unwrap().to_string();
    assert!(error.contains("exit status: 69") && error.contains("  hello, no java"), "{error}");
    assert!(!error.contains("  50\n"), "only the last lines: {error}");
}

#[tokio::test]
async fn a_process_that_must_not_be_restarted_is_given_up_when_it_ends() {
    let mut watched = watched(Spec { restart: false, ..script("echo $$; exec sleep 1000") });
    let pid = pid(&watched.said().await);
    kill(pid, Signal::SIGKILL).unwrap();
    let error = watched.failures.recv().await.unwrap();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut watched = watched(Spec { program: "/nowhere/collector".into(), ..script("") });
    let error = watched.failures.recv().await.unwrap().to_string();
    assert!(error.contains("/nowhere/collector"), "{error}");
}

#[tokio::test]
async fn stopping_asks_first() {
    let mut watched =
        watched(script("trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.05; done"));
    let pid = pid(&watched.said().await);
    watched.process.stop(&watched.console).await;
    assert!(!is_running(pid));
    assert!(watched.failures.recv().await.is_none(), "an asked-for end is no failure");
}

#[tokio::test]
async fn a_process_that_does_not_listen_is_killed_when_patience_ends() {
    let mut watched = watched(script("trap '' TERM; echo $$; while :; do sleep 0.05; done"));
    let pid = pid(&watched.said().await);
    let stopping = watched.process.stop(&watched.console);
    tokio::pin!(stopping);
    assert!(timeout(Duration::from_millis(50), &mut stopping).await.is_err());
    assert!(is_running(pid));
    watched.force.cancel();
    stopping.await;
    assert!(!is_running(pid));
}
