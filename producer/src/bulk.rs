//! `bulk`: publishes a file of jobs, collects their results, and goes on where it was stopped.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jailfleet::job::{JobId, Name};
use jailfleet::settings::ProducerSettings;
use jailfleet::wire::WireCaps;
use jailfleet_program::{Clock, output};
use jailfleet_queue::OutboxError;
use jailfleet_queue::amqp::producer::ReplyQueue;
use uuid::Uuid;

use crate::cli::{BulkArgs, Exit};
use crate::client::{Client, ClientError};
use crate::correlation::CorrelationId;
use crate::dedupe::{Ledger, PROVISIONAL_GRACE};
use crate::input::{BadLine, Defaults, Input, InputError, Line, hex};
use crate::journal::{Journal, JournalError, Replayed};
use crate::progress::say;
use crate::results::{Aside, ResultsError, ResultsFile};
use crate::summary::{Summary, Tally};

mod batch;

use batch::{Batch, End};

/// Why a batch stopped.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Lines of the input are no jobs.
    #[error("read {} of the lines of {path}, named above; nothing was published: correct them, or pass over them with --skip-bad", bad.len())]
    BadLines {
        /// The input.
        path: String,
        /// The lines.
        bad: Vec<BadLine>,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The results file.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// There are results, and no journal that says whose.
    #[error(
        "begin with {results}: it holds results already and has no journal beside it; give another --results, or move it away"
    )]
    Orphaned {
        /// The results file.
        results: String,
    },
    /// The journal knows of results that are gone.
    #[error(
        "go on with {results}: the result of line {line} was in it and is not any more; restore it, or give another --results"
    )]
    ResultsGone {
        /// The results file.
        results: String,
        /// A line without its result.
        line: u64,
    },
    /// The broker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A job could not be published.
    #[error("publish the job of line {line} (the same command goes on from here)")]
    Publish {
        /// The line.
        line: u64,
        /// Why.
        source: OutboxError,
    },
    /// Signals cannot be listened to, or stdout is closed.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl BulkError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Input(InputError::Changed { .. })
            | Self::Journal(JournalError::Io { .. })
            | Self::Results(ResultsError::Io { .. })
            | Self::Client(_)
            | Self::Publish { .. }
            | Self::Io { .. } => Exit::Failed,
            Self::Input(InputError::Io { .. } | InputError::NotAFile { .. })
            | Self::BadLines { .. }
            | Self::Journal(
                JournalError::Locked { .. }
                | JournalError::Damaged { .. }
                | JournalError::OtherInput { .. },
            )
            | Self::Results(ResultsError::Damaged { .. })
            | Self::Orphaned { .. }
            | Self::ResultsGone { .. } => Exit::BadInput,
        }
    }
}

/// One job of the batch. Its number is its place in the ledger.
#[derive(Debug)]
struct Seat {
    line: Line,
    id: JobId,
    correlation: CorrelationId,
    planned: bool,
    confirmed: bool,
}

/// Runs a batch to its end, or as far as it comes.
///
/// # Errors
/// When the input, the journal or the results file do not do, and when publishing fails. All that
/// was done is in the journal: the same call goes on.
pub async fn run(settings: &ProducerSettings, args: &BulkArgs) -> Result<Exit, BulkError> {
    let mut batch = prepare(settings, args)?;
    let end = if batch.is_complete() && batch.closed {
        say("every job has its result from earlier runs: nothing to do");
        End::Complete
    } else {
        work(settings, &mut batch).await?
    };
    let tally = batch.tally();
    let summary = &batch.summary;
    let text = if args.json {
        format!("{}\n", summary.to_json(&tally))
    } else {
        summary.to_table(&tally)
    };
    output::print(text.as_bytes()).map_err(|source| BulkError::Io {
        action: "write the summary to stdout",
        source,
    })?;
    Ok(match end {
        End::Stopped => Exit::Stopped,
        End::Quiet => Exit::Incomplete,
        End::Complete if summary.unknown() + summary.ours() > 0 => Exit::Doubtful,
        End::Complete if tally.conflicts + tally.unreadable > 0 => Exit::Doubtful,
        End::Complete => Exit::Done,
    })
}

async fn work(settings: &ProducerSettings, batch: &mut Batch) -> Result<End, BulkError> {
    let mut client = Client::connect_as(settings, batch.pools(), batch.journal.reply()).await?;
    let end = batch.run(&mut client, settings).await;
    batch.hand_back().await;
    batch.journal.sync()?;
    match end {
        Ok(End::Complete) => {
            if client.close().await == ReplyQueue::Deleted {
                batch.journal.closed();
                batch.journal.sync()?;
            }
        }
        // Results may come while nobody runs: their queue must be there.
        Ok(End::Quiet) => {
            let hindered = client.trouble().or_else(|| batch.full());
            client.leave().await;
            let wait = settings.producer.idle_timeout_ms.duration().as_secs();
            let why = match hindered {
                Some(trouble) => format!("{trouble}."),
                None => "is a worker running? Results that found their queue gone or full: \
                         `jailfleet-producer lost list`."
                    .to_owned(),
            };
            say(&format!(
                "gave up after {wait} s without news: {why} The same command goes on"
            ));
        }
        Ok(End::Stopped) => {
            client.leave().await;
            say("stopped; the same command goes on");
        }
        Err(_) => client.leave().await,
    }
    end
}

