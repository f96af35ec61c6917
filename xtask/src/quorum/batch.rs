//! A batch under way through several nodes.

use super::LOOK;
use crate::answer::{self, Answers};
use crate::clock::Stopwatch;
use crate::fleet::Fleet;
use crate::noted::{self, Noted};
use crate::programs::Owned;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `jailfleet-producer bulk`, and what it writes.
pub(super) struct Batch {
    pub(super) name: &'static str,
    pub(super) bulk: Owned,
    pub(super) noted: Noted,
    results: PathBuf,
    summary: PathBuf,
    log: PathBuf,
}

impl Batch {
    /// Where the jobs of a batch are.
    pub(super) fn jobs(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.jsonl"))
    }

    /// Starts a batch, or goes on with it, by a command that knows its broker.
    pub(super) fn start(folder: &Path, name: &'static str, mut producer: Command) -> Result<Self> {
        let results = folder.join(format!("{name}.results.jsonl"));
        let summary = folder.join(format!("{name}.summary.json"));
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&summary).context("make a file for the summary")?;
        let words = File::create(&log).context("make a log")?;
        producer.arg("bulk").arg(Self::jobs(folder, name));
        producer.arg("--results").arg(&results).arg("--json");
        producer.stdout(output).stderr(words);
        Ok(Self {
            name,
            bulk: Owned::start("jailfleet-producer bulk", &mut producer)?,
            noted: Noted::of(&results),
            results,
            summary,
            log,
        })
    }

    /// Waits until the producer has so many results; each must come `within` that time of the one before.
    pub(super) fn wait_for(&mut self, wanted: usize, within: Duration) -> Result<()> {
        self.wait_until(wanted, within, Noted::received)
    }

    /// Waits until the broker has confirmed so many jobs.
    pub(super) fn wait_for_taken(&mut self, wanted: usize, within: Duration) -> Result<()> {
        self.wait_until(wanted, within, Noted::confirmed)
    }

    fn wait_until(
        &mut self,
        wanted: usize,
        within: Duration,
        count: impl Fn(&Noted) -> Result<usize>,
    ) -> Result<()> {
        let (mut last, mut moved) = (0, Stopwatch::start());
        loop {
            let now = count(&self.noted)?;
            if now >= wanted {
                return Ok(());
            }
            if now > last {
                (last, moved) = (now, Stopwatch::start());
            }
            ensure!(
                moved.elapsed() < within,
                "see more than {now} of {wanted} jobs of {} so far within {within:?}\n{}",
                self.name,
                self.words()?
            );
            if let Some(status) = self.bulk.wait_within(LOOK)? {
                let now = count(&self.noted)?;
                ensure!(
                    now >= wanted,
                    "see {wanted} jobs so far: the producer ended with {status} at {now}\n{}",
                    self.words()?
                );
            }
        }
    }

    /// Waits for its end, and sees that each of `count` jobs has its one right result; returns how many results
    /// there are and how many duplicates were dropped.
    pub(super) fn end(&mut self, fleet: &mut Fleet, count: usize) -> Result<[usize; 2]> {
        let answers: Answers = fleet.finish_bulk(&mut self.bulk, &self.results)?;
        for number in 0..count {
            let id = id(self.name, number);
            let result = answers.get(&id);
            let result = result.with_context(|| format!("find the result of {id}"))?;
            let right = answer::summary(result) == "exited 0"
                && answer::text(result, "stdout") == format!("{number}\n");
            ensure!(right, "get the right answer of {id}: {result}");
        }
        let [duplicates, conflicts] = self.counts(["duplicates", "conflicts"])?;
        ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
        let came = answers.len();
        ensure!(came == count, "get {count} results: {came} came");
        Ok([came, usize::try_from(duplicates).context("count")?])
    }

    /// Numbers of the summary.
    pub(super) fn counts<const N: usize>(&self, names: [&str; N]) -> Result<[u64; N]> {
        noted::counts(&self.summary, names)
    }

    /// What the producer said.
    pub(super) fn words(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("read what the producer said")
    }
}

/// Sees that nothing is in a queue.
pub(super) fn none_in(fleet: &Fleet, queue: &str) -> Result<()> {
    let depths = fleet.depths()?;
    let depth = depths.get(queue).copied();
    let depth = depth.with_context(|| format!("find {queue} in {depths:?}"))?;
    ensure!(depth == 0, "see nothing in {queue}: {depth}");
    Ok(())
}

fn id(batch: &str, number: usize) -> String {
    format!("{batch}.{number}")
}

/// A job of a batch, which says its number.
pub(super) fn job(batch: &str, number: usize) -> Value {
    json!({
        "v": 1,
        "id": id(batch, number),
        "runtime": "native",
        "code": format!("#!/bin/sh\nsleep 0.02; echo {number}\n"),
    })
}
