//! `local`: a file of jobs through the embedded door and the same walls, no broker.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jailfleet::job::{Lane, Name};
use jailfleet::outcome::Outcome;
use jailfleet::wire;
use jailfleet_queue::embedded::{EMBEDDED_REPLY, EmbeddedProducer, EmbeddedSender};
use jailfleet_queue::{JobMessage, ResultMessage};
use tempfile::NamedTempFile;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::cli::{Exit, LocalArgs};
use crate::clock::{Clock, Moment};
use crate::supervisor::Ending;

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

/// The files of a local run, opened before the privileges are given up.
#[derive(Debug)]
pub struct Files {
    jobs_path: PathBuf,
    jobs: Jobs,
    results_path: PathBuf,
    results: Results,
}

#[derive(Debug)]
enum Jobs {
    Stdin,
    File(File),
}

/// Where results go until they are complete.
#[derive(Debug)]
enum Results {
    Stdout(BufWriter<io::Stdout>),
    /// Written beside its place and renamed into it in one step.
    Renamed(BufWriter<NamedTempFile>),
    /// Written elsewhere and copied in one go at the end: a process that has given up root may
    /// have no right any more to rename a file in this folder, but its open file it keeps.
    Copied {
        kept: BufWriter<File>,
        target: File,
    },
}

impl Files {
    /// Opens the input, and a place for the results.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(args: &LocalArgs, will_drop_root: bool) -> Result<Self, LocalError> {
        let jobs_path = args.jobs.clone();
        let jobs = if args.jobs.as_os_str() == "-" {
            Jobs::Stdin
        } else {
            let opened = File::open(&args.jobs);
            Jobs::File(opened.map_err(|source| LocalError::Jobs {
                path: jobs_path.clone(),
                source,
            })?)
        };
        let results_path = args
            .results
            .clone()
            .unwrap_or_else(|| PathBuf::from("stdout"));
        let results = Results::open(args.results.as_deref(), will_drop_root).map_err(|source| {
            LocalError::Results {
                path: results_path.clone(),
                source,
            }
        })?;
        Ok(Self {
            jobs_path,
            jobs,
            results_path,
            results,
        })
    }
}

impl Results {
    fn open(path: Option<&Path>, will_drop_root: bool) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        if will_drop_root {
            let target = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            return Ok(Self::Copied {
                kept: BufWriter::new(tempfile::tempfile()?),
                target,
            });
        }
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let temp = NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
        Ok(Self::Renamed(BufWriter::new(temp)))
    }

    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match self {
            Self::Stdout(writer) => writer,
            Self::Renamed(writer) => writer,
            Self::Copied { kept, .. } => kept,
        };
        writer.write_all(bytes)?;
        writer.write_all(b"\n")?;
        // Whoever reads our stdout waits for each result; a file is looked at when it is whole.
        if let Self::Stdout(writer) = self {
            writer.flush()
        } else {
            Ok(())
        }
    }

    fn finish(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Stdout(mut writer) => writer.flush(),
            Self::Renamed(writer) => {
                let temp = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                temp.as_file().sync_all()?;
                temp.persist(path)?;
                Ok(())
            }
            Self::Copied { kept, mut target } => {
                let mut kept = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
                kept.rewind()?;
                target.set_len(0)?;
                io::copy(&mut kept, &mut target)?;
                target.sync_all()
            }
        }
    }
}

/// Reads one line without its end. A line longer than `cap` is cut to one byte more than it, so
/// that it is refused as too large without ever being in memory.
fn read_line(reader: &mut impl BufRead, cap: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if line.len() > cap {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(line))
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
                    take(&mut tally, &mut results, &result).map_err(&writing)?;
                    tally.say(clock.now(), false);
                }
                None => break,
            },
        }
    }
    tally.say(clock.now(), true);
    results.finish(&results_path).map_err(&writing)?;
    feeding.abort_all();
    if stop.send(()).await.is_err() {
        tracing::debug!("the worker had ended by itself");
    }
    if let Some(source) = trouble {
        return Err(LocalError::Jobs {
            path: jobs_path,
            source,
        });
    }
    let ours = tally.outcomes.keys().any(|outcome| match outcome {
        Outcome::EngineFault | Outcome::WorkerLost => true,
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
    Ok(if tally.complete() && !ours {
        Exit::Done
    } else {
        Exit::Incomplete
    })
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
        Ending::Clean => pumped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], cap: usize) -> Vec<Vec<u8>> {
        let mut reader = BufReader::with_capacity(3, text);
        std::iter::from_fn(|| read_line(&mut reader, cap).expect("readable")).collect()
    }

    #[test]
    fn lines_lose_their_ends_and_the_last_one_needs_none() {
        assert_eq!(lines(b"a\nbc\r\n\nd", 10), [&b"a"[..], b"bc", b"", b"d"]);
    }

    #[test]
    fn a_line_of_exactly_the_cap_is_whole_and_a_longer_one_is_cut_just_above_it() {
        assert_eq!(
            lines(b"abcd\nefghi\nj\n", 4),
            [&b"abcd"[..], b"efghi", b"j"]
        );
        assert_eq!(lines(b"abcdefghij\nk", 4), [&b"abcde"[..], b"k"]);
    }

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

    #[test]
    fn results_appear_whole_in_one_step_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        for will_drop_root in [false, true] {
            let path = folder.path().join(format!("results-{will_drop_root}"));
            std::fs::write(&path, "old and longer than what comes").expect("writable");
            let mut results = Results::open(Some(&path), will_drop_root).expect("openable");
            results.line(b"{}").expect("writable");
            let before = std::fs::read(&path).expect("readable");
            assert_eq!(before, b"old and longer than what comes");
            results.finish(&path).expect("finishable");
            assert_eq!(std::fs::read(&path).expect("readable"), b"{}\n");
        }
    }
}
