//! The results file of a batch: one result a line, each once, on the disk before the broker
//! forgets it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::client::{Content, Unreadable};

/// Why a results file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system says no.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// A line of it is no result.
    #[error("read {path}, line {line}: {what}; give another --results and start anew")]
    Damaged {
        /// The file.
        path: String,
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// An open results file, at its end.
#[derive(Debug)]
pub struct ResultsFile {
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
}

impl ResultsFile {
    /// Opens the file, makes it if it is not there, and shows `each` what it holds. A last line
    /// without its end is what a crash leaves: it is cut off, and its result comes again.
    ///
    /// # Errors
    /// When the file system refuses, a line is no result, or `each` complains about one.
    pub fn open(
        path: &Path,
        max_line_bytes: usize,
        mut each: impl FnMut(Content) -> Result<(), String>,
    ) -> Result<Self, ResultsError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|source| failed("open", path, source))?;
        let mut reader = BufReader::new(&file);
        let (mut valid, mut number) = (0_u64, 0);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            let read = read.map_err(|source| failed("read", path, source))?;
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            number += 1;
            Content::read(text, max_line_bytes)
                .and_then(&mut each)
                .map_err(|what| ResultsError::Damaged {
                    path: path.display().to_string(),
                    line: number,
                    what,
                })?;
            valid += u64::try_from(read).unwrap_or(u64::MAX);
        }
        file.set_len(valid)
            .map_err(|source| failed("cut the unfinished last line of", path, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            pending: Vec::new(),
        })
    }

    /// Notes a result to be written.
    pub fn push(&mut self, line: &str) {
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
    }

    /// Writes the noted results and returns once they are on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync(&mut self) -> Result<(), ResultsError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self
            .file
            .write_all(&self.pending)
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| failed("write", &self.path, source))?;
        self.pending.clear();
        Ok(())
    }
}

/// What came and has no place in the results file: one JSON object a line, made when first needed.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    records: u64,
}

/// The most records that are put aside: a mad worker must not fill the disk.
pub const ASIDE_RECORDS: u64 = 10_000;

impl Aside {
    /// Records go to `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, records: 0 }
    }

    /// Keeps a result that differs from the stored one.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn conflict(&mut self, content: &Content) -> Result<(), ResultsError> {
        let line = format!("{{\"why\":\"conflict\",\"result\":{}}}", content.line);
        self.append(&line)
    }

    /// Keeps a message that answers a job of ours and cannot be read.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn unreadable(&mut self, job_id: &str, message: &Unreadable) -> Result<(), ResultsError> {
        let body = STANDARD.encode(&message.body);
        let record = json!({
            "why": "unreadable", "job_id": job_id, "what": message.what, "base64": body,
        });
        self.append(&record.to_string())
    }

    fn append(&mut self, line: &str) -> Result<(), ResultsError> {
        self.records += 1;
        if self.records > ASIDE_RECORDS {
            return Ok(());
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(format!("{line}\n").as_bytes())?;
                file.sync_data()
            })
            .map_err(|source| failed("write", &self.path, source))
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ResultsError {
    ResultsError::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests;
