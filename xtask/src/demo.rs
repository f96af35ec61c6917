//! The examples, run and compared with what they must end as.

use crate::answer::{self, Answers};
use crate::clock::Stopwatch;
use crate::example::{self, Example};
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::table::Table;
use crate::workspace::Workspace;
use crate::{build, embedded, venv};
use anyhow::{Result, bail, ensure};
use jailfleet::wall::Wall;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

/// How many examples ended as they must.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// As expected.
    pub(crate) right: usize,
    /// Otherwise, or not at all.
    pub(crate) wrong: usize,
    /// Not judged, since a wall that they are about is missing here.
    pub(crate) skipped: usize,
}

/// Examples ready to be run: in a folder of their own, with the configuration that they need.
struct Prepared {
    folder: PathBuf,
    examples: Vec<Example>,
    jobs: PathBuf,
    config: PathBuf,
}

fn prepare(workspace: &Workspace, folder: &str) -> Result<Prepared> {
    build::release(workspace)?;
    let folder = workspace.fresh_folder(folder)?;
    let config = venv::configuration(workspace, &folder)?;
    let examples = example::read_all(&workspace.examples(), &folder)?;
    let jobs = folder.join("jobs.jsonl");
    example::write_jobs(&jobs, examples.iter().map(|example| &example.job))?;
    Ok(Prepared {
        folder,
        examples,
        jobs,
        config,
    })
}

impl Prepared {
    fn configure(&self, mut worker: Command) -> Command {
        worker.arg("--config").arg(&self.config);
        worker
    }

    fn run_embedded(&self, workspace: &Workspace) -> Result<Answers> {
        println!(
            "Running {} examples through the embedded door ...",
            self.examples.len()
        );
        let worker = self.configure(embedded::worker(workspace));
        embedded::run(worker, &self.jobs, &self.folder.join("embedded.jsonl"))
    }
}

impl Prepared {
    /// What the producer refuses never reaches a worker, and has no result. Where it named the line
    /// with the very code that the embedded door answered with, that stands for the result.
    fn take_refused(
        &self,
        embedded: &Answers,
        queued: &mut Answers,
        words: &str,
    ) -> BTreeSet<String> {
        let mut refused = BTreeSet::new();
        for (example, number) in self.examples.iter().zip(1_u32..) {
            let Some(result) = embedded.get(&example.id) else {
                continue;
            };
            let Some(code) = answer::error_code(result) else {
                continue;
            };
            let said = format!("line {number}: {code}");
            if !queued.contains_key(&example.id) && words.lines().any(|line| line.contains(&said)) {
                queued.insert(example.id.clone(), result.clone());
                refused.insert(example.id.clone());
            }
        }
        refused
    }
}

/// Runs all examples through the embedded door.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&Need::EMBEDDED, install)?;
    let prepared = prepare(workspace, "demo")?;
    let watch = Stopwatch::start();
    let answers = prepared.run_embedded(workspace)?;
    let seconds = watch.elapsed().as_secs_f64();
    let tally = judge(&prepared.examples, &answers)?;
    print_walls(workspace, &answers);
    println!(
        "\n{tally}, in {seconds:.1} s (files: {})",
        prepared.folder.display()
    );
    conclude(tally)
}

/// Runs all examples through both doors; the results must be the same but for what belongs to the
/// single run.
pub(crate) fn over_amqp(workspace: &Workspace, install: Install) -> Result<()> {
    let needs = [&Need::EMBEDDED[..], &[Need::Rabbit]].concat();
    needs::provide(&needs, install)?;
    let prepared = prepare(workspace, "demo-amqp")?;
    let embedded = prepared.run_embedded(workspace)?;
    println!("Sending them through RabbitMQ to two workers ...");
    let mut fleet = Fleet::start(workspace, &prepared.folder, 2, |worker| {
        prepared.configure(worker)
    })?;
    let (mut queued, words) =
        fleet.bulk_with_bad_lines(&prepared.jobs, &prepared.folder.join("amqp.jsonl"))?;
    fleet.stop()?;

    let refused = prepared.take_refused(&embedded, &mut queued, &words);
    let tally = judge(&prepared.examples, &queued)?;
    println!(
        "\n{tally}; {} of them were refused by the producer, before the broker, with the code of the \
         embedded door",
        refused.len()
    );
    let (mut compared, mut different) = (0, 0);
    let travelled = |example: &&Example| !refused.contains(&example.id);
    for example in prepared.examples.iter().filter(travelled) {
        let (Some(one), Some(other)) = (embedded.get(&example.id), queued.get(&example.id)) else {
            different += 1;
            println!("  {}: one of the two doors gave no result", example.id);
            continue;
        };
        if !missing_walls(example, one).is_empty() {
            continue;
        }
        compared += 1;
        let differences = answer::differences(one, other, &example.may_differ);
        different += usize::from(!differences.is_empty());
        for line in differences {
            println!("  {}: {line}", example.id);
        }
    }
    println!(
        "{compared} results went through both doors and were compared in all but usage, timing, worker \
         and the random name of the run's folder; {different} differ"
    );
    ensure!(
        compared > 0 && different == 0,
        "get the same results through both doors"
    );
    conclude(tally)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            wrong,
            skipped,
        } = self;
        write!(
            f,
            "{right} examples as expected, {wrong} not, {skipped} skipped"
        )
    }
}

