//! How fast jobs run, beside a bare loop that starts the same program without any wall.

mod cost;
pub(crate) mod limits;

use crate::answer::Answers;
use crate::clock::Stopwatch;
use crate::example::{blob, write_jobs};
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::{command, output, run};
use crate::table::Table;
use crate::workspace::Workspace;
use crate::{build, embedded, proc_tree};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A program to be measured.
struct Subject {
    name: &'static str,
    runtime: &'static str,
    code: Value,
    /// The command line without jailfleet, as the runtime's configuration has it.
    bare: Vec<PathBuf>,
    jobs: usize,
}

/// What one way of running a subject gave.
struct Measured {
    jobs_per_s: f64,
    /// Of each job, in ms, sorted.
    latencies: Vec<f64>,
    cpu_per_job_ms: f64,
    /// Mean of each part of a job's time, where the way can tell.
    parts: Option<[f64; 3]>,
    /// Mean microseconds of each step of a job, where the way can tell.
    steps: Vec<(String, f64)>,
}

/// Measures everything and prints the table.
pub(crate) fn bench(workspace: &Workspace, install: Install, scale: usize) -> Result<()> {
    needs::provide(
        &[Need::Python, Need::Compiler, Need::Pkill, Need::Rabbit],
        install,
    )?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("bench")?;
    let cores = std::thread::available_parallelism()
        .context("count the cores")?
        .get();
    println!("{cores} jobs at one time, each way; the bare loop starts the program with no wall");

    let mut table = Table::new(&[
        "program",
        "way",
        "jobs/s",
        "of bare",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "CPU ms/job",
        "setup ms",
        "run ms",
        "after ms",
    ]);
    let mut costs = Vec::new();
    for subject in subjects(workspace, &folder, scale)? {
        let bare = bare(&subject, cores)?;
        let baseline = bare.jobs_per_s;
        table.row(row(&subject, "bare loop", &bare, baseline));
        let measured = through_embedded(workspace, &folder, &subject, cores)?;
        table.row(row(&subject, "embedded door", &measured, baseline));
        let measured = through_rabbitmq(workspace, &folder, &subject, cores)?;
        table.row(row(&subject, "RabbitMQ", &measured, baseline));
        costs.push((subject.name, measured.steps));
    }
    println!("\n{}", table.render());
    println!(
        "jobs/s leaves out starting up: (jobs - 1) over the time beyond that of a single job.\n\
         Latency runs from a delivery to its result, waiting for a slot included (setup), the queue not.\n\
         CPU counts every process of ours, broker and producer left out.\n"
    );
    println!("{}", cost::table(&costs));
    println!(
        "Mean microseconds of a job's steps through RabbitMQ, from its delivery to a clean slot. `wait` is\n\
         decoding and waiting for a slot; `order` and `report` the ways to the jail and back."
    );
    Ok(())
}

fn row(subject: &Subject, way: &str, measured: &Measured, baseline: f64) -> Vec<String> {
    let percentile = |percent: usize| {
        let last = measured.latencies.len().saturating_sub(1);
        measured
            .latencies
            .get(last * percent / 100)
            .map_or("-".to_owned(), |ms| format!("{ms:.2}"))
    };
    let part = |index: usize| {
        let value = measured.parts.and_then(|parts| parts.get(index).copied());
        value.map_or("-".to_owned(), |ms| format!("{ms:.2}"))
    };
    vec![
        subject.name.to_owned(),
        way.to_owned(),
        format!("{:.1}", measured.jobs_per_s),
        format!("{:.2}", measured.jobs_per_s / baseline),
        percentile(50),
        percentile(95),
        percentile(99),
        format!("{:.2}", measured.cpu_per_job_ms),
        part(0),
        part(1),
        part(2),
    ]
}

fn subjects(workspace: &Workspace, folder: &Path, scale: usize) -> Result<[Subject; 2]> {
    let script = folder.join("hello.py");
    let python = "print(6 * 7)\n";
    std::fs::write(&script, python).context("write the Python program")?;
    let native = folder.join("hello");
    let source = workspace.examples().join("native/hello.c");
    run(
        "cc",
        command("cc")
            .args(["-O1", "-s", "-o"])
            .arg(&native)
            .arg(source),
    )?;
    Ok([
        Subject {
            name: "python",
            runtime: "python",
            code: json!(python),
            bare: vec!["/usr/bin/python3".into(), "-E".into(), "-B".into(), script],
            jobs: 400 * scale,
        },
        Subject {
            name: "native",
            runtime: "native",
            code: blob(&std::fs::read(&native).context("read the native program")?),
            bare: vec![native],
            jobs: 2000 * scale,
        },
    ])
}

/// Starts the program in a loop on as many threads as the workers have slots.
fn bare(subject: &Subject, threads: usize) -> Result<Measured> {
    let cpu_before = proc_tree::reaped_by_us()?;
    let watch = Stopwatch::start();
    let started = AtomicUsize::new(0);
    let work = || -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        while started.fetch_add(1, Ordering::Relaxed) < subject.jobs {
            let one = Stopwatch::start();
            let (program, arguments) = subject.bare.split_first().context("find the program")?;
            let ended = output(subject.name, command(program).args(arguments))?;
            ensure!(
                ended.stdout == b"42\n",
                "get the answer of the bare {}",
                subject.name
            );
            latencies.push(ms(one.elapsed()));
        }
        Ok(latencies)
    };
    let mut latencies = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            latencies.extend(worker.join().expect("the loop returns its errors")?);
        }
        Ok(())
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    let cpu = proc_tree::reaped_by_us()?.saturating_sub(cpu_before);
    latencies.sort_by(f64::total_cmp);
    Ok(Measured {
        jobs_per_s: count(subject.jobs) / seconds,
        latencies,
        cpu_per_job_ms: ms(cpu) / count(subject.jobs),
        parts: None,
        steps: Vec::new(),
    })
}