/// Reads the input and what earlier runs left, and refuses what does not fit together.
fn prepare(settings: &ProducerSettings, args: &BulkArgs) -> Result<Batch, BulkError> {
    let mut input = checked_input(settings, args)?;
    let shown = || args.results.display().to_string();
    let journal_path = beside(&args.results, ".journal");
    if !journal_path.exists() && holds_anything(&args.results) {
        return Err(BulkError::Orphaned { results: shown() });
    }
    let fresh = format!("bulk-{}", Uuid::now_v7().simple());
    let (journal, replayed) = Journal::open(&journal_path, &input.sha256, &fresh)?;
    let seats = seats(&mut input, &replayed);
    let mut ledger = Ledger::new(PROVISIONAL_GRACE);
    let mut summary = Summary::default();
    let results = read_results(settings, args, &seats, &mut ledger, &mut summary)?;
    let mut waiting = VecDeque::new();
    for (job, seat) in seats
        .iter()
        .enumerate()
        .filter(|(job, _)| !ledger.is_stored(*job))
    {
        let line = seat.line.number;
        if replayed.jobs.get(&line).is_some_and(|known| known.received) {
            return Err(BulkError::ResultsGone {
                results: shown(),
                line,
            });
        }
        if !seat.confirmed {
            waiting.push_back(job);
        }
    }
    let tally = Tally {
        jobs: seats.len(),
        skipped: input.bad.len(),
        resumed: ledger.stored(),
        conflicts: replayed.jobs.values().map(|known| known.conflicts).sum(),
        ..Tally::default()
    };
    Ok(Batch {
        clock: Clock::start(),
        input,
        seats,
        journal,
        results,
        aside: Aside::at(beside(&args.results, ".aside")),
        ledger,
        summary,
        tally,
        held: HashMap::new(),
        waiting,
        pause_until: Duration::ZERO,
        full: None,
        closed: replayed.closed,
    })
}

/// Reads the input, and says at once all that is wrong with it.
fn checked_input(settings: &ProducerSettings, args: &BulkArgs) -> Result<Input, BulkError> {
    let defaults = Defaults {
        pool: settings.producer.pool.clone(),
        lane: settings.producer.lane,
        batch: args.batch.clone(),
        caps: WireCaps {
            body_bytes: settings.producer.message_bytes,
            ..WireCaps::default()
        },
    };
    let input = Input::open(&args.jobs, defaults)?;
    for bad in &input.bad {
        say(&bad.to_string());
    }
    if input.bad.is_empty() || args.skip_bad {
        return Ok(input);
    }
    Err(BulkError::BadLines {
        path: args.jobs.display().to_string(),
        bad: input.bad,
    })
}

/// Opens the results file and enters what it holds into the books: it is the last word on which
/// jobs are done.
fn read_results(
    settings: &ProducerSettings,
    args: &BulkArgs,
    seats: &[Seat],
    ledger: &mut Ledger,
    summary: &mut Summary,
) -> Result<ResultsFile, BulkError> {
    let mut by_id = HashMap::new();
    for seat in seats {
        let job = ledger.expect(seat.id.clone(), seat.correlation);
        by_id.insert(seat.id.clone(), job);
    }
    // A line may be a little longer than the message was: an id is added to one without.
    let line_bytes = settings.producer.result_bytes.saturating_mul(2);
    let results = ResultsFile::open(&args.results, line_bytes, |content| {
        let id = content.result.job_id.as_ref().ok_or("has no job_id")?;
        let job = by_id
            .get(id)
            .ok_or_else(|| format!("{id} is no job of this batch"))?;
        if ledger.is_stored(*job) {
            return Err(format!("is a second result of {id}"));
        }
        ledger.restore(*job, &content.digest);
        summary.add(&content.result);
        Ok(())
    })?;
    Ok(results)
}

/// The jobs in the order of their lines, with the ids and secrets of earlier runs.
fn seats(input: &mut Input, replayed: &Replayed) -> Vec<Seat> {
    let lines = std::mem::take(&mut input.lines);
    let seat = |line: Line| match replayed.jobs.get(&line.number) {
        // The digest of the whole input is equal, so that this can only be the same line.
        Some(known) if known.sha256 == hex(&line.sha256) => Seat {
            id: known.id.clone(),
            correlation: known.correlation,
            planned: true,
            confirmed: known.confirmed,
            line,
        },
        Some(_) | None => Seat {
            id: line.id.clone().unwrap_or_else(fresh_id),
            correlation: CorrelationId::random(),
            planned: false,
            confirmed: false,
            line,
        },
    };
    lines.into_iter().map(seat).collect()
}

/// A new id, which sorts by the time of its making.
#[must_use]
pub fn fresh_id() -> JobId {
    JobId::parse(&Uuid::now_v7().to_string()).expect("a UUID has only characters of an id")
}

fn beside(results: &Path, suffix: &str) -> PathBuf {
    let mut name = results.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn holds_anything(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

impl Batch {
    /// The pools that jobs of this batch go to.
    fn pools(&self) -> Vec<Name> {
        let mut pools: Vec<Name> = self
            .seats
            .iter()
            .map(|seat| seat.line.pool.clone())
            .collect();
        pools.sort();
        pools.dedup();
        pools
    }
}
