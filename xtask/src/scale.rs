//! One, two, four and eight workers come and go under load, and an interactive job waits for no more than
//! the job before it, however many bulk jobs are queued, which go on meanwhile in the slot that is theirs.

use crate::answer;
use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::noted::{self, Noted};
use crate::programs::Owned;
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many workers there are in each part of the batch.
const WORKERS: [usize; 7] = [1, 2, 4, 8, 4, 2, 1];
const QUEUED: usize = 50_000;
/// How long each job before the deep queue takes.
const JOB: Duration = Duration::from_secs(2);
/// More than a busy machine needs from a free slot to a program that runs.
const SLACK: Duration = Duration::from_millis(700);
/// Interactive jobs at one time, for one slot: long enough together for the other lane to be missed.
const INTERACTIVE: usize = 5;
const STANDSTILL: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);
const SUBMIT: Duration = Duration::from_secs(60);

/// Sends `count` jobs while workers come and go; then the deep queue.
pub(crate) fn run(workspace: &Workspace, install: Install, count: usize) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("scale")?;
    let mut fleet = Fleet::start(workspace, &folder, 0, |worker| worker)?;
    come_and_go(workspace, &mut fleet, &folder, count)?;
    overtake(workspace, &mut fleet, &folder)?;
    // The producer of the deep queue was ended in the middle: its queue is left on purpose, in a broker
    // that ends now.
    drop(fleet);
    Ok(())
}

/// The batch that must not notice.
fn come_and_go(
    workspace: &Workspace,
    fleet: &mut Fleet,
    folder: &Path,
    count: usize,
) -> Result<()> {
    let file = folder.join("jobs.jsonl");
    let results = folder.join("results.jsonl");
    let summary = folder.join("summary.json");
    let jobs: Vec<Value> = (0..count).map(small_job).collect();
    write_jobs(&file, jobs.iter())?;
    println!("Sending {count} small jobs while workers come and go: {WORKERS:?} ...");
    let mut bulk = fleet.start_counted_bulk(&file, &results, &summary)?;
    let noted = Noted::of(&results);
    let mut table = Table::new(&["workers", "jobs", "jobs a second"]);
    for (part, wanted) in WORKERS.into_iter().enumerate() {
        become_many(workspace, fleet, wanted)?;
        let before = noted.received()?;
        let watch = Stopwatch::start();
        let until = count * (part + 1) / WORKERS.len();
        let after = wait_for(fleet, &mut bulk, &noted, until)?;
        let rate = (after - before) as f64 / watch.elapsed().as_secs_f64();
        table.row([
            wanted.to_string(),
            (after - before).to_string(),
            format!("{rate:.0}"),
        ]);
    }
    let answers = fleet.finish_bulk(&mut bulk, &results)?;
    print!("{}", table.render());
    for number in 0..count {
        let id = id(number);
        let result = answers.get(&id);
        let result = result.with_context(|| format!("find the result of {id}"))?;
        let right = answer::summary(result) == "exited 0"
            && answer::text(result, "stdout") == format!("{number}\n");
        ensure!(right, "get the right answer of {id}: {result}");
    }
    ensure!(
        answers.len() == count,
        "get {count} results: {} came",
        answers.len()
    );
    let [duplicates, conflicts] = noted::counts(&summary, ["duplicates", "conflicts"])?;
    ensure!(
        (duplicates, conflicts) == (0, 0),
        "see each result once: {duplicates} came again and {conflicts} differed"
    );
    println!("{count} right results, each once; nobody who left had anything with him");
    Ok(())
}

/// Starts or drains workers until there are so many.
fn become_many(workspace: &Workspace, fleet: &mut Fleet, wanted: usize) -> Result<()> {
    while fleet.numbers().len() < wanted {
        fleet.add_worker(embedded::worker(workspace))?;
    }
    while fleet.numbers().len() > wanted {
        let oldest = fleet.numbers().first().copied();
        fleet.drain_worker(oldest.context("find a worker to drain")?)?;
    }
    Ok(())
}

/// Waits until the producer has so many results, and answers with how many it has.
fn wait_for(fleet: &Fleet, bulk: &mut Owned, noted: &Noted, wanted: usize) -> Result<usize> {
    let (mut last, mut moved) = (0, Stopwatch::start());
    loop {
        let received = noted.received()?;
        if received >= wanted {
            return Ok(received);
        }
        if received > last {
            (last, moved) = (received, Stopwatch::start());
        }
        ensure!(
            moved.elapsed() < STANDSTILL,
            "see more than {received} results within {STANDSTILL:?}; queues: {:?}",
            fleet.depths()?
        );
        if let Some(status) = bulk.wait_within(LOOK)? {
            // The last part ends with the batch.
            ensure!(
                noted.received()? >= wanted,
                "get {wanted} results: the producer ended with {status}"
            );
        }
    }
}

