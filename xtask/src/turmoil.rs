//! Five workers, and everything around a batch of mixed jobs dies at random: workers, wardens, the
//! broker, the producer. Each job must still get its one right result.

mod blows;

use crate::answer::{self, Answers};
use crate::build;
use crate::clock::Stopwatch;
use crate::embedded;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::noted::{self, Noted};
use crate::programs::{Owned, capture};
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use blows::Blow;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const WORKERS: usize = 5;
/// So many jobs for each round of blows.
const JOBS_A_ROUND: usize = 5_000;
/// How long a worker is frozen: the broker misses two heartbeats and closes the connection.
const FROZEN: Duration = Duration::from_secs(8);
/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Longer than any pause that is meant to be: the longest back-off, or a broker that starts.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Cancels stay for workers to come, and lost results are looked at one by one.
const QUEUES_THAT_KEEP: [&str; 2] = ["jailfleet.cancels", "jailfleet.results.lost"];

/// A batch under way, and what it runs on.
struct Turmoil<'a> {
    workspace: &'a Workspace,
    fleet: Fleet,
    jobs: usize,
    bulk: Owned,
    files: Files,
    random: fastrand::Rng,
    frozen: Option<(usize, Stopwatch)>,
    dealt: BTreeMap<Blow, usize>,
}

struct Files {
    jobs: PathBuf,
    results: PathBuf,
    summary: PathBuf,
    /// Results that nobody waited for any longer.
    late: PathBuf,
}

