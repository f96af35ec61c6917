//! Runs jobs without a broker: `jailfleet-worker local`.

use crate::answer::{Answers, read_all};
use crate::programs::{command, output, status};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// `local` says with it that some job got no result of its own run; the table will show which.
const SOME_WITHOUT_A_RUN: i32 = 6;

/// Settings that every worker of ours gets: best effort, and no port that others may have.
pub(crate) fn worker(workspace: &Workspace) -> Command {
    let mut worker = command(workspace.release("jailfleet-worker"));
    worker.args(["--walls", "laptop", "--set", "admin.listen=127.0.0.1:0"]);
    worker
}

/// Runs the jobs of a file through the embedded door and returns their results.
pub(crate) fn run(mut worker: Command, jobs: &Path, results: &Path) -> Result<Answers> {
    worker.arg("local").arg(jobs).arg("--results").arg(results);
    let ended = status("jailfleet-worker local", &mut worker)?;
    if !ended.success() && ended.code() != Some(SOME_WITHOUT_A_RUN) {
        bail!(
            "run the jobs of {}: jailfleet-worker local ended with {ended}",
            jobs.display()
        );
    }
    read_all(results)
}

/// What `doctor` advises for each wall that it finds missing, by the wall's name.
pub(crate) fn advice(workspace: &Workspace) -> Result<BTreeMap<String, String>> {
    let doctor = output(
        "jailfleet-worker doctor",
        worker(workspace).args(["doctor", "--json"]),
    )?;
    let report: Value = serde_json::from_slice(&doctor.stdout).context("read its report")?;
    let rows = report
        .get("walls")
        .and_then(Value::as_array)
        .context("find its walls")?;
    let text = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    Ok(rows
        .iter()
        .filter_map(|row| {
            let words = [text(row, "evidence"), text(row, "fix")];
            Some((
                text(row, "wall")?,
                words.into_iter().flatten().collect::<Vec<_>>().join("; "),
            ))
        })
        .collect())
}
