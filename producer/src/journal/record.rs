//! The lines of a journal, and what a sequence of them amounts to. Pure.

use std::collections::BTreeMap;

use jailfleet::job::JobId;
use serde::{Deserialize, Serialize};

use crate::correlation::CorrelationId;

/// The version of the format that is spoken here.
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    journal: u64,
    /// Last part of the reply queue's name.
    pub reply: String,
    /// Hex SHA-256 of the whole input.
    pub input_sha256: String,
}

impl Header {
    /// A header of the present version.
    #[must_use]
    pub fn new(reply: &str, input_sha256: &str) -> Self {
        let (reply, input_sha256) = (reply.to_owned(), input_sha256.to_owned());
        Self {
            journal: VERSION,
            reply,
            input_sha256,
        }
    }

    pub(super) fn write(&self, into: &mut Vec<u8>) {
        write_line(self, into);
    }
}

/// A job that was about to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The line of the input, counted from 1.
    pub line: u64,
    /// Hex SHA-256 of that line.
    pub sha256: String,
    /// The job's id.
    pub id: String,
    /// The secret that its result must carry.
    pub correlation_id: String,
}

/// Any line but the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Record {
    Planned(Planned),
    Confirmed { confirmed: u64 },
    Received { received: u64 },
    Conflict { conflict: u64 },
    Closed { closed: bool },
}

impl Record {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        write_line(self, into);
    }
}

fn write_line(value: &impl Serialize, into: &mut Vec<u8>) {
    serde_json::to_writer(&mut *into, value).expect("strings and numbers always serialize");
    into.push(b'\n');
}

/// A planned job as the journal leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Hex SHA-256 of the input's line.
    pub sha256: String,
    /// The job's id.
    pub id: JobId,
    /// The secret that its result must carry.
    pub correlation: CorrelationId,
    /// Whether the broker confirmed it.
    pub confirmed: bool,
    /// Whether its result was stored.
    pub received: bool,
    /// How many results that differ from the stored one came.
    pub conflicts: u64,
}

/// What a journal's lines amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The header; `None` in a file that has not even that.
    pub header: Option<Header>,
    /// The planned jobs by line.
    pub jobs: BTreeMap<u64, Known>,
    /// Whether the batch was over and its reply queue deleted.
    pub closed: bool,
    /// How many bytes are whole lines; what follows is to be cut off.
    pub valid_bytes: usize,
}

/// Reads the whole lines of a journal.
///
/// # Errors
/// The number of the first line that is none of ours, and what is wrong with it.
pub fn replay(bytes: &[u8]) -> Result<Replayed, (usize, String)> {
    let mut replayed = Replayed::default();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        replayed.take(text).map_err(|what| (index + 1, what))?;
        replayed.valid_bytes += line.len();
    }
    Ok(replayed)
}

impl Replayed {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if self.header.is_none() {
            let header: Header =
                serde_json::from_slice(line).map_err(|error| format!("no header: {error}"))?;
            if header.journal != VERSION {
                return Err(format!(
                    "version {} where {VERSION} is known",
                    header.journal
                ));
            }
            self.header = Some(header);
            return Ok(());
        }
        let record: Record =
            serde_json::from_slice(line).map_err(|error| format!("no record: {error}"))?;
        match record {
            Record::Planned(planned) => self.plan(planned),
            Record::Confirmed { confirmed } => self.job(confirmed).map(|job| job.confirmed = true),
            // A result proves that the broker had the job, whether or not its confirm was seen.
            Record::Received { received } => self.job(received).map(|job| {
                job.confirmed = true;
                job.received = true;
            }),
            Record::Conflict { conflict } => self.job(conflict).map(|job| job.conflicts += 1),
            Record::Closed { closed } => {
                self.closed = closed;
                Ok(())
            }
        }
    }

    fn plan(&mut self, planned: Planned) -> Result<(), String> {
        let id = JobId::parse(&planned.id).map_err(|rejection| rejection.message)?;
        let correlation = CorrelationId::parse(&planned.correlation_id)
            .ok_or_else(|| "the correlation id is not 32 hexadecimal digits".to_owned())?;
        let known = Known {
            sha256: planned.sha256,
            id,
            correlation,
            confirmed: false,
            received: false,
            conflicts: 0,
        };
        match self.jobs.insert(planned.line, known) {
            None => Ok(()),
            Some(_) => Err(format!("plans line {} a second time", planned.line)),
        }
    }

    fn job(&mut self, line: u64) -> Result<&mut Known, String> {
        self.jobs
            .get_mut(&line)
            .ok_or_else(|| format!("speaks of line {line}, which was not planned"))
    }
}
