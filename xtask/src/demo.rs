//! The examples, run and compared with what they must end as.

use crate::answer::{self, Answers};
use crate::clock::Stopwatch;
use crate::example::{self, Example};
use crate::needs::{self, Install, Need};
use crate::table::Table;
use crate::workspace::Workspace;
use crate::{build, embedded};
use anyhow::{Result, bail};
use std::collections::BTreeSet;

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

/// Runs all examples through the embedded door.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(&Need::EMBEDDED, install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("demo")?;
    let examples = example::read_all(&workspace.examples(), &folder)?;
    let jobs = folder.join("jobs.jsonl");
    example::write_jobs(&jobs, examples.iter().map(|example| &example.job))?;

    println!(
        "Running {} examples through the embedded door ...",
        examples.len()
    );
    let watch = Stopwatch::start();
    let worker = embedded::worker(workspace);
    let answers = embedded::run(worker, &jobs, &folder.join("results.jsonl"))?;
    let seconds = watch.elapsed().as_secs_f64();

    let tally = judge(&examples, &answers)?;
    print_walls(workspace, &answers)?;
    println!(
        "\n{} examples as expected, {} not, {} skipped, in {seconds:.1} s (files: {})",
        tally.right,
        tally.wrong,
        tally.skipped,
        folder.display()
    );
    conclude(tally)
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
            notes.push(format!("{}: {}", example.id, example.about));
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

fn without_detail(wall: &str) -> &str {
    wall.split_once(':').map_or(wall, |(name, _)| name)
}

/// Prints which walls held in every run, and what the doctor says about the others.
fn print_walls(workspace: &Workspace, answers: &Answers) -> Result<()> {
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
    for (wall, state, fix) in embedded::walls(workspace)? {
        if !held.contains(wall.as_str()) {
            println!("Missing here: {wall} ({state}) {fix}");
        }
    }
    Ok(())
}