/// An error unless every example that was judged ended as it must.
pub(crate) fn conclude(tally: Tally) -> Result<()> {
    if tally.wrong > 0 {
        bail!("get the expected outcome of {} examples", tally.wrong);
    }
    Ok(())
}

/// Prints the table of expectations and outcomes.
pub(crate) fn judge(examples: &[Example], answers: &Answers) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut table = Table::new(&["example", "expected", "outcome", "run ms", ""]);
    let mut notes = Vec::new();
    for example in examples {
        let expected = answer::expected_summary(&example.expect);
        let Some(result) = answers.get(&example.id) else {
            tally.wrong += 1;
            table.row([
                example.id.clone(),
                expected,
                "none".into(),
                "-".into(),
                "WRONG".into(),
            ]);
            continue;
        };
        let wrong = answer::mismatches(&example.expect, result)?;
        let missing = missing_walls(example, result);
        let word = if wrong.is_empty() {
            tally.right += 1;
            "ok"
        } else if !missing.is_empty() {
            tally.skipped += 1;
            notes.push(format!(
                "{}: not judged without {}",
                example.id,
                missing.join(", ")
            ));
            "skipped"
        } else {
            tally.wrong += 1;
            notes.push(format!(
                "{} ({}): {}",
                example.id, example.kind, example.about
            ));
            notes.extend(wrong.iter().map(|line| format!("    {line}")));
            "WRONG"
        };
        let run_ms = result
            .pointer("/timing/run_ms")
            .map_or("-".to_owned(), ToString::to_string);
        table.row([
            example.id.clone(),
            expected,
            answer::summary(result),
            run_ms,
            word.into(),
        ]);
    }
    print!("{}", table.render());
    for note in notes {
        println!("  {note}");
    }
    Ok(tally)
}

/// The walls that an example needs and that did not hold in its run.
fn missing_walls<'a>(example: &'a Example, result: &serde_json::Value) -> Vec<&'a str> {
    // A refused job ran behind no wall at all: that is never an excuse.
    let held: BTreeSet<&str> = answer::walls(result).map(without_detail).collect();
    if held.is_empty() {
        return Vec::new();
    }
    example
        .needs
        .iter()
        .map(String::as_str)
        .filter(|need| !held.contains(need))
        .collect()
}

/// The name of a wall, as in `landlock` of `landlock:7`.
pub(crate) fn without_detail(wall: &str) -> &str {
    wall.split_once(':').map_or(wall, |(name, _)| name)
}

/// Prints which walls held in every run, and what the doctor says about the others.
fn print_walls(workspace: &Workspace, answers: &Answers) {
    let runs: Vec<BTreeSet<&str>> = answers
        .values()
        .map(|result| answer::walls(result).collect::<BTreeSet<_>>())
        .filter(|walls| !walls.is_empty())
        .collect();
    let all: BTreeSet<&str> = runs.iter().flatten().copied().collect();
    let (always, sometimes): (Vec<&str>, Vec<&str>) = all
        .iter()
        .partition(|wall| runs.iter().all(|run| run.contains(**wall)));
    println!(
        "\nWalls that held in all {} runs: {}",
        runs.len(),
        always.join(" ")
    );
    if !sometimes.is_empty() {
        println!("Walls that held in some runs only: {}", sometimes.join(" "));
    }
    let held: BTreeSet<&str> = all.iter().map(|wall| without_detail(wall)).collect();
    // uid or userns: one of the two is enough, and nobody can have both.
    let has_identity = held.contains("uid") || held.contains("userns");
    let missing: Vec<&str> = Wall::ALL
        .iter()
        .map(|wall| wall.as_str())
        .filter(|wall| !held.contains(wall))
        .filter(|wall| !(has_identity && matches!(*wall, "uid" | "userns")))
        .collect();
    if missing.is_empty() {
        println!("No wall is missing here");
        return;
    }
    let advice = embedded::advice(workspace).unwrap_or_else(|error| {
        println!("(jailfleet-worker doctor has no advice: failed to {error:#})");
        BTreeMap::new()
    });
    for wall in missing {
        println!(
            "Missing here: {wall} {}",
            advice.get(wall).map_or("", String::as_str)
        );
    }
}
