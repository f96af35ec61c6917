//! What `jailfleet-producer bulk` notes of its work: its journal, and its summary.

use crate::answer::Answers;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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

    /// Holds what was confirmed against the results that are there, by the ids of the batch's jobs; returns
    /// how many jobs the broker confirmed.
    ///
    /// # Errors
    /// When a job was not planned, a result was received twice or is not there, or a conflict was noted.
    pub(crate) fn reconcile(&self, answers: &Answers, jobs: usize) -> Result<usize> {
        let text = std::fs::read_to_string(&self.0).context("read the producer's journal")?;
        reconcile(&text, answers, jobs)
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

fn reconcile(journal: &str, answers: &Answers, jobs: usize) -> Result<usize> {
    let mut planned = BTreeMap::new();
    let (mut confirmed, mut received) = (BTreeSet::new(), BTreeSet::new());
    for line in journal.lines() {
        let record: Value = serde_json::from_str(line).context("understand the journal")?;
        let number = |field| record.get(field).and_then(Value::as_u64);
        if let (Some(line), Some(id)) = (number("line"), record.get("id").and_then(Value::as_str)) {
            planned.insert(line, id.to_owned());
        }
        confirmed.extend(number("confirmed"));
        if let Some(line) = number("received") {
            ensure!(
                received.insert(line),
                "store the result of line {line} once"
            );
        }
        ensure!(number("conflict").is_none(), "see no conflict: {line}");
    }
    ensure!(
        planned.len() == jobs,
        "plan {jobs} jobs: {} were",
        planned.len()
    );
    for line in confirmed.iter().chain(&received) {
        let id = planned.get(line);
        let id = id.with_context(|| format!("know the job of line {line}"))?;
        ensure!(
            answers.contains_key(id),
            "have the result of {id}, which the broker confirmed or the journal has as received"
        );
    }
    Ok(confirmed.len())
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

#[cfg(test)]
mod tests {
    use super::reconcile;
    use crate::answer::Answers;
    use serde_json::Value;

    const HEAD: &str = r#"{"journal":1,"reply":"r","input_sha256":"s"}"#;

    fn journal(lines: &[&str]) -> String {
        [&[HEAD], lines].concat().join("\n")
    }

    fn planned(line: u64, id: &str) -> String {
        format!(r#"{{"line":{line},"sha256":"s","id":"{id}","correlation_id":"c"}}"#)
    }

    fn answers(ids: &[&str]) -> Answers {
        ids.iter()
            .map(|id| ((*id).to_owned(), Value::Null))
            .collect()
    }

    #[test]
    fn what_was_confirmed_must_be_there_and_what_was_received_came_once() {
        let (a, b) = (planned(1, "a"), planned(2, "b"));
        let [one, two, got] = [
            r#"{"confirmed":1}"#,
            r#"{"confirmed":2}"#,
            r#"{"received":1}"#,
        ];
        let whole = journal(&[&a, one, got, &b, two]);
        assert_eq!(
            reconcile(&whole, &answers(&["a", "b"]), 2).expect("all there"),
            2
        );
        for (lines, ids, jobs, part) in [
            (vec![a.as_str(), one], vec![], 1, "result of a"),
            (vec![&a, got], vec![], 1, "result of a"),
            (vec![&a, got, got], vec!["a"], 1, "line 1 once"),
            (vec![&a], vec!["a"], 2, "plan 2 jobs"),
            (vec![one], vec!["a"], 0, "job of line 1"),
            (vec![&a, r#"{"conflict":1}"#], vec!["a"], 1, "no conflict"),
        ] {
            let wrong = reconcile(&journal(&lines), &answers(&ids), jobs);
            let wrong = format!("{:#}", wrong.expect_err(part));
            assert!(wrong.contains(part), "{wrong}");
        }
    }
}
