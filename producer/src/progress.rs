//! How far a batch is: a bar on a terminal, a plain line now and then elsewhere. Always on stderr.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use jailfleet_program::Moment;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What there is to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Jobs of the batch.
    pub jobs: usize,
    /// Jobs that the broker has taken, results included.
    pub confirmed: usize,
    /// Results stored.
    pub stored: usize,
    /// Results stored by earlier runs.
    pub resumed: usize,
    /// Lost workers whose jobs may still get a real result.
    pub held: usize,
    /// What the connection is in want of.
    pub trouble: Option<String>,
}

/// Shows how far a batch is.
#[derive(Debug)]
pub enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere.
    Plain {
        /// When the next line is due.
        due: Moment,
    },
}

impl Progress {
    /// A bar where stderr is a terminal, lines elsewhere.
    #[must_use]
    pub fn start(stand: &Stand) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Plain { due: PLAIN_EVERY };
        }
        let length = u64::try_from(stand.jobs).unwrap_or(u64::MAX);
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let style = style("{rate}  {elapsed_precise}, {eta} to go  {wide_msg}");
        bar.set_style(style);
        // What earlier runs stored must not count into this run's rate.
        bar.set_position(u64::try_from(stand.resumed).unwrap_or(0));
        bar.reset_eta();
        Self::Bar(bar)
    }

    /// Shows how far it is `now`.
    pub fn show(&mut self, stand: &Stand, now: Moment) {
        match self {
            Self::Bar(bar) => {
                bar.set_message(remark(stand));
                bar.set_position(u64::try_from(stand.stored).unwrap_or(u64::MAX));
            }
            Self::Plain { due } if now >= *due => {
                *due = now.saturating_add(PLAIN_EVERY);
                say(&plain(stand, now));
            }
            Self::Plain { .. } => {}
        }
    }

    /// Ends the show; a bar stays where it is, so that the terminal keeps it.
    pub fn finish(&mut self, stand: &Stand, now: Moment) {
        match self {
            Self::Bar(bar) => {
                bar.set_message(remark(stand));
                bar.set_position(u64::try_from(stand.stored).unwrap_or(u64::MAX));
                bar.set_style(style("{elapsed_precise}  {wide_msg}"));
                bar.abandon();
            }
            Self::Plain { .. } => say(&plain(stand, now)),
        }
    }
}

/// The bar, the count, and the rest of the line.
fn style(rest: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{{bar:30.green/dim}} {{pos}}/{{len}} results  {rest}"
    ))
    .expect("the template is well-formed")
    .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        write!(out, "{:.1}/s", state.per_sec()).expect("the bar's own buffer takes everything");
    })
    .progress_chars("━╸─")
}

/// Writes a line to stderr. Where that is closed, nobody reads it anyway.
pub fn say(line: &str) {
    if let Err(error) = writeln!(io::stderr().lock(), "{line}") {
        tracing::debug!(%error, "stderr is closed");
    }
}

/// What failed, and why, and why that.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    words
}

fn remark(stand: &Stand) -> String {
    let mut parts = Vec::new();
    if stand.confirmed < stand.jobs {
        parts.push(format!("{} published", stand.confirmed));
    }
    if stand.held > 0 {
        parts.push(format!("{} of lost workers", stand.held));
    }
    if let Some(trouble) = &stand.trouble {
        parts.push(format!("waiting for the broker: {trouble}"));
    }
    parts.join(", ")
}

fn plain(stand: &Stand, now: Moment) -> String {
    let seconds = now.as_secs_f64().max(0.001);
    let fresh = u32::try_from(stand.stored.saturating_sub(stand.resumed)).unwrap_or(u32::MAX);
    let rate = f64::from(fresh) / seconds;
    let mut line = format!("{}/{} results, {rate:.1}/s", stand.stored, stand.jobs);
    let remark = remark(stand);
    if !remark.is_empty() {
        line.push_str(", ");
        line.push_str(&remark);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_and_how_fast_and_what_is_wrong() {
        let stand = Stand {
            jobs: 100,
            confirmed: 60,
            stored: 50,
            resumed: 10,
            held: 2,
            trouble: Some("connection refused".to_owned()),
        };
        assert_eq!(
            plain(&stand, Duration::from_secs(4)),
            "50/100 results, 10.0/s, 60 published, 2 of lost workers, \
             waiting for the broker: connection refused"
        );
    }
}
