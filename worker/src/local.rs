//! `local`: a file of jobs through the embedded door and the same walls, no broker.

use std::collections::BTreeMap;

use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use jailfleet::outcome::Outcome;
use jailfleet::wire;
use jailfleet_program::output::unless_nobody_reads;
use jailfleet_program::{Clock, Moment};
use jailfleet_queue::embedded::{EMBEDDED_REPLY, EmbeddedProducer, EmbeddedSender};
use jailfleet_queue::{JobMessage, ResultMessage};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::cli::Exit;
use crate::supervisor::Ending;

mod files;

pub use files::Files;
use files::{Jobs, Results, read_line};

/// Jobs that wait in the embedded door: enough to keep every slot busy, little to keep in memory.
pub const DOOR_CAPACITY: usize = 64;
/// Lines read ahead of the door.
const LINES_AHEAD: usize = 16;
/// How often progress is said where nobody can see a line change in place.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The same on a terminal.
const PROGRESS_EVERY_ON_TERMINAL: Duration = Duration::from_millis(200);

/// Why a local run failed.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The jobs cannot be read.
    #[error("read the jobs from {path}")]
    Jobs {
        /// From where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The results cannot be written.
    #[error("write the results to {path}")]
    Results {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The line's own id and lane where it has them; else a name by its number, as a client would give
/// it. Whether the line is a job is decided elsewhere.
fn message_of(line: Vec<u8>, number: u64, pool: &Name, now: u64) -> JobMessage {
    let value: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
    let text = |key: &str| value.as_ref()?.get(key)?.as_str();
    let lane = text("lane")
        .and_then(|lane| Lane::parse(lane).ok())
        .unwrap_or(Lane::Bulk);
    let id = text("id").map_or_else(|| format!("line-{number}"), str::to_owned);
    JobMessage {
        message_id: id,
        correlation_id: Some(number.to_string()),
        reply_to: Some(EMBEDDED_REPLY.to_owned()),
        pool: pool.clone(),
        lane,
        published_ms: Some(now),
        traceparent: None,
        body: Bytes::from(line),
    }
}

/// How far a local run has come, and what came out.
#[derive(Debug, Default)]
struct Tally {
    submitted: Option<u64>,
    outcomes: BTreeMap<Outcome, u64>,
    received: u64,
    said: Moment,
}

impl Tally {
    fn complete(&self) -> bool {
        self.submitted
            .is_some_and(|submitted| self.received >= submitted)
    }

    fn exit(&self) -> Exit {
        let ours = self.outcomes.keys().any(|outcome| match outcome {
            Outcome::EngineFault | Outcome::WorkerLost | Outcome::Other => true,
            Outcome::Exited
            | Outcome::Signaled
            | Outcome::CpuLimit
            | Outcome::WallLimit
            | Outcome::MemoryLimit
            | Outcome::OutputLimit
            | Outcome::Rejected
            | Outcome::Expired
            | Outcome::Cancelled => false,
        });
        if self.complete() && !ours {
            Exit::Done
        } else {
            Exit::Incomplete
        }
    }

    fn words(&self) -> String {
        let counts: Vec<String> = self
            .outcomes
            .iter()
            .map(|(outcome, count)| format!("{outcome} {count}"))
            .collect();
        let of = self
            .submitted
            .map(|submitted| format!(" of {submitted}"))
            .unwrap_or_default();
        format!("{}{of} results: {}", self.received, counts.join(", "))
    }

    /// Words and progress belong on stderr: stdout is data.
    fn say(&mut self, now: Moment, last: bool) {
        let terminal = io::stderr().is_terminal();
        let every = if terminal {
            PROGRESS_EVERY_ON_TERMINAL
        } else {
            PROGRESS_EVERY
        };
        if !last && now.saturating_sub(self.said) < every {
            return;
        }
        self.said = now;
        match (terminal, last) {
            (true, false) => eprint!("\r\x1b[K{}", self.words()),
            (true, true) => eprintln!("\r\x1b[K{}", self.words()),
            (false, _) => eprintln!("{}", self.words()),
        }
    }
}

/// Sends every line through the door and writes every result. `served` tells how the worker ended
/// if it ends by itself; `stop` makes it end when all is done.
///
/// # Errors
/// When the jobs cannot be read or the results not written.
pub async fn pump(
    files: Files,
    mut producer: EmbeddedProducer,
    pool: Name,
    cap: usize,
    clock: Clock,
    stop: mpsc::Sender<()>,
) -> Result<Exit, LocalError> {
    let Files {
        jobs_path,
        jobs,
        results_path,
        mut results,
    } = files;
    let writing = |source| LocalError::Results {
        path: results_path.clone(),
        source,
    };
    let (lines, lines_read) = mpsc::channel(LINES_AHEAD);
    let (read, mut all_read) = oneshot::channel();
    let mut feeding = tokio::task::JoinSet::new();
    let sender = producer.sender();
    feeding.spawn_blocking(move || {
        if read.send(read_lines(jobs, cap, &lines)).is_err() {
            tracing::debug!("nobody waited for the end of the input");
        }
    });
    feeding.spawn(async move { submit(lines_read, sender, &pool, clock).await });

    let mut tally = Tally::default();
    let mut trouble = None;
    while !tally.complete() {
        tokio::select! {
            outcome = &mut all_read, if tally.submitted.is_none() && trouble.is_none() => {
                match outcome {
                    Ok(Ok(count)) => tally.submitted = Some(count),
                    Ok(Err(source)) => trouble = Some(source),
                    Err(_closed) => trouble = Some(io::Error::other("the reader broke off")),
                }
                if trouble.is_some() { break }
            }
            result = producer.next_result() => match result {
                Some(result) => {
                    match take(&mut tally, &mut results, &result) {
                        Ok(()) => tally.say(clock.now(), false),
                        // Whoever read the results has had enough: more of them are of use to nobody.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                        Err(error) => return Err(writing(error)),
                    }
                }
                None => break,
            },
        }
    }
    tally.say(clock.now(), true);
    unless_nobody_reads(results.finish(&results_path)).map_err(&writing)?;
    feeding.abort_all();
    if stop.send(()).await.is_err() {
        tracing::debug!("the worker had ended by itself");
    }
    match trouble {
        Some(source) => Err(LocalError::Jobs {
            path: jobs_path,
            source,
        }),
        None => Ok(tally.exit()),
    }
}

fn take(tally: &mut Tally, results: &mut Results, result: &ResultMessage) -> io::Result<()> {
    tally.received += 1;
    match wire::decode_result(&result.body) {
        Ok(decoded) => *tally.outcomes.entry(decoded.outcome).or_default() += 1,
        Err(error) => tracing::error!(%error, "a result of ours does not parse"),
    }
    results.line(&result.body)
}

fn read_lines(jobs: Jobs, cap: usize, lines: &mpsc::Sender<(u64, Vec<u8>)>) -> io::Result<u64> {
    let mut reader: Box<dyn BufRead> = match jobs {
        Jobs::Stdin => Box::new(io::stdin().lock()),
        Jobs::File(file) => Box::new(BufReader::new(file)),
    };
    let (mut number, mut sent) = (0, 0);
    while let Some(line) = read_line(&mut reader, cap)? {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if lines.blocking_send((number, line)).is_err() {
            break; // The worker is ending.
        }
        sent += 1;
    }
    Ok(sent)
}

async fn submit(
    mut lines: mpsc::Receiver<(u64, Vec<u8>)>,
    door: EmbeddedSender,
    pool: &Name,
    clock: Clock,
) {
    while let Some((number, line)) = lines.recv().await {
        let message = message_of(line, number, pool, clock.epoch_ms().0);
        if door.submit(message).await.is_err() {
            tracing::debug!("the worker's side of the door closed before all jobs were in");
            return;
        }
    }
}

/// How the whole ends, from how the worker and the pump ended.
#[must_use]
pub fn exit_of(ending: Ending, pumped: Exit) -> Exit {
    match ending {
        Ending::WardenGone => Exit::WardenGone,
        Ending::HandedBack => Exit::HandedBack,
        Ending::Breached => Exit::Breached,
        Ending::Broken => Exit::Failed,
        Ending::Clean => pumped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_an_id_is_named_by_its_line() {
        let pool = Name::parse("default").expect("a name");
        let message = message_of(b"{\"v\":1}".to_vec(), 7, &pool, 0);
        assert_eq!(message.message_id, "line-7");
        let message = message_of(b"not json".to_vec(), 8, &pool, 0);
        assert_eq!(message.message_id, "line-8");
        let line = br#"{"id":"x","lane":"interactive"}"#.to_vec();
        let message = message_of(line, 9, &pool, 0);
        assert_eq!(
            (message.message_id.as_str(), message.lane),
            ("x", Lane::Interactive)
        );
    }
}
