//! Structured logs on stderr, as text for people or JSON for machines.

use std::io::{IsTerminal, stderr};

use jailfleet::settings::{LogFormat, LogSection};
use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// The AMQP client shouts about every closed channel, also of a look that is expected to fail. The
/// doors handle each such failure and say once what is to be said, so that it is silent unless the
/// setting names it.
const AMQP_CLIENT: &str = "lapin";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The setting does not parse.
    #[error(
        "read log.level {value:?}: expected error, warn, info, debug, trace, or targets like info,lapin=debug"
    )]
    Level {
        /// What was given.
        value: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("set up logging twice in one process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Whether logs can be sent as the settings say. The words know no filters, so that a wrong one is
/// found here and not where the rest of the configuration is read.
///
/// # Errors
/// When the level does not parse.
pub fn check(log: &LogSection) -> Result<(), LoggingError> {
    targets(log).map(drop)
}

fn targets(log: &LogSection) -> Result<Targets, LoggingError> {
    log.level.parse().map_err(|source| LoggingError::Level {
        value: log.level.clone(),
        source,
    })
}

/// Sends logs to stderr as the settings say.
///
/// # Errors
/// When the level does not parse, or logging was set up before.
pub fn start(log: &LogSection) -> Result<(), LoggingError> {
    let mut targets = targets(log)?;
    if !log.level.contains(AMQP_CLIENT) {
        targets = targets.with_target(AMQP_CLIENT, LevelFilter::OFF);
    }
    let lines = match log.format {
        LogFormat::Text => fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(stderr)
            .with_ansi(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init()
        .map_err(LoggingError::Twice)
}
