//! The life of a tier's process: flags, configuration, telemetry, admin port, run, drain.
//!
//! Exit codes: 0 after a clean stop, 1 when the tier failed or did not drain in time, 2 for flags
//! that do not parse, 64 for a configuration that cannot be used (`EX_USAGE` of sysexits).

use std::future::Future;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use clap::{Args, Command, FromArgMatches};
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Readiness};
use crate::clock::Clock;
use crate::config::{self, Flags, TierConfig};
use crate::metrics::Factory;
use crate::trace::{self, Tracer};
use crate::{output, telemetry};

/// How long the last spans may take to be sent, if the drain deadline leaves as much.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Exit code of a configuration that cannot be used.
pub const EXIT_CONFIG: u8 = 64;

/// A service of Millrace. Its `main` is one line: `common::tier::main::<T>()`.
pub trait Tier {
    /// The command's name, which is also the prefix of its environment variables.
    const NAME: &'static str;
    /// What it does, for `--help`.
    const ABOUT: &'static str;
    /// Its configuration.
    type Config: TierConfig;
    /// Why it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Works until `host.shutdown` is cancelled, then drains and returns.
    fn run(
        config: Self::Config,
        host: Host,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What a process gives to the tier that runs in it.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where the tier registers its metrics.
    pub registry: prometheus::Registry,
    /// Where the tier says whether it can work.
    pub readiness: Readiness,
    /// Cancelled when the process is asked to stop.
    pub shutdown: CancellationToken,
    /// Takes the tier's spans.
    pub tracer: Tracer,
}

/// Runs the tier until it ends. A tier's `main` consists of this call.
pub fn main<T: Tier>() -> ExitCode {
    // The text of the tier comes last, because that of the flags is a description too.
    let command = Flags::augment_args(Command::new(T::NAME))
        .version(env!("CARGO_PKG_VERSION"))
        .about(T::ABOUT)
        .after_help(format!(
            "Any key can also come from the environment: {}__SECTION__KEY=value",
            T::NAME.to_uppercase().replace('-', "_")
        ));
    let flags =
        Flags::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let environment = config::environment();
    let config: T::Config = match config::load(T::NAME, &flags, &environment) {
        Ok(config) => config,
        Err(error) => return misconfigured::<T>(&error),
    };
    if flags.dump_config {
        return match config::to_toml(&config) {
            Ok(text) => match output::print(&text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{}: cannot write to stdout: {error}", T::NAME);
                    ExitCode::FAILURE
                }
            },
            Err(error) => misconfigured::<T>(&error),
        };
    }
    if let Err(error) = telemetry::init(config.service()) {
        return misconfigured::<T>(&error);
    }
    for lost in config::overridden(T::NAME, &flags, &environment) {
        tracing::info!("{lost}");
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(live::<T>(config));
            // Does not wait for threads that still block, because the drain deadline is over for them.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

fn misconfigured<T: Tier>(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("{}: bad configuration\n{error}", T::NAME);
    ExitCode::from(EXIT_CONFIG)
}

impl Host {
    /// The host of the tier of this name, with the metrics that every tier has: which of its conditions hold, its
    /// version, and what its process uses. It traces nothing.
    ///
    /// # Errors
    /// When the name makes no name of a metric.
    pub fn new(tier: &str) -> prometheus::Result<Self> {
        let host = Self {
            registry: prometheus::Registry::new(),
            readiness: Readiness::default(),
            shutdown: CancellationToken::new(),
            tracer: Tracer::off(),
        };
        let tier = tier.replace('-', "_");
        let make = Factory::new(&host.registry, &tier);
        let readiness = host.readiness.clone();
        make.read_gauges(
            "condition",
            "1 while this condition of /ready holds, else 0",
            "condition",
            move || {
                readiness.conditions().into_iter().map(|(name, holds)| (name, i64::from(holds)))
            },
        )?;
        let (help, version) = ("1; the label says which version runs", env!("CARGO_PKG_VERSION"));
        let build = make.gauges("build_info", help, "version", [version])?;
        build.with_label_values(&[version]).set(1);
        #[cfg(target_os = "linux")]
        host.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(host)
    }
}

async fn live<T: Tier>(config: T::Config) -> ExitCode {
    let mut host = match Host::new(T::NAME) {
        Ok(host) => host,
        Err(error) => {
            tracing::error!(%error, "cannot make the metrics");
            return ExitCode::FAILURE;
        }
    };
    let clock = Clock::new(config.service());
    let (tracer, exporter) = match trace::start(config.trace(), T::NAME, clock, &host.registry) {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, "cannot start tracing; remove trace.endpoint to go without");
            return ExitCode::FAILURE;
        }
    };
    host.tracer = tracer;
    let started = host.readiness.condition("started");
    let address = config.service().admin;
    match admin::serve(address, host.registry.clone(), host.readiness.clone()).await {
        Ok(bound) => {
            tracing::info!(tier = T::NAME, admin = %bound, version = env!("CARGO_PKG_VERSION"), "starting")
        }
        Err(error) => {
            tracing::error!(%address, %error, "cannot bind the admin port; set service.admin to a free address");
            return ExitCode::FAILURE;
        }
    }
    let deadline = Duration::from_millis(config.service().drain_deadline_ms);
    let shutdown = host.shutdown.clone();
    let run = T::run(config, host);
    tokio::pin!(run);
    let asked_to_stop = async {
        // The tier is polled first (`biased`), so it has added its own conditions by now.
        started.set();
        stop_signal().await;
    };
    let mut left = deadline;
    let outcome = tokio::select! {
        biased;
        outcome = &mut run => outcome,
        () = asked_to_stop => {
            tracing::info!(deadline_ms = deadline.as_millis(), "stopping");
            shutdown.cancel();
            let asked = Instant::now();
            tokio::select! {
                outcome = &mut run => {
                    left = deadline.saturating_sub(asked.elapsed());
                    outcome
                }
                () = tokio::time::sleep(deadline) => {
                    tracing::error!("did not drain in time; the next start will finish the rest");
                    return ExitCode::FAILURE;
                }
                () = stop_signal() => {
                    tracing::error!("stopped at once by a second signal");
                    return ExitCode::FAILURE;
                }
            }
        }
    };
    exporter.finish(LAST_SPANS.min(left)).await;
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = %Chain(&error), "failed");
            ExitCode::FAILURE
        }
    }
}