fn through_embedded(
    workspace: &Workspace,
    folder: &Path,
    subject: &Subject,
    slots: usize,
) -> Result<Measured> {
    let worker = || slotted(embedded::worker(workspace), slots);
    let results = folder.join("results.jsonl");
    let (single, many) = job_files(folder, subject)?;

    let (cpu, watch) = (proc_tree::reaped_by_us()?, Stopwatch::start());
    embedded::run(worker(), &single, &results)?;
    let (alone, cpu_alone) = (
        watch.elapsed(),
        proc_tree::reaped_by_us()?.saturating_sub(cpu),
    );

    let (cpu, watch) = (proc_tree::reaped_by_us()?, Stopwatch::start());
    let answers = embedded::run(worker(), &many, &results)?;
    let (all, cpu_all) = (
        watch.elapsed(),
        proc_tree::reaped_by_us()?.saturating_sub(cpu),
    );
    measured(
        subject,
        &answers,
        all.saturating_sub(alone),
        cpu_all.saturating_sub(cpu_alone),
    )
}

fn through_rabbitmq(
    workspace: &Workspace,
    folder: &Path,
    subject: &Subject,
    slots: usize,
) -> Result<Measured> {
    let folder = &folder.join(subject.name);
    std::fs::create_dir_all(folder).context("make the folder of a bench")?;
    let results = |name: &str| folder.join(format!("{name}.results.jsonl"));
    let (single, many) = job_files(folder, subject)?;
    // All jobs are bulk: a slot kept for the other lane would compare one slot with two.
    let all_bulk = |mut worker: Command| {
        worker.args(["--set", "worker.lanes.interactive=0"]);
        slotted(worker, slots)
    };
    let mut fleet = Fleet::start(workspace, folder, 1, all_bulk)?;
    let cpu_of = |fleet: &Fleet| -> Result<Duration> {
        fleet
            .pids()
            .into_iter()
            .map(|pid| Ok(proc_tree::look(pid)?.cpu))
            .sum()
    };
    // The first one also waits until worker and queues are there.
    fleet.bulk(&single, &results("first"))?;
    let watch = Stopwatch::start();
    fleet.bulk(&single, &results("single"))?;
    let alone = watch.elapsed();
    let before = cost::Steps::read(&fleet.metrics(1)?)?;
    let (cpu, watch) = (cpu_of(&fleet)?, Stopwatch::start());
    let answers = fleet.bulk(&many, &results("many"))?;
    let (all, cpu) = (watch.elapsed(), cpu_of(&fleet)?.saturating_sub(cpu));
    let after = cost::Steps::read(&fleet.metrics(1)?)?;
    fleet.stop()?;
    Ok(Measured {
        steps: after.since(&before, count(subject.jobs)),
        ..measured(subject, &answers, all.saturating_sub(alone), cpu)?
    })
}

fn slotted(mut worker: Command, slots: usize) -> Command {
    worker.arg("--set").arg(format!("worker.slots={slots}"));
    worker
}

/// A file with one job and a file with all.
fn job_files(folder: &Path, subject: &Subject) -> Result<(PathBuf, PathBuf)> {
    let jobs: Vec<Value> = (0..subject.jobs)
        .map(|number| {
            json!({
                "v": 1,
                "id": format!("{}.{number}", subject.name),
                "runtime": subject.runtime,
                "code": subject.code,
            })
        })
        .collect();
    let (single, many) = (folder.join("single.jsonl"), folder.join("many.jsonl"));
    write_jobs(&single, jobs.iter().take(1))?;
    write_jobs(&many, jobs.iter())?;
    Ok((single, many))
}

fn measured(
    subject: &Subject,
    answers: &Answers,
    beyond_one: Duration,
    cpu: Duration,
) -> Result<Measured> {
    ensure!(
        answers.len() == subject.jobs,
        "get a result of each job: {} came",
        answers.len()
    );
    let mut latencies = Vec::with_capacity(answers.len());
    let mut sums = [0.0; 3];
    for (id, result) in answers {
        let right = result.get("stdout").and_then(Value::as_str) == Some("42\n");
        ensure!(right, "get the right answer of {id}: {result}");
        let timing = |field: &str| {
            let found = result.get("timing").and_then(|timing| timing.get(field));
            found.and_then(Value::as_f64).unwrap_or(0.0)
        };
        let latency = timing("total_ms");
        latencies.push(latency);
        let (setup, run) = (timing("setup_ms"), timing("run_ms"));
        for (sum, part) in sums.iter_mut().zip([setup, run, latency - setup - run]) {
            *sum += part;
        }
    }
    latencies.sort_by(f64::total_cmp);
    let jobs = count(subject.jobs);
    Ok(Measured {
        jobs_per_s: (jobs - 1.0) / beyond_one.as_secs_f64(),
        latencies,
        cpu_per_job_ms: ms(cpu) / jobs,
        parts: Some(sums.map(|sum| sum / jobs)),
        steps: Vec::new(),
    })
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn count(jobs: usize) -> f64 {
    u32::try_from(jobs).map_or(f64::INFINITY, f64::from)
}
