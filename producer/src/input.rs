//! The input of `bulk`: a file with one job a line, checked as a whole before anything is sent.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jailfleet::job::{Job, JobId, Lane, Name};
use jailfleet::wire::{self, DecodeHint, WireCaps};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

/// What a job gets that its line does not say.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The pool.
    pub pool: Name,
    /// The lane.
    pub lane: Lane,
    /// The batch.
    pub batch: Option<String>,
    /// What a message may hold.
    pub caps: WireCaps,
}

/// A line that is a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, counted from 1.
    pub number: u64,
    /// The id that it gives its job.
    pub id: Option<JobId>,
    /// Its pool.
    pub pool: Name,
    /// SHA-256 of its bytes, without the end of line.
    pub sha256: [u8; 32],
    offset: u64,
    bytes: usize,
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, counted from 1.
    pub number: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.what)
    }
}

/// Why the input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file system says no.
    #[error("read the jobs from {path}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// It is no regular file: a resumed run could not read it again.
    #[error("read the jobs from {path}: give a regular file, which a resumed run can read again")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// It was written to while we worked.
    #[error(
        "read line {line} of {path} again: it has changed since the start; restore it and resume"
    )]
    Changed {
        /// The file.
        path: String,
        /// The line.
        line: u64,
    },
}

/// A checked input.
#[derive(Debug)]
pub struct Input {
    path: PathBuf,
    file: File,
    defaults: Defaults,
    /// Its jobs, in order.
    pub lines: Vec<Line>,
    /// Its other lines, in order. Empty lines count as neither.
    pub bad: Vec<BadLine>,
    /// Hex SHA-256 of all of it.
    pub sha256: String,
}

/// The fields whose absence the producer makes up for.
#[derive(Deserialize)]
struct Peek {
    id: Option<IgnoredAny>,
    pool: Option<IgnoredAny>,
    lane: Option<IgnoredAny>,
    batch: Option<IgnoredAny>,
}

/// A valid id for lines that have none, while they are checked.
const PLACEHOLDER_ID: &str = "none";

impl Input {
    /// Reads and checks the whole file.
    ///
    /// # Errors
    /// When the file cannot be read. Lines that are no jobs are no error here: see [`Input::bad`].
    pub fn open(path: &Path, defaults: Defaults) -> Result<Self, InputError> {
        let shown = || path.display().to_string();
        let io_error = |source| InputError::Io {
            path: shown(),
            source,
        };
        let file = File::open(path).map_err(io_error)?;
        if !file.metadata().map_err(io_error)?.is_file() {
            return Err(InputError::NotAFile { path: shown() });
        }
        let mut input = Self {
            path: path.to_owned(),
            file: file.try_clone().map_err(io_error)?,
            defaults,
            lines: Vec::new(),
            bad: Vec::new(),
            sha256: String::new(),
        };
        input.scan(BufReader::new(file)).map_err(io_error)?;
        Ok(input)
    }

    fn scan(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut whole = Sha256::new();
        let mut names: HashMap<JobId, u64> = HashMap::new();
        let (mut offset, mut number) = (0, 0);
        let mut text = Vec::new();
        loop {
            let cap = self.defaults.caps.body_bytes;
            let read = read_line(&mut reader, cap, &mut text, &mut whole)?;
            if read == 0 {
                break;
            }
            number += 1;
            if let Some(line) = self.check(number, offset, &text) {
                match line
                    .id
                    .as_ref()
                    .and_then(|id| names.insert(id.clone(), number))
                {
                    Some(first) => self.bad.push(BadLine {
                        number,
                        what: format!("has the id of line {first}: give each job its own, or none"),
                    }),
                    None => self.lines.push(line),
                }
            }
            offset += read;
        }
        self.sha256 = hex(&whole.finalize());
        Ok(())
    }

