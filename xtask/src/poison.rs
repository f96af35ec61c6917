//! Jobs that kill their worker each time that they run, among a thousand good ones.

use crate::answer::{self, Answers};
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
use std::collections::BTreeSet;
use std::time::Duration;

const WORKERS: usize = 2;
/// Twice in its lane, twice alone, and once more for whoever dies before he can say so.
const MOST_STARTS: usize = 5;
/// How often it is looked whether such a job runs.
const LOOK: Duration = Duration::from_millis(20);
/// All of it: a few hundred jobs a second, a few starts of a worker, and the minute for which a producer
/// waits for a better word than that a worker was lost.
const BOUND: Duration = Duration::from_secs(300);

/// A job whose worker is killed each time that it runs.
struct Killer {
    id: String,
    /// What its process has among its arguments, and no other has.
    mark: String,
    starts: usize,
}

impl Killer {
    fn new(number: usize) -> Self {
        Self {
            id: format!("poison.bad.{number}"),
            // Nobody else sleeps for so long.
            mark: format!("{}.{}", 250 + number, std::process::id()),
            starts: 0,
        }
    }

    fn job(&self) -> Value {
        script(&self.id, &format!("exec sleep {}", self.mark))
    }

    /// Sees that it was given up in time, and that its requester was told.
    fn assert_given_up(&self, answers: &Answers) -> Result<()> {
        let Self { id, starts, .. } = self;
        ensure!(
            (1..=MOST_STARTS).contains(starts),
            "see {id} started at most {MOST_STARTS} times: it was {starts} times"
        );
        let told = answers.get(id);
        let told = told.with_context(|| format!("find the result of {id}"))?;
        let word = (answer::text(told, "outcome"), answer::error_code(told));
        ensure!(
            word == ("worker_lost", Some("too_many_deliveries")),
            "see {id} given up: {told}"
        );
        Ok(())
    }
}

/// Sends `good` jobs with the bad ones spread among them.
pub(crate) fn run(
    workspace: &Workspace,
    install: Install,
    good: usize,
    killers: usize,
) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("poison")?;
    let file = folder.join("jobs.jsonl");
    let results = folder.join("results.jsonl");
    let summary = folder.join("summary.json");
    let mut killers: Vec<Killer> = (0..killers).map(Killer::new).collect();
    write_jobs(&file, spread(good, &killers).iter())?;

    println!(
        "Sending {good} good jobs, and {} whose worker is killed each time that it starts ...",
        killers.len()
    );
    let mut fleet = Fleet::start(workspace, &folder, WORKERS, |worker| worker)?;
    let watch = Stopwatch::start();
    let mut bulk = fleet.start_counted_bulk(&file, &results, &summary)?;
    // The wait paces the look.
    while bulk.wait_within(LOOK)?.is_none() {
        ensure!(
            watch.elapsed() < BOUND,
            "see the end within {BOUND:?}, after {:?} starts of the bad jobs; queues: {:?}",
            starts(&killers),
            fleet.depths()?
        );
        for _ in 0..kill_who_runs(&mut fleet, &mut killers)? {
            fleet.add_worker(embedded::worker(workspace))?;
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    let answers = fleet.finish_bulk(&mut bulk, &results)?;
    fleet.stop()?;

    for killer in &killers {
        killer.assert_given_up(&answers)?;
    }
    for number in 0..good {
        let id = id(number);
        let result = answers.get(&id);
        let result = result.with_context(|| format!("find the result of {id}"))?;
        let right = answer::summary(result) == "exited 0"
            && answer::text(result, "stdout") == format!("{number}\n");
        ensure!(right, "get the right answer of {id}: {result}");
    }
    let all = good + killers.len();
    ensure!(
        answers.len() == all,
        "get {all} results: {} came",
        answers.len()
    );
    let [conflicts] = noted::counts(&summary, ["conflicts"])?;
    ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
    println!(
        "{good} right results; the bad jobs were given up after {:?} starts; all in {seconds:.1} s",
        starts(&killers)
    );
    Ok(())
}

fn starts(killers: &[Killer]) -> Vec<usize> {
    killers.iter().map(|killer| killer.starts).collect()
}

/// The good jobs, with as many of them before each of the bad ones as there are behind the last.
fn spread(good: usize, killers: &[Killer]) -> Vec<Value> {
    let mut jobs: Vec<Value> = (0..good).map(good_job).collect();
    let apart = good / (killers.len() + 1);
    for (number, killer) in killers.iter().enumerate() {
        jobs.insert((number + 1) * apart + number, killer.job());
    }
    jobs
}

/// Kills the workers that run marked jobs, and says how many: with its warden goes the jail.
fn kill_who_runs(fleet: &mut Fleet, killers: &mut [Killer]) -> Result<usize> {
    let workers = fleet.pids();
    let mut owners = BTreeSet::new();
    for killer in killers {
        let running = proc_tree::with_argument(&killer.mark)?;
        let mut at = running
            .into_iter()
            .filter_map(|pid| proc_tree::descends_from(pid, &workers));
        // Or nowhere, or in a jail whose worker was killed and which is just ending.
        if let Some(owner) = at.next() {
            killer.starts += 1;
            owners.insert(owner);
        }
    }
    for owner in &owners {
        fleet.kill_worker_with(*owner)?;
    }
    Ok(owners.len())
}

fn id(number: usize) -> String {
    format!("poison.{number}")
}

fn good_job(number: usize) -> Value {
    script(&id(number), &format!("echo {number}"))
}

fn script(id: &str, command: &str) -> Value {
    json!({
        "v": 1,
        "id": id,
        "runtime": "native",
        "code": format!("#!/bin/sh\n{command}\n"),
    })
}
