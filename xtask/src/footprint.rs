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

/// How many jobs are queued, unless it is said.
pub(crate) const QUEUED: usize = 100_000;
const MOST_RESIDENT_BYTES: u64 = 64 << 20;
/// Jobs a second that a producer publishes at the least, on a machine that has more to do.
const SLOWEST: u64 = 500;
/// How long the queue may stay as it is before all jobs are in it; at first the producer reads its file.
const STANDSTILL: Duration = Duration::from_secs(120);
/// How often people hear how far the producer is.
const WORD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(10);
/// Two ticks of the kernel's clock: the finest that /proc can tell apart from nothing.
const MOST_IDLE_CPU: Duration = Duration::from_millis(20);

/// Measures both with one worker at a time and a real broker, with so many jobs queued.
pub(crate) fn run(workspace: &Workspace, install: Install, queued: usize) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("footprint")?;
    let (one, many) = (folder.join("one.jsonl"), folder.join("many.jsonl"));
    write_jobs(&one, [job(0)])?;
    write_jobs(&many, (0..queued).map(job))?;

    let mut fleet = Fleet::start(workspace, &folder, 1, |worker| worker)?;
    fleet.bulk(&one, &folder.join("one.results.jsonl"))?;
    let idle = idle_cpu(&mut fleet)?;
    // Jobs pile up while nobody takes any; a second worker then meets all of them at once.
    fleet.drain_worker(1)?;
    let mut bulk = fleet.start_bulk(&many, &folder.join("many.results.jsonl"))?;
    let queued = u64::try_from(queued).context("count the jobs")?;
    wait_until_queued(&fleet, &mut bulk, queued)?;
    let number = fleet.add_worker(embedded::worker(workspace))?;
    let worker = fleet.living(number)?.pid();
    let most = most_resident(worker, &mut bulk)?;
    let overtaking = overtake(&fleet, &folder)?;
    let left = fleet.jobs_queued()?;
    println!(
        "With {queued} jobs queued at its start and {left} at the end: at most {} resident",
        mib(most)
    );
    println!("An interactive job, sent last of all, had its result after {overtaking:?}");
    // The producer goes first, in the middle of its work; its queue is left on purpose, in a broker
    // that ends now.
    drop(bulk);
    fleet.drain_worker(number)?;
    drop(fleet);
    let footprint = Footprint {
        idle,
        most,
        queued,
        left,
    };
    footprint.is_small()
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    /// The CPU time that worker and warden took in [`IDLE`].
    idle: Duration,
    /// The most memory that they took before the deep queue, in bytes.
    most: u64,
    /// How many jobs were queued at the beginning, and how many still after an interactive one.
    queued: u64,
    left: u64,
}

impl Footprint {
    /// The bound of the memory is one for every depth of the queue: what is queued costs a worker none.
    fn is_small(self) -> Result<()> {
        let Self {
            idle,
            most,
            queued,
            left,
        } = self;
        ensure!(
            idle <= MOST_IDLE_CPU,
            "use no CPU when idle: {idle:?} in {IDLE:?}"
        );
        ensure!(
            left >= queued / 2,
            "let an interactive job overtake the others: {left} of {queued} were left"
        );
        ensure!(
            most <= MOST_RESIDENT_BYTES,
            "stay under {} before {queued} jobs: {} were resident",
            mib(MOST_RESIDENT_BYTES),
            mib(most)
        );
        Ok(())
    }
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
fn wait_until_queued(fleet: &Fleet, bulk: &mut Owned, wanted: u64) -> Result<()> {
    let (watch, within) = (Stopwatch::start(), queueing(wanted));
    let (mut last, mut moved, mut said) = (0, watch, watch);
    loop {
        // The wait paces the question to the broker.
        if let Some(status) = bulk.wait_within(Duration::from_secs(1))? {
            bail!("queue {wanted} jobs: the producer had ended with {status}");
        }
        let queued = fleet.jobs_queued()?;
        if queued == wanted {
            println!("{queued} jobs are queued after {:.1?}", watch.elapsed());
            return Ok(());
        }
        if queued > last {
            (last, moved) = (queued, Stopwatch::start());
        }
        if said.elapsed() >= WORD {
            println!(
                "{queued} of {wanted} jobs are queued after {:.0?} ...",
                watch.elapsed()
            );
            said = Stopwatch::start();
        }
        ensure!(
            moved.elapsed() < STANDSTILL,
            "see more than {queued} of {wanted} jobs queued within {STANDSTILL:?}"
        );
        ensure!(
            watch.elapsed() < within,
            "see {wanted} jobs queued within {within:?}: there are {queued}"
        );
    }
}

/// How long a producer may take to publish so many jobs.
fn queueing(jobs: u64) -> Duration {
    STANDSTILL + Duration::from_secs(jobs / SLOWEST)
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

#[cfg(test)]
mod tests {
    use super::{Footprint, MOST_IDLE_CPU, MOST_RESIDENT_BYTES, QUEUED, queueing};
    use std::time::Duration;

    const SMALL: Footprint = Footprint {
        idle: MOST_IDLE_CPU,
        most: MOST_RESIDENT_BYTES,
        queued: 1_000_000,
        left: 500_000,
    };

    #[test]
    fn each_of_the_three_bounds_is_held_whatever_the_queue_has() {
        SMALL.is_small().expect("within all of them");
        let busy = Footprint {
            idle: MOST_IDLE_CPU + Duration::from_millis(10),
            ..SMALL
        };
        let large = Footprint {
            most: MOST_RESIDENT_BYTES + 1,
            ..SMALL
        };
        let late = Footprint {
            left: 499_999,
            ..SMALL
        };
        for (wrong, word) in [(busy, "CPU"), (large, "65 MiB"), (late, "overtake")] {
            let error = wrong.is_small().expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_producer_has_longer_for_more_jobs_and_an_end_for_a_million() {
        let usual = queueing(QUEUED.try_into().expect("it fits"));
        assert_eq!(usual, Duration::from_secs(320));
        assert_eq!(queueing(1_000_000), Duration::from_secs(2120));
    }
}
