//! Ten thousand small jobs, two workers, one of which is told to stop in the middle.

use crate::answer;
use crate::build;
use crate::clock::Stopwatch;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::Owned;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

/// Sends `count` jobs and checks that each has one right result.
pub(crate) fn run(workspace: &Workspace, install: Install, count: usize) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("many")?;
    let file = folder.join("jobs.jsonl");
    let results = folder.join("results.jsonl");
    let jobs: Vec<Value> = (0..count).map(job).collect();
    write_jobs(&file, jobs.iter())?;

    println!(
        "Sending {count} small jobs to two workers; one of them gets SIGTERM in the middle ..."
    );
    let mut fleet = Fleet::start(workspace, &folder, 2, |worker| worker)?;
    let watch = Stopwatch::start();
    let summary = folder.join("summary.json");
    let mut bulk = fleet.start_counted_bulk(&file, &results, &summary)?;
    wait_for_results(&mut bulk, &results, count / 2)?;
    fleet.drain_worker(1)?;
    println!(
        "Worker 1 drained after {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    let answers = fleet.finish_bulk(&mut bulk, &results)?;
    let seconds = watch.elapsed().as_secs_f64();
    fleet.stop()?;

    ensure!(
        answers.len() == count,
        "get {count} results: {} came",
        answers.len()
    );
    for number in 0..count {
        let id = id(number);
        let result = answers
            .get(&id)
            .with_context(|| format!("find the result of {id}"))?;
        let right = answer::summary(result) == "exited 0"
            && answer::text(result, "stdout") == format!("{number}\n");
        ensure!(right, "get the right answer of {id}: {result}");
    }
    println!("{count} jobs, {count} right results, each once, in {seconds:.1} s");
    // A result comes twice where a worker stopped between its publish and its ack.
    let [duplicates, conflicts] = counts(&summary, ["duplicates", "conflicts"])?;
    println!("On the way the producer dropped {duplicates} equal duplicates");
    ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
    Ok(())
}

/// Numbers of the producer's summary.
fn counts<const N: usize>(summary: &Path, names: [&str; N]) -> Result<[u64; N]> {
    let text = std::fs::read_to_string(summary).context("read the producer's summary")?;
    let summary: Value = serde_json::from_str(&text).context("understand the summary")?;
    let mut counts = [0; N];
    for (count, name) in counts.iter_mut().zip(names) {
        let found = summary.get(name).and_then(Value::as_u64);
        *count = found.with_context(|| format!("find {name} in the summary {text}"))?;
    }
    Ok(counts)
}

fn id(number: usize) -> String {
    format!("many.{number}")
}

fn job(number: usize) -> Value {
    // The shell as a script of the native runtime: the smallest program that needs no compiler.
    json!({
        "v": 1,
        "id": id(number),
        "runtime": "native",
        "code": format!("#!/bin/sh\necho {number}\n"),
    })
}

/// Waits until the producer has noted that many results in its journal.
fn wait_for_results(bulk: &mut Owned, results: &Path, wanted: usize) -> Result<()> {
    let mut journal = results.as_os_str().to_owned();
    journal.push(".journal");
    loop {
        // The wait paces the look into the file.
        if let Some(status) = bulk.wait_within(Duration::from_millis(200))? {
            bail!("stop a worker in the middle: the producer had ended with {status}");
        }
        if let Ok(file) = std::fs::File::open(&journal) {
            let noted = BufReader::new(file)
                .lines()
                .map_while(Result::ok)
                .filter(|line| line.contains("\"received\""))
                .count();
            if noted >= wanted {
                return Ok(());
            }
        }
    }
}
