//! The journal of a batch: what was about to be published, what the broker confirmed, and what
//! was received, so that a killed run goes on where it stopped.
//!
//! One JSON object a line. The first is the header; then, in the order of events:
//!
//! ```text
//! {"journal":1,"reply":"bulk-…","input_sha256":"…"}
//! {"line":1,"sha256":"…","id":"…","correlation_id":"…"}     synced before the job is published
//! {"confirmed":1}                                            the broker has it
//! {"received":1}                                             its result is in the results file
//! {"conflict":1}                                             a second, different result came
//! {"closed":true}                                            all is received, the reply queue gone
//! ```
//!
//! Only the plan must be on the disk before the next step. A `confirmed` or `received` that a
//! power cut takes away costs a second publish of the same id or a second look at the results
//! file, and never a result.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jailfleet::job::JobId;

use crate::correlation::CorrelationId;

mod record;

use record::Record;
pub use record::{Header, Known, Planned, Replayed, replay};

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system says no.
    #[error("{action} the journal {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The journal.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// Another run has it.
    #[error(
        "lock the journal {path}: another run of this batch is under way; wait for it or stop it"
    )]
    Locked {
        /// The journal.
        path: String,
    },
    /// A line in its middle does not read.
    #[error(
        "read the journal {path}, line {line}: {what}; it was changed by somebody else: give another --results and start anew"
    )]
    Damaged {
        /// The journal.
        path: String,
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It belongs to another input.
    #[error(
        "resume with the journal {path}: the input has changed since that run began; restore it, or give another --results"
    )]
    OtherInput {
        /// The journal.
        path: String,
    },
}

/// An open, locked journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    header: Header,
    // Records that were given and not written yet.
    pending: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path` for the input with that digest, or begins it under the reply
    /// name `fresh_reply`. Returns it with what earlier runs left in it.
    ///
    /// A last line without its end is what a crash leaves: it is cut off.
    ///
    /// # Errors
    /// When another run holds its lock, the input is another one, or a line is damaged.
    pub fn open(
        path: &Path,
        input_sha256: &str,
        fresh_reply: &str,
    ) -> Result<(Self, Replayed), JournalError> {
        let shown = path.display().to_string();
        let failed = |action| {
            let path = shown.clone();
            move |source| JournalError::Io {
                action,
                path,
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            // The correlation ids in it are secrets while the batch runs.
            .mode(0o600)
            .open(path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked { path: shown }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read"))?;
        let replayed = replay(&bytes).map_err(|(line, what)| JournalError::Damaged {
            path: shown.clone(),
            line,
            what,
        })?;
        let kept = u64::try_from(replayed.valid_bytes).unwrap_or(u64::MAX);
        file.set_len(kept)
            .map_err(failed("cut the unfinished last line of"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("read"))?;

        let header = match &replayed.header {
            Some(header) if header.input_sha256 != input_sha256 => {
                return Err(JournalError::OtherInput { path: shown });
            }
            Some(header) => header.clone(),
            None => Header::new(fresh_reply, input_sha256),
        };
        let mut journal = Self {
            file,
            path: path.to_owned(),
            header,
            pending: Vec::new(),
        };
        if replayed.header.is_none() {
            journal.begin()?;
        }
        Ok((journal, replayed))
    }

    /// Writes the header, and makes the file's name last through a power cut too.
    fn begin(&mut self) -> Result<(), JournalError> {
        self.header.write(&mut self.pending);
        self.sync()?;
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.failed("sync the folder of", source))
    }

    /// Last part of the name of the reply queue, the same in each run of the batch.
    #[must_use]
    pub fn reply(&self) -> &str {
        &self.header.reply
    }

    /// Notes that a job is about to be published. Follow a batch of these with [`Journal::sync`],
    /// and only then publish.
    pub fn plan(&mut self, line: u64, sha256: &str, id: &JobId, correlation: CorrelationId) {
        let planned = Planned {
            line,
            sha256: sha256.to_owned(),
            id: id.as_str().to_owned(),
            correlation_id: correlation.to_string(),
        };
        Record::Planned(planned).write(&mut self.pending);
    }

    /// Notes that the broker has the job of that line. Write it with [`Journal::flush`].
    pub fn confirmed(&mut self, line: u64) {
        Record::Confirmed { confirmed: line }.write(&mut self.pending);
    }

    /// Notes that the result of that line is in the results file, which was synced.
    pub fn received(&mut self, line: u64) {
        Record::Received { received: line }.write(&mut self.pending);
    }

    /// Notes that a second, different result came for that line.
    pub fn conflict(&mut self, line: u64) {
        Record::Conflict { conflict: line }.write(&mut self.pending);
    }

    /// Notes that the batch is over and its reply queue deleted.
    pub fn closed(&mut self) {
        Record::Closed { closed: true }.write(&mut self.pending);
    }

    /// Hands the noted records to the kernel: they outlive this process, though not a power cut.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        if !self.pending.is_empty() {
            let written = self.file.write_all(&self.pending);
            written.map_err(|source| self.failed("write", source))?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Writes the noted records and returns once they are on the disk.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        self.file
            .sync_data()
            .map_err(|source| self.failed("sync", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io {
            action,
            path: self.path.display().to_string(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