/// The signals that ask a process to stop: SIGTERM, SIGINT, and SIGHUP, which comes when the terminal is closed.
/// A process that was started with SIGHUP ignored (`nohup`) keeps ignoring it.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Starts listening; no signal that comes after this call is missed.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn listen() -> std::io::Result<Self> {
        let ignored = *HANGUP_IS_IGNORED;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Resolves at the next signal.
    pub async fn next(&mut self) {
        let Self { terminate, interrupt, hangup } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Resolves at the first signal to stop that comes after the first poll, see [`StopSignals`].
pub async fn stop_signal() {
    match StopSignals::listen() {
        Ok(mut signals) => signals.next().await,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals; only kill -9 will stop this process");
            std::future::pending().await
        }
    }
}

/// Whether SIGHUP was ignored when the process started. It is read once, because a listener changes it.
static HANGUP_IS_IGNORED: LazyLock<bool> = LazyLock::new(|| {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, 1))
});

/// Whether `/proc/PID/status` says that the process ignores the signal of this number.
fn ignores(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// An error with all its causes, in one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            // Many errors print their cause themselves.
            let said = error.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn every_tier_says_which_conditions_hold_which_version_it_is_and_what_its_process_uses() {
        let host = Host::new("access-api").unwrap();
        let scrape = || TextEncoder::new().encode_to_string(&host.registry.gather()).unwrap();
        let kafka = host.readiness.condition("kafka");
        let results = host.readiness.condition("results");
        results.set();
        let text = scrape();
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            "millrace_access_api_condition{condition=\"kafka\"} 0",
            "millrace_access_api_condition{condition=\"results\"} 1",
            &format!("millrace_access_api_build_info{{version=\"{version}\"}} 1"),
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is missing in: {text}");
        }
        #[cfg(target_os = "linux")]
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        kafka.set();
        results.unset("reading again");
        let text = scrape();
        assert!(text.contains("millrace_access_api_condition{condition=\"kafka\"} 1"), "{text}");
        assert!(text.contains("millrace_access_api_condition{condition=\"results\"} 0"), "{text}");
    }

    #[test]
    fn a_process_under_nohup_ignores_the_hangup_and_another_does_not() {
        let status = |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000003\nSigIgn:\t{mask}\n");
        assert!(ignores(&status("0000000000001001"), 1));
        assert!(!ignores(&status("0000000000001000"), 1));
        assert!(!ignores("", 1));
    }
}