/// Sends interactive jobs behind the deep queue, to a worker both of whose slots are busy.
fn overtake(workspace: &Workspace, fleet: &mut Fleet, folder: &Path) -> Result<()> {
    for number in fleet.numbers() {
        fleet.drain_worker(number)?;
    }
    let (file, results) = (folder.join("deep.jsonl"), folder.join("deep.results.jsonl"));
    let jobs: Vec<Value> = (0..QUEUED).map(long_job).collect();
    write_jobs(&file, jobs.iter())?;
    let mut bulk = fleet.start_bulk(&file, &results)?;
    let watch = Stopwatch::start();
    while fleet.jobs_queued()? < QUEUED as u64 {
        ensure!(
            watch.elapsed() < STANDSTILL,
            "see {QUEUED} jobs queued within {STANDSTILL:?}: there are {}",
            fleet.jobs_queued()?
        );
        if let Some(status) = bulk.wait_within(LOOK)? {
            bail!("queue {QUEUED} jobs: the producer ended with {status}");
        }
    }
    println!("{QUEUED} jobs are queued after {:?}", watch.elapsed());
    let mut worker = embedded::worker(workspace);
    worker.args([
        "--set",
        "worker.slots=2",
        "--set",
        "worker.lanes.interactive=1",
    ]);
    let number = fleet.add_worker(worker)?;
    let noted = Noted::of(&results);
    wait_for(fleet, &mut bulk, &noted, 1)?;

    let code = folder.join("interactive.sh");
    let seconds = JOB.as_secs();
    std::fs::write(&code, format!("#!/bin/sh\nsleep {seconds}\n")).context("write a program")?;
    let (watch, before) = (Stopwatch::start(), noted.received()?);
    let mut submits = Vec::new();
    for place in 0..INTERACTIVE {
        submits.push(submit(fleet, &code, folder, place)?);
    }
    let mut waits = Vec::new();
    for (submit, result) in &mut submits {
        let status = submit.wait_within(SUBMIT)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "run an interactive job: {status:?}"
        );
        waits.push(wait_before_start(result)?);
    }
    let (elapsed, ended) = (watch.elapsed(), noted.received()? - before);
    waits.sort();
    println!("Interactive jobs of {JOB:?} for one slot, sent together, waited for {waits:?}");
    println!("In those {elapsed:.1?} the other slot had {ended} bulk jobs");
    each_started_in_time(&waits)?;
    the_other_lane_went_on(elapsed, ended)?;
    drop(bulk);
    fleet.drain_worker(number)
}

/// Holds the waits of the interactive jobs, the shortest first, against what each may have: the jobs before it, and
/// what it takes from a free slot to a program that runs.
fn each_started_in_time(waits: &[Duration]) -> Result<()> {
    for (wait, before) in waits.iter().zip(0_u32..) {
        let most = JOB * before + SLACK * (before + 1);
        ensure!(
            *wait <= most,
            "start an interactive job within one job's time of a slot that becomes free: it waited \
             for {wait:?}, and {before} were before it"
        );
    }
    Ok(())
}

/// Holds how many bulk jobs ended meanwhile against what their one slot can do: no lane lives on the other's share.
/// One more or less may be told of late.
fn the_other_lane_went_on(elapsed: Duration, ended: usize) -> Result<()> {
    let in_one_slot = |each: Duration| elapsed.as_millis() / each.as_millis();
    let least = in_one_slot(JOB + SLACK).saturating_sub(1);
    let most = in_one_slot(JOB) + 2;
    let ended = u128::try_from(ended).context("count a few jobs")?;
    ensure!(
        (least..=most).contains(&ended),
        "share the slots between the lanes: in {elapsed:?} the bulk lane's one slot had {ended} jobs of {JOB:?}, \
         and not {least} to {most}"
    );
    Ok(())
}

fn submit(fleet: &Fleet, code: &Path, folder: &Path, place: usize) -> Result<(Owned, PathBuf)> {
    let result = folder.join(format!("interactive-{place}.json"));
    let file = File::create(&result).context("make a file for a result")?;
    let mut submit = fleet.submit_command(code)?;
    submit.arg("--json").stdout(file);
    Ok((
        Owned::start("jailfleet-producer submit", &mut submit)?,
        result,
    ))
}

/// How long a job waited from its publishing to the start of its program, by its result.
fn wait_before_start(result: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(result).context("read a result")?;
    let result: Value = serde_json::from_str(&text).context("understand a result")?;
    let span = |name: &str| {
        let pointer = format!("/timing/{name}");
        let ms = result.pointer(&pointer).and_then(Value::as_f64);
        ms.with_context(|| format!("find {name} in {result}"))
    };
    let ms = span("queued_ms")? + span("setup_ms")?;
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

fn id(number: usize) -> String {
    format!("scale.{number}")
}

fn small_job(number: usize) -> Value {
    script(&id(number), &format!("sleep 0.05; echo {number}"))
}

fn long_job(number: usize) -> Value {
    let seconds = JOB.as_secs();
    script(&format!("deep.{number}"), &format!("sleep {seconds}"))
}

fn script(id: &str, command: &str) -> Value {
    json!({
        "v": 1,
        "id": id,
        "runtime": "native",
        "code": format!("#!/bin/sh\n{command}\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::{JOB, SLACK, each_started_in_time, the_other_lane_went_on};
    use std::time::Duration;

    #[test]
    fn an_interactive_job_waits_for_those_before_it_and_for_no_bulk_job() {
        each_started_in_time(&[SLACK, JOB + 2 * SLACK, 2 * JOB + 3 * SLACK]).expect("in time");
        for late in [
            vec![JOB],
            vec![SLACK, 2 * JOB],
            vec![SLACK, JOB, 2 * JOB + 3 * SLACK + Duration::from_millis(1)],
        ] {
            let error = each_started_in_time(&late).expect_err("one is late");
            let before = format!("{} were before it", late.len() - 1);
            assert!(error.to_string().contains(&before), "{error}");
        }
    }

    #[test]
    fn a_lane_that_stands_still_or_has_both_slots_is_told_from_one_that_has_its_share() {
        let elapsed = 5 * JOB + Duration::from_millis(500);
        for share in [4, 5, 6] {
            the_other_lane_went_on(elapsed, share).expect("its share");
        }
        for wrong in [0, 1, 10] {
            the_other_lane_went_on(elapsed, wrong).expect_err("not its share");
        }
    }
}
