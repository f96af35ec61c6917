//! How much memory worker and warden take before a deep queue, and how much CPU when idle.

use crate::build;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::proc_tree;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::Duration;

const JOBS: usize = 100_000;
const MOST_RESIDENT_BYTES: u64 = 64 << 20;
const IDLE: Duration = Duration::from_secs(10);
/// Two ticks of the kernel's clock: the finest that /proc can tell apart from nothing.
const MOST_IDLE_CPU: Duration = Duration::from_millis(20);

/// Measures both with one worker and a real broker.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("footprint")?;
    let (one, many) = (folder.join("one.jsonl"), folder.join("many.jsonl"));
    let jobs: Vec<Value> = (0..JOBS).map(job).collect();
    write_jobs(&one, jobs.iter().take(1))?;
    write_jobs(&many, jobs.iter())?;

    let mut fleet = Fleet::start(workspace, &folder, 1, |worker| worker)?;
    let pid = fleet.pids().first().copied().context("find the worker")?;
    fleet.bulk(&one, &folder.join("one.results.jsonl"))?;
    let before = proc_tree::look(pid)?;
    fleet.let_pass(IDLE)?;
    let idle = proc_tree::look(pid)?.cpu.saturating_sub(before.cpu);
    println!(
        "Idle for {IDLE:?}: {idle:?} of CPU, {} resident",
        mib(before.resident_bytes)
    );

    let mut bulk = fleet.start_bulk(&many, &folder.join("many.results.jsonl"))?;
    let mut most = 0;
    for _ in 0..40 {
        if let Some(status) = bulk.wait_within(Duration::from_millis(500))? {
            bail!("keep {JOBS} jobs queued: the producer had ended with {status}");
        }
        most = most.max(proc_tree::look(pid)?.resident_bytes);
    }
    println!(
        "With up to {JOBS} jobs queued: at most {} resident",
        mib(most)
    );
    // The producer goes first, in the middle of its work; its queue is left on purpose, in a broker
    // that ends now.
    drop(bulk);
    fleet.drain_worker(1)?;
    drop(fleet);
    ensure!(
        idle <= MOST_IDLE_CPU,
        "use no CPU when idle: {idle:?} in {IDLE:?}"
    );
    ensure!(
        most <= MOST_RESIDENT_BYTES,
        "stay under {}",
        mib(MOST_RESIDENT_BYTES)
    );
    Ok(())
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
