//! How much a command logs on stderr.

use std::io::{IsTerminal, Write};

use common::config::Service;
use common::telemetry;

/// Flags of every command.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Verbosity {
    /// Say more; twice for everything
    #[arg(short, long, global = true, display_order = 900, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Say only what goes wrong
    #[arg(short, long, global = true, display_order = 901, conflicts_with = "verbose")]
    quiet: bool,
}

impl Verbosity {
    /// Whether only what goes wrong is reported.
    pub const fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Logs to the writers that `writer` makes, one line for each event.
    pub fn log_to<W: Write + 'static>(self, writer: impl Fn() -> W + Send + Sync + 'static) {
        self.init(writer, false);
    }

    /// Logs to stderr.
    pub fn log_to_stderr(self) {
        self.init(std::io::stderr, std::io::stderr().is_terminal());
    }

    fn init<W: Write + 'static>(
        self,
        writer: impl Fn() -> W + Send + Sync + 'static,
        colour: bool,
    ) {
        let service = Service { log_filter: self.own().to_owned(), ..Service::default() };
        if let Err(error) = telemetry::init_to(&service, writer, colour) {
            eprintln!("millrace: {error}");
        }
    }

    /// What this process logs. librdkafka is silent by default, because it repeats at every attempt what the command
    /// reports once in its own words.
    const fn own(self) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "error,librdkafka=off,rdkafka=off",
            (false, 0) => "warn,librdkafka=off,rdkafka=off",
            (false, 1) => "info,cli=debug,common=debug",
            (false, _) => "debug",
        }
    }

    /// What the tiers log if nothing else is configured.
    pub const fn of_tiers(self) -> Option<&'static str> {
        match (self.quiet, self.verbose) {
            (true, _) => Some("warn"),
            (false, 0) => None,
            (false, 1) => Some("info,collector=debug,analyzer=debug,access_api=debug,common=debug"),
            (false, _) => Some("debug"),
        }
    }
}
