//! How much memory worker and warden take before a deep queue, and how much CPU when idle.

use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::proc_tree;
use crate::programs::Owned;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const JOBS: usize = 100_000;
const MOST_RESIDENT_BYTES: u64 = 64 << 20;
/// How long a producer may take to publish them all.
const QUEUEING: Duration = Duration::from_secs(300);
const IDLE: Duration = Duration::from_secs(10);
/// Two ticks of the kernel's clock: the finest that /proc can tell apart from nothing.
const MOST_IDLE_CPU: Duration = Duration::from_millis(20);

/// Measures both with one worker at a time and a real broker.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("footprint")?;
    let (one, many) = (folder.join("one.jsonl"), folder.join("many.jsonl"));
    let jobs: Vec<Value> = (0..JOBS).map(job).collect();
    write_jobs(&one, jobs.iter().take(1))?;
    write_jobs(&many, jobs.iter())?;

    let mut fleet = Fleet::start(workspace, &folder, 1, |worker| worker)?;
    fleet.bulk(&one, &folder.join("one.results.jsonl"))?;
    let idle = idle_cpu(&mut fleet)?;
    // Jobs pile up while nobody takes any; a second worker then meets all of them at once.
    fleet.drain_worker(1)?;
    let mut bulk = fleet.start_bulk(&many, &folder.join("many.results.jsonl"))?;
    wait_until_queued(&fleet, &mut bulk)?;
    let number = fleet.add_worker(embedded::worker(workspace))?;
    let worker = fleet.living(number)?.pid();
    let most = most_resident(worker, &mut bulk)?;
    let overtaking = overtake(&fleet, &folder)?;
    let left = fleet.jobs_queued()?;
    println!(
        "With {JOBS} jobs queued at its start and {left} at the end: at most {} resident",
        mib(most)
    );
    println!("An interactive job, sent last of all, had its result after {overtaking:?}");
    // The producer goes first, in the middle of its work; its queue is left on purpose, in a broker
    // that ends now.
    drop(bulk);
    fleet.drain_worker(number)?;
    drop(fleet);
    ensure!(
        idle <= MOST_IDLE_CPU,
        "use no CPU when idle: {idle:?} in {IDLE:?}"
    );
    ensure!(
        left >= JOBS as u64 / 2,
        "let an interactive job overtake the others: {left} of {JOBS} were left"
    );
    ensure!(
        most <= MOST_RESIDENT_BYTES,
        "stay under {}",
        mib(MOST_RESIDENT_BYTES)
    );
    Ok(())
}

/// The CPU time that an idle worker and its warden take.
fn idle_cpu(fleet: &mut Fleet) -> Result<Duration> {
    let pid = fleet.pids().first().copied().context("find the worker")?;
    let before = proc_tree::look(pid)?;
    fleet.let_pass(IDLE)?;
    let idle = proc_tree::look(pid)?.cpu.saturating_sub(before.cpu);
    println!(
        "Idle for {IDLE:?}: {idle:?} of CPU, {} resident",
        mib(before.resident_bytes)
    );
    Ok(idle)
}

/// Waits until every job is in the queue: what is measured then is what it claims to be.
fn wait_until_queued(fleet: &Fleet, bulk: &mut Owned) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        // The wait paces the question to the broker.
        if let Some(status) = bulk.wait_within(Duration::from_secs(1))? {
            bail!("queue {JOBS} jobs: the producer had ended with {status}");
        }
        let queued = fleet.jobs_queued()?;
        if queued == JOBS as u64 {
            println!("{queued} jobs are queued after {:?}", watch.elapsed());
            return Ok(());
        }
        ensure!(
            watch.elapsed() < QUEUEING,
            "see {JOBS} jobs queued within {QUEUEING:?}: there are {queued}"
        );
    }
}

/// The most memory that worker and warden take in 20 s before the deep queue.
fn most_resident(worker: u32, bulk: &mut Owned) -> Result<u64> {
    let mut most = 0;
    for _ in 0..40 {
        if let Some(status) = bulk.wait_within(Duration::from_millis(500))? {
            bail!("keep jobs queued: the producer had ended with {status}");
        }
        most = most.max(proc_tree::look(worker)?.resident_bytes);
    }
    Ok(most)
}

/// Sends an interactive job behind all the others and waits for its result.
fn overtake(fleet: &Fleet, folder: &Path) -> Result<Duration> {
    let code = folder.join("overtakes.sh");
    std::fs::write(&code, "#!/bin/sh\necho first\n").context("write a program")?;
    let watch = Stopwatch::start();
    let printed = fleet.submit(&code)?;
    ensure!(printed == "first\n", "see it print \"first\": {printed:?}");
    Ok(watch.elapsed())
}

fn job(number: usize) -> Value {
    json!({
        "v": 1,
        "id": format!("footprint.{number}"),
        "runtime": "native",
        "code": "#!/bin/sh\nexit 0\n",
    })
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
