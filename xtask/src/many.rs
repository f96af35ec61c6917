//! Ten thousand small jobs, two workers, one of which is told to stop in the middle.

use crate::answer;
use crate::build;
use crate::clock::Stopwatch;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::noted::{self, Noted};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
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
    let noted = Noted::of(&results);
    while noted.received()? < count / 2 {
        // The wait paces the look into the journal.
        if let Some(status) = bulk.wait_within(Duration::from_millis(200))? {
            bail!("stop a worker in the middle: the producer had ended with {status}");
        }
    }
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
    let [duplicates, conflicts] = noted::counts(&summary, ["duplicates", "conflicts"])?;
    println!("On the way the producer dropped {duplicates} equal duplicates");
    ensure!(
        duplicates == 0,
        "see each result once: {duplicates} came again from a worker that drained in peace"
    );
    ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
    Ok(())
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