    /// One line of the first reading. `None` for an empty one and for a bad one, which is noted.
    fn check(&mut self, number: u64, offset: u64, text: &[u8]) -> Option<Line> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        match self.decode(text, PLACEHOLDER_ID) {
            Ok((job, has_id)) => Some(Line {
                number,
                id: has_id.then_some(job.id),
                pool: job.pool,
                sha256: Sha256::digest(text).into(),
                offset,
                bytes: text.len(),
            }),
            Err(what) => {
                self.bad.push(BadLine { number, what });
                None
            }
        }
    }

    /// The job on a line, and whether the line has an id. It gets `id` where it has none.
    fn decode(&self, text: &[u8], id: &str) -> Result<(Job, bool), String> {
        let caps = &self.defaults.caps;
        if text.len() > caps.body_bytes {
            return Err(format!(
                "too_large: has more than {} bytes",
                caps.body_bytes
            ));
        }
        // A line that does not even read this far is the decoder's to complain about.
        let peek = serde_json::from_slice(text).unwrap_or(Peek {
            id: None,
            pool: None,
            lane: None,
            batch: None,
        });
        let hint = DecodeHint {
            message_id: peek.id.is_none().then_some(id),
            pool: peek.pool.is_none().then_some(&self.defaults.pool),
            lane: peek.lane.is_none().then_some(self.defaults.lane),
        };
        let mut job = wire::decode_job(text, &hint, caps).map_err(|no| no.rejection.to_string())?;
        if peek.batch.is_none() {
            job.batch.clone_from(&self.defaults.batch);
        }
        let bytes = wire::encode_job(&job).len();
        if bytes > caps.body_bytes {
            return Err(format!(
                "too_large: has {bytes} bytes as a message; {} are allowed",
                caps.body_bytes
            ));
        }
        Ok((job, peek.id.is_some()))
    }

    /// Reads the job of a line again, to publish it under `id`.
    ///
    /// # Errors
    /// When the file cannot be read, or the line is not what it was.
    pub fn job(&self, line: &Line, id: &JobId) -> Result<Job, InputError> {
        let path = || self.path.display().to_string();
        let changed = || InputError::Changed {
            path: path(),
            line: line.number,
        };
        let mut text = vec![0; line.bytes];
        self.file
            .read_exact_at(&mut text, line.offset)
            .map_err(|source| {
                if source.kind() == io::ErrorKind::UnexpectedEof {
                    changed()
                } else {
                    InputError::Io {
                        path: path(),
                        source,
                    }
                }
            })?;
        if <[u8; 32]>::from(Sha256::digest(&text)) != line.sha256 {
            return Err(changed());
        }
        // These very bytes were a job before: only a wrong id could spoil them now, and ids are ours.
        self.decode(&text, id.as_str())
            .map(|(job, _)| job)
            .map_err(|_what| changed())
    }
}

/// Reads one line without its end into `text`, all of it into `whole`, and returns its length with
/// its end; 0 at the end of the file. Of a line longer than `cap` only `cap + 1` bytes are kept.
fn read_line(
    reader: &mut impl BufRead,
    cap: usize,
    text: &mut Vec<u8>,
    whole: &mut Sha256,
) -> io::Result<u64> {
    text.clear();
    let (mut read, mut cut) = (0, false);
    loop {
        let chunk = reader.fill_buf()?;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let (taken, content) = match end {
            Some(at) => (at + 1, chunk.get(..at).unwrap_or_default()),
            None => (chunk.len(), chunk),
        };
        let room = cap.saturating_add(1).saturating_sub(text.len());
        text.extend(content.iter().take(room));
        cut |= content.len() > room;
        whole.update(chunk.get(..taken).unwrap_or(chunk));
        reader.consume(taken);
        read += u64::try_from(taken).unwrap_or(u64::MAX);
        if end.is_some() || taken == 0 {
            // A file from elsewhere may end its lines with CR LF.
            if !cut && text.last() == Some(&b'\r') {
                text.pop();
            }
            return Ok(read);
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
}

#[cfg(test)]
mod tests;
