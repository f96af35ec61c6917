//! The files of a local run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::LocalError;
use crate::cli::LocalArgs;

/// The files of a local run, opened before the privileges are given up.
#[derive(Debug)]
pub struct Files {
    pub(super) jobs_path: PathBuf,
    pub(super) jobs: Jobs,
    pub(super) results_path: PathBuf,
    pub(super) results: Results,
}

/// Where jobs come from.
#[derive(Debug)]
pub(super) enum Jobs {
    Stdin,
    File(File),
}

/// Where results go until they are complete.
#[derive(Debug)]
pub(super) enum Results {
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

    pub(super) fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
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

    pub(super) fn finish(self, path: &Path) -> io::Result<()> {
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
pub(super) fn read_line(reader: &mut impl BufRead, cap: usize) -> io::Result<Option<Vec<u8>>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

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
