//! Structured logs on stderr, as text for people or JSON for machines.

use std::io::{IsTerminal, stderr};

use jailfleet::settings::{LogFormat, LogSection};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Sends logs to stderr as the settings say.
///
/// # Errors
/// What is wrong with the level, or that logging was set up before.
pub(crate) fn start(log: &LogSection) -> Result<(), String> {
    let targets: Targets = log.level.parse().map_err(|error| {
        format!(
            "read log.level {:?}: {error}; use error, warn, info, debug, trace",
            log.level
        )
    })?;
    // The client library calls each question that is answered with "no such queue" an error. What
    // does fail, our own loops report. Who wants to see its lines names it in the level.
    let targets = if log.level.contains("lapin") {
        targets
    } else {
        targets.with_target("lapin", LevelFilter::OFF)
    };
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
        .map_err(|error| format!("start logging: {error}"))
}
