//! One job that kills its worker each time that it runs, among a thousand good ones.

use crate::answer;
use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::noted;
use crate::proc_tree;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

const WORKERS: usize = 2;
/// Twice in its lane, twice alone, and once more for whoever dies before he can say so.
const MOST_STARTS: usize = 5;
/// How often it is looked whether the job runs.
const LOOK: Duration = Duration::from_millis(20);
/// All of it: a few hundred jobs a second, a few starts of a worker, and the minute for which a producer
/// waits for a better word than that a worker was lost.
const BOUND: Duration = Duration::from_secs(300);
const ID: &str = "poison.bad";

/// Sends `good` jobs with the bad one in their middle.
pub(crate) fn run(workspace: &Workspace, install: Install, good: usize) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("poison")?;
    let file = folder.join("jobs.jsonl");
    let results = folder.join("results.jsonl");
    let summary = folder.join("summary.json");
    // Nobody else sleeps for so long.
    let mark = format!("250.{}", std::process::id());
    let mut jobs: Vec<Value> = (0..good).map(good_job).collect();
    jobs.insert(good / 2, bad_job(&mark));
    write_jobs(&file, jobs.iter())?;

    println!(
        "Sending {good} good jobs, and one whose worker is killed each time that it starts ..."
    );
    let mut fleet = Fleet::start(workspace, &folder, WORKERS, |worker| worker)?;
    let watch = Stopwatch::start();
    let mut bulk = fleet.start_counted_bulk(&file, &results, &summary)?;
    let mut starts = 0;
    // The wait paces the look.
    while bulk.wait_within(LOOK)?.is_none() {
        ensure!(
            watch.elapsed() < BOUND,
            "see the end within {BOUND:?}, after {starts} starts of the bad job; queues: {:?}",
            fleet.depths()?
        );
        if kill_who_runs(&mut fleet, &mark)? {
            starts += 1;
            fleet.add_worker(embedded::worker(workspace))?;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    let answers = fleet.finish_bulk(&mut bulk, &results)?;
    fleet.stop()?;

    ensure!(
        (1..=MOST_STARTS).contains(&starts),
        "see the bad job started at most {MOST_STARTS} times: it was {starts} times"
    );
    let told = answers.get(ID).context("find the bad job's result")?;
    let word = (answer::text(told, "outcome"), answer::error_code(told));
    ensure!(
        word == ("worker_lost", Some("too_many_deliveries")),
        "see it given up: {told}"
    );
    for number in 0..good {
        let id = id(number);
        let result = answers.get(&id);
        let result = result.with_context(|| format!("find the result of {id}"))?;
        let right = answer::summary(result) == "exited 0"
            && answer::text(result, "stdout") == format!("{number}\n");
        ensure!(right, "get the right answer of {id}: {result}");
    }
    ensure!(
        answers.len() == good + 1,
        "get {} results: {} came",
        good + 1,
        answers.len()
    );
    let [conflicts] = noted::counts(&summary, ["conflicts"])?;
    ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
    println!(
        "{good} right results; the bad job was given up after {starts} starts; all in {seconds:.1} s"
    );
    Ok(())
}

/// Kills the worker that runs the marked job, if one does: with its warden goes the jail.
fn kill_who_runs(fleet: &mut Fleet, mark: &str) -> Result<bool> {
    let workers = fleet.pids();
    let running = proc_tree::with_argument(mark)?;
    let mut owners = running
        .into_iter()
        .filter_map(|pid| proc_tree::descends_from(pid, &workers));
    match owners.next() {
        Some(owner) => fleet.kill_worker_with(owner).map(|()| true),
        // Nowhere, or in a jail whose worker was killed and which is just ending.
        None => Ok(false),
    }
}

fn id(number: usize) -> String {
    format!("poison.{number}")
}

fn good_job(number: usize) -> Value {
    script(&id(number), &format!("echo {number}"))
}

fn bad_job(mark: &str) -> Value {
    script(ID, &format!("exec sleep {mark}"))
}

fn script(id: &str, command: &str) -> Value {
    json!({
        "v": 1,
        "id": id,
        "runtime": "native",
        "code": format!("#!/bin/sh\n{command}\n"),
    })
}
