//! What `jailfleet-producer bulk` notes of its work: its journal, and its summary.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// The journal beside a file of results.
#[derive(Debug, Clone)]
pub(crate) struct Noted(PathBuf);

impl Noted {
    /// The one that a batch with these results writes.
    pub(crate) fn of(results: &Path) -> Self {
        let mut journal = results.as_os_str().to_owned();
        journal.push(".journal");
        Self(journal.into())
    }

    /// How many results the producer has received so far.
    pub(crate) fn received(&self) -> Result<usize> {
        self.lines_with("\"received\"")
    }

    /// How many jobs the broker has confirmed so far.
    pub(crate) fn confirmed(&self) -> Result<usize> {
        self.lines_with("\"confirmed\"")
    }

    /// The last part of the reply queue's name.
    pub(crate) fn reply(&self) -> Result<String> {
        let file = File::open(&self.0).context("open the producer's journal")?;
        let mut head = String::new();
        let mut journal = BufReader::new(file);
        journal.read_line(&mut head).context("read its head")?;
        let head: Value = serde_json::from_str(&head).context("understand its head")?;
        let reply = head.get("reply").and_then(Value::as_str);
        Ok(reply.context("find the reply queue in it")?.to_owned())
    }

    fn lines_with(&self, word: &str) -> Result<usize> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            // It has not begun yet.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error).context("open the producer's journal"),
        };
        let mut count = 0;
        for line in BufReader::new(file).lines() {
            let line = line.context("read the producer's journal")?;
            count += usize::from(line.contains(word));
        }
        Ok(count)
    }
}

/// Numbers of a summary that the producer wrote as JSON.
pub(crate) fn counts<const N: usize>(summary: &Path, names: [&str; N]) -> Result<[u64; N]> {
    let text = std::fs::read_to_string(summary).context("read the producer's summary")?;
    let summary: Value = serde_json::from_str(&text).context("understand the summary")?;
    let mut counts = [0; N];
    for (count, name) in counts.iter_mut().zip(names) {
        let found = summary.get(name).and_then(Value::as_u64);
        *count = found.with_context(|| format!("find {name} in the summary {text}"))?;
    }
    Ok(counts)
}