/// Sends `count` mixed jobs while blows fall, by a plan that `seed` decides.
pub(crate) fn run(
    workspace: &Workspace,
    install: Install,
    count: usize,
    seed: Option<u64>,
) -> Result<()> {
    needs::provide(&[Need::Pkill, Need::Rabbit], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("turmoil")?;
    let files = Files {
        jobs: folder.join("jobs.jsonl"),
        results: folder.join("results.jsonl"),
        summary: folder.join("summary.json"),
        late: folder.join("late.jsonl"),
    };
    let jobs: Vec<Value> = (0..count).map(blows::job).collect();
    write_jobs(&files.jobs, jobs.iter())?;
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let plan = blows::plan(count, count.div_ceil(JOBS_A_ROUND), &mut random);
    println!(
        "Sending {count} mixed jobs to {WORKERS} workers, and dealing {} blows (--seed {seed}) ...",
        plan.len()
    );
    let fleet = Fleet::start(workspace, &folder, WORKERS, with_short_heartbeats)?;
    let watch = Stopwatch::start();
    let bulk = fleet.start_counted_bulk(&files.jobs, &files.results, &files.summary)?;
    let mut turmoil = Turmoil {
        workspace,
        fleet,
        jobs: count,
        bulk,
        files,
        random,
        frozen: None,
        dealt: BTreeMap::new(),
    };
    let blows = plan.len();
    for (number, due) in plan.into_iter().enumerate() {
        if !turmoil.wait_for_results(due.after)? {
            println!(
                "All results had come before the last {} blows",
                blows - number
            );
            break;
        }
        turmoil.deal(due.blow).with_context(|| {
            format!(
                "deal the blow \"{}\" after {} results",
                due.blow.words(),
                due.after
            )
        })?;
    }
    let (answers, dealt) = turmoil.finish()?;
    println!("{}", table(&dealt).render());
    for number in 0..count {
        right(&answers, number)?;
    }
    ensure!(
        answers.len() == count,
        "get {count} results: {} came",
        answers.len()
    );
    println!(
        "{count} jobs, {count} right results, each once, in {:.1} s",
        watch.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Short ones, so that a worker need not be frozen for long before the broker gives it up.
fn with_short_heartbeats(mut worker: Command) -> Command {
    worker.args(["--set", "amqp.heartbeat_s=2"]);
    worker
}

impl Turmoil<'_> {
    /// Waits until the producer has received so many results. False when it has all of them and ended: one that
    /// was killed and started again may find the rest of them waiting.
    fn wait_for_results(&mut self, wanted: usize) -> Result<bool> {
        let noted = Noted::of(&self.files.results);
        let (mut last, mut moved) = (0, Stopwatch::start());
        loop {
            let received = noted.received()?;
            if received >= wanted {
                return Ok(true);
            }
            if received > last {
                (last, moved) = (received, Stopwatch::start());
            }
            ensure!(
                moved.elapsed() < STANDSTILL,
                "see more than {received} results within {STANDSTILL:?}; queues: {:?}",
                self.fleet.depths()?
            );
            self.thaw_in_time()?;
            if let Some(status) = self.bulk.wait_within(LOOK)? {
                if noted.received()? == self.jobs {
                    return Ok(false);
                }
                bail!("send jobs to the end: the producer ended with {status} after {received}");
            }
        }
    }

    fn deal(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::KillWorker => {
                let number = self.victim()?;
                self.fleet.kill_worker(number)?;
                self.replace()?;
            }
            Blow::DrainWorker => {
                let number = self.victim()?;
                self.fleet.drain_worker(number)?;
                self.replace()?;
            }
            Blow::KillWarden => {
                let number = self.victim()?;
                self.fleet.kill_warden(number)?;
                self.replace()?;
            }
            Blow::FreezeWorker => {
                self.thaw()?;
                let number = self.victim()?;
                self.fleet.living(number)?.freeze()?;
                self.frozen = Some((number, Stopwatch::start()));
            }
            Blow::RestartBroker => self.fleet.restart_broker()?,
            Blow::KillProducer => {
                self.bulk.kill()?;
                let Files {
                    jobs,
                    results,
                    summary,
                    ..
                } = &self.files;
                self.bulk = self.fleet.start_counted_bulk(jobs, results, summary)?;
            }
        }
        *self.dealt.entry(blow).or_default() += 1;
        Ok(())
    }

    /// Any worker that is not frozen.
    fn victim(&mut self) -> Result<usize> {
        let mut numbers = self.fleet.numbers();
        numbers.retain(|number| self.frozen.is_none_or(|(frozen, _)| frozen != *number));
        let number = self.random.choice(numbers);
        number.context("find a worker that is not frozen")
    }

    fn replace(&mut self) -> Result<()> {
        let worker = with_short_heartbeats(embedded::worker(self.workspace));
        self.fleet.add_worker(worker)?;
        Ok(())
    }

    fn thaw_in_time(&mut self) -> Result<()> {
        match self.frozen {
            Some((_, since)) if since.elapsed() >= FROZEN => self.thaw(),
            Some(_) | None => Ok(()),
        }
    }

    fn thaw(&mut self) -> Result<()> {
        match self.frozen.take() {
            Some((number, _)) => self.fleet.living(number)?.thaw(),
            None => Ok(()),
        }
    }

    /// Waits for the end of the batch, and sees that the fleet has nothing left to do.
    fn finish(mut self) -> Result<(Answers, BTreeMap<Blow, usize>)> {
        while self.frozen.is_some() && self.bulk.wait_within(LOOK)?.is_none() {
            self.thaw_in_time()?;
        }
        self.thaw()?;
        let answers = self
            .fleet
            .finish_bulk(&mut self.bulk, &self.files.results)?;
        let names = ["duplicates", "conflicts"];
        let [duplicates, conflicts] = noted::counts(&self.files.summary, names)?;
        println!(
            "Since its last start the producer dropped {duplicates} equal duplicates and saw \
             {conflicts} conflicts"
        );
        ensure!(conflicts == 0, "see no results in conflict: {conflicts}");
        let confirmed = Noted::of(&self.files.results).reconcile(&answers, self.jobs)?;
        println!("The broker confirmed {confirmed} jobs by the journal, and each has its result");
        self.work_off()?;
        self.fleet.drain()?;
        self.nothing_else(&answers)?;
        self.fleet.stop()?;
        Ok((answers, self.dealt))
    }

    /// Waits until the workers have done what the producer no longer waits for: who was killed, or lost its
    /// broker, before a confirm came sends a job again, and the second message may lie behind all the others.
    fn work_off(&self) -> Result<()> {
        let watch = Stopwatch::start();
        let mut most = 0;
        loop {
            // The look takes a second or two, and so paces itself.
            let left = self.left_in_queues()?;
            let jobs = left.values().sum();
            if jobs == 0 {
                println!(
                    "{most} messages were left after the last result, and the workers took them all"
                );
                return Ok(());
            }
            most = most.max(jobs);
            let waited = watch.elapsed();
            ensure!(
                waited < STANDSTILL,
                "see the workers take what is left within {STANDSTILL:?}: {left:?}"
            );
        }
    }

    /// The queues in which something is that must not stay.
    fn left_in_queues(&self) -> Result<BTreeMap<String, u64>> {
        let mut left = self.fleet.depths()?;
        left.retain(|queue, depth| *depth > 0 && !QUEUES_THAT_KEEP.contains(&queue.as_str()));
        Ok(left)
    }

    /// Sees that the queues hold no job and no dead letter, and no result but second ones of jobs that have
    /// theirs: who was frozen or cut off may publish one when nobody waits for it any longer.
    fn nothing_else(&self, answers: &Answers) -> Result<()> {
        let left = self.left_in_queues()?;
        ensure!(left.is_empty(), "leave nothing in other queues: {left:?}");
        let mut fetch = self.fleet.producer_command()?;
        fetch.args(["lost", "fetch", "--results"]);
        capture("lost fetch", fetch.arg(&self.files.late))?;
        let late = answer::read_all(&self.files.late)?;
        for (id, result) in &late {
            let equal = answers.get(id).is_some_and(|first| {
                answer::summary(first) == answer::summary(result)
                    && answer::text(first, "stdout") == answer::text(result, "stdout")
            });
            ensure!(equal, "have a lost result be a second one: {result}");
        }
        println!(
            "No job or dead letter is left in a queue; {} results came a second time, late",
            late.len()
        );
        Ok(())
    }
}

/// An error unless a job's result is what its program must get.
fn right(answers: &Answers, number: usize) -> Result<()> {
    let id = blows::id(number);
    let result = answers.get(&id);
    let result = result.with_context(|| format!("find the result of {id}"))?;
    let (summary, stdout) = blows::expected(number);
    let as_expected = answer::summary(result) == summary
        && stdout.is_none_or(|stdout| answer::text(result, "stdout") == stdout);
    ensure!(as_expected, "get {summary} for {id}: {result}");
    Ok(())
}

fn table(dealt: &BTreeMap<Blow, usize>) -> Table {
    let mut table = Table::new(&["what happened", "times"]);
    for (blow, times) in dealt {
        table.row([blow.words().to_owned(), times.to_string()]);
    }
    table
}
