//! Log output: one line for each event, on standard error, as text for people or JSON for machines.
//! Standard output is left to what a command was asked to print.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, Service};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error(
        "service.log_filter: '{filter}' is not a log filter ({source}); write for example info or info,analyzer=debug"
    )]
    Filter {
        /// What was configured.
        filter: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber was installed before.
    #[error("logging was set up twice in one process")]
    AlreadySet,
}

/// Installs the process's subscriber.
///
/// # Errors
/// When the filter does not parse, or a subscriber is installed already.
pub fn init(service: &Service) -> Result<(), Error> {
    init_to(service, std::io::stderr, std::io::stderr().is_terminal())
}

/// As [`init`], but writes the lines to `writer`. `colour` says whether text lines are coloured.
///
/// # Errors
/// As [`init`].
pub fn init_to<W>(service: &Service, writer: W, colour: bool) -> Result<(), Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&service.log_filter)
        .map_err(|source| Error::Filter { filter: service.log_filter.clone(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match service.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_ansi(colour).try_init(),
    }
    .map_err(|_| Error::AlreadySet)
}
