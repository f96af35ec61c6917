//! `compare`: the same jobs on a codejail service and on our fleet, and in what they differ.
//!
//! What is compared is what a caller of `safe_exec` has in hand, as the platform's own dark launch does
//! it: the globals by Python's `==`, and `emsg` after some normalisation.

use std::io;
use std::time::Duration;

use jailfleet::job::Name;
use jailfleet::settings::ProducerSettings;
use jailfleet::wire::WireCaps;
use jailfleet_program::output;

use crate::bulk::fresh_id;
use crate::cli::{CompareArgs, Exit};
use crate::client::{Client, ClientError};
use crate::input::{BadLine, Defaults, Input, InputError};
use crate::progress::say;

mod value;
mod emsg;
mod answer;
mod request;
mod service;
mod report;
mod both;

use both::{Both, End, Party};
pub use service::Service;

/// Why the comparison stopped.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Lines of the input are no jobs, or none that a codejail service can run.
    #[error("read {} of the lines of {path}, named above; nothing was sent: correct them, or pass over them with --skip-bad", bad.len())]
    BadLines {
        /// The input.
        path: String,
        /// The lines.
        bad: Vec<BadLine>,
    },
    /// A line is no more what it was.
    #[error("read line {line} again: {what}")]
    Changed {
        /// The line.
        line: u64,
        /// What is wrong with it now.
        what: String,
    },
    /// The broker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Signals cannot be waited for.
    #[error("listen to signals")]
    Signals(#[source] io::Error),
    /// The report cannot be printed.
    #[error("write the report to stdout")]
    Print(#[source] io::Error),
}

impl CompareError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Input(InputError::Io { .. } | InputError::NotAFile { .. })
            | Self::BadLines { .. } => Exit::BadInput,
            Self::Input(InputError::Changed { .. })
            | Self::Changed { .. }
            | Self::Client(_)
            | Self::Signals(_)
            | Self::Print(_) => Exit::Failed,
        }
    }
}

/// What there is to do, all of it looked at.
struct Settled {
    input: Input,
    service: Service,
    within: Duration,
    answer_bytes: usize,
    parallel: usize,
    show: usize,
    json: bool,
}

/// Compares, and prints what was found.
///
/// # Errors
/// When the input does not do, the broker cannot be reached, or nobody reads the report.
pub async fn run(settings: &ProducerSettings, args: &CompareArgs) -> Result<Exit, CompareError> {
    let settled = Settled {
        input: checked_input(settings, args)?,
        service: args.codejail_url.clone(),
        within: Duration::from_secs(args.timeout),
        answer_bytes: settings.producer.result_bytes,
        parallel: usize::from(args.parallel),
        show: usize::from(args.show),
        json: args.json,
    };
    let mut client = Client::connect(settings, pools(&settled.input)).await?;
    let mut both = Both::new(&settled);
    let end = both.run(&mut client).await;
    client.close().await;
    let end = end?;
    let missing = both.missing();
    let report = &mut both.report;
    let text = if args.json {
        format!("{}\n", report.summary(missing))
    } else {
        report.table(missing)
    };
    output::print(text.as_bytes()).map_err(CompareError::Print)?;
    match end {
        End::Complete => {}
        End::Silent(Party::Codejail) => {
            say("jailfleet-producer: gave up: the codejail service gives no answers");
        }
        End::Silent(Party::Jailfleet) => {
            say("jailfleet-producer: gave up: the fleet gives no answers");
        }
        End::Stopped => {
            say("jailfleet-producer: stopped");
            return Ok(Exit::Stopped);
        }
    }
    Ok(if report.different > 0 {
        say(&format!(
            "jailfleet-producer: {} jobs differ",
            report.different
        ));
        Exit::Failed
    } else if missing + report.not_compared > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

/// Reads the input, and says at once all that is wrong with it.
fn checked_input(settings: &ProducerSettings, args: &CompareArgs) -> Result<Input, CompareError> {
    let defaults = Defaults {
        pool: settings.producer.pool.clone(),
        lane: settings.producer.lane,
        batch: None,
        caps: WireCaps {
            body_bytes: settings.producer.message_bytes,
            ..WireCaps::default()
        },
    };
    let mut input = Input::open(&args.jobs, defaults)?;
    let mut able = Vec::new();
    for line in std::mem::take(&mut input.lines) {
        let id = line.id.clone().unwrap_or_else(fresh_id);
        match request::of(&input.job(&line, &id)?) {
            Ok(_request) => able.push(line),
            Err(what) => input.bad.push(BadLine {
                number: line.number,
                what,
            }),
        }
    }
    input.lines = able;
    input.bad.sort_by_key(|bad| bad.number);
    for bad in &input.bad {
        say(&bad.to_string());
    }
    if input.bad.is_empty() || args.skip_bad {
        return Ok(input);
    }
    Err(CompareError::BadLines {
        path: args.jobs.display().to_string(),
        bad: input.bad,
    })
}

/// The pools that jobs of the input go to.
fn pools(input: &Input) -> Vec<Name> {
    let mut pools: Vec<Name> = input.lines.iter().map(|line| line.pool.clone()).collect();
    pools.sort();
    pools.dedup();
    pools
}
