//! The trial: two workers get jobs through a broker, a third one joins, and all of them go.

mod compose;
mod images;
mod powers;

use crate::answer::{self, Answers};
use crate::containers::daemon::Daemon;
use crate::demo;
use crate::example::{self, Example};
use crate::programs::capture;
use crate::steps::both;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use compose::Compose;
use jailfleet::wall::WallSet;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// How many jobs go through the broker.
const JOBS: usize = 200;
/// Examples that need what only the demo's own configuration has, or that no worker ever sees.
const OTHERS: [&str; 2] = ["python-venv.", "rejected."];

/// Tries compose file, capabilities and system call filter.
pub(super) fn run(workspace: &Workspace, daemon: &Daemon, base: &Path) -> Result<()> {
    let folder = workspace.fresh_folder("containers")?;
    let examples: Vec<Example> = example::read_all(&workspace.examples(), &folder)?
        .into_iter()
        .filter(|example| !OTHERS.iter().any(|other| example.id.starts_with(other)))
        .collect();
    println!("Making images ...");
    images::make(workspace, daemon, base, &folder)?;
    powers::each_is_needed(workspace, daemon, &folder, &examples)?;
    println!("Starting RabbitMQ and two workers by the compose file ...");
    let compose = Compose::new(workspace, daemon, &folder)?;
    let tried = fleet(&compose, &folder, &examples);
    if tried.is_err() {
        println!("{}", compose.last_words());
    }
    both(tried, compose.down())
}

fn fleet(compose: &Compose<'_>, folder: &Path, examples: &[Example]) -> Result<()> {
    compose.up(2)?;
    let many = repeated(examples, JOBS);
    let answers = bulk(compose, folder, "two-workers", &many)?;
    let tally = demo::judge(&many, &answers)?;
    println!("\n{tally}, by two workers in containers");
    demo::conclude(tally)?;
    let workers = hosts(&answers);
    ensure!(
        workers.len() == 2,
        "have both workers work: {workers:?} did"
    );
    every_run_was_proven(&answers)?;
    fit(compose)?;
    compose.wait_until_scraped(2)?;

    compose.up(3)?;
    compose.wait_until_scraped(3)?;
    let few = repeated(examples, examples.len().min(20));
    let answers = bulk(compose, folder, "three-workers", &few)?;
    let tally = demo::judge(&few, &answers)?;
    println!("\n{tally}, by three workers in containers");
    demo::conclude(tally)
}

fn bulk(compose: &Compose<'_>, folder: &Path, name: &str, examples: &[Example]) -> Result<Answers> {
    let jobs = format!("{name}.jobs.jsonl");
    let results = format!("{name}.results.jsonl");
    example::write_jobs(
        &folder.join(&jobs),
        examples.iter().map(|example| &example.job),
    )?;
    compose.bulk(&jobs, &results)?;
    answer::read_all(&folder.join(results))
}

/// The examples again and again, under ids of their own.
fn repeated(examples: &[Example], count: usize) -> Vec<Example> {
    let again = examples.iter().cycle().take(count).zip(0_usize..);
    again
        .map(|(example, number)| {
            let id = format!("{}.{number}", example.id);
            let mut job = example.job.clone();
            if let Some(fields) = job.as_object_mut() {
                fields.insert("id".to_owned(), Value::from(id.clone()));
            }
            Example {
                id,
                kind: example.kind.clone(),
                about: example.about.clone(),
                expect: example.expect.clone(),
                needs: example.needs.clone(),
                may_differ: example.may_differ.clone(),
                job,
            }
        })
        .collect()
}

fn hosts(answers: &Answers) -> BTreeSet<&str> {
    let hosts = answers
        .values()
        .filter_map(|result| result.pointer("/worker/host"));
    hosts.filter_map(Value::as_str).collect()
}

/// Outcomes of a program that was started.
const OF_A_RUN: [&str; 6] = [
    "exited",
    "signaled",
    "cpu_limit",
    "wall_limit",
    "memory_limit",
    "output_limit",
];

/// Every program ran behind all walls of the set, in a slot whose canary had come back.
fn every_run_was_proven(answers: &Answers) -> Result<()> {
    let required = WallSet::Container.required();
    let ran = answers
        .iter()
        .filter(|(_, result)| OF_A_RUN.contains(&answer::text(result, "outcome")));
    let mut runs = 0;
    for (id, result) in ran {
        let held: BTreeSet<&str> = answer::walls(result).map(demo::without_detail).collect();
        let fallen: Vec<&str> = required
            .iter()
            .map(|wall| wall.as_str())
            .filter(|wall| !held.contains(wall))
            .collect();
        ensure!(fallen.is_empty(), "run {id} behind {}", fallen.join(", "));
        ensure!(
            result.pointer("/worker/last_canary").is_some(),
            "prove the walls before {id}"
        );
        runs += 1;
    }
    ensure!(runs > 0, "see a program run: none of {} did", answers.len());
    println!("{runs} runs, each behind the walls of the set and after a canary");
    Ok(())
}

/// What `doctor` says in a container.
fn fit(compose: &Compose<'_>) -> Result<()> {
    let mut doctor = compose.command();
    doctor.args([
        "exec",
        "-T",
        "worker",
        "jailfleet-worker",
        "doctor",
        "--json",
    ]);
    let report = capture("doctor", &mut doctor).context("hear that a container is fit")?;
    let report: Value = serde_json::from_str(&report).context("read what doctor wrote")?;
    ensure!(
        report.get("fit") == Some(&Value::Bool(true)),
        "have a fit container: {report}"
    );
    let walls = report.get("walls").and_then(Value::as_array);
    let missing: Vec<&str> = walls
        .context("find the walls of doctor's report")?
        .iter()
        .filter(|wall| answer::text(wall, "state") == "missing")
        .map(|wall| answer::text(wall, "wall"))
        .collect();
    println!("Missing in a container here: {}", missing.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Answers, every_run_was_proven};
    use jailfleet::wall::WallSet;
    use serde_json::{Value, json};

    fn proven(results: &[Value]) -> bool {
        let ids = (0..).map(|number: u32| number.to_string());
        let answers: Answers = ids.zip(results.iter().cloned()).collect();
        every_run_was_proven(&answers).is_ok()
    }

    #[test]
    fn runs_are_required_each_with_its_walls_and_its_canary() {
        let walls: Vec<&str> = WallSet::Container
            .required()
            .iter()
            .map(|wall| wall.as_str())
            .collect();
        let canary = json!({ "last_canary": "2026-11-24T12:00:00Z" });
        let run = json!({ "outcome": "exited", "walls": walls, "worker": canary });
        let expired = json!({ "outcome": "expired" });
        let without = |field: &str| {
            let mut run = run.clone();
            let fields = run.as_object_mut().expect("an object");
            fields.remove(field).expect("it was there");
            run
        };
        assert!(proven(&[expired.clone(), run.clone()]));
        assert!(!proven(&[]), "nothing came");
        assert!(!proven(&[expired]), "nothing ran");
        assert!(
            !proven(&[run.clone(), without("walls")]),
            "no walls are told"
        );
        assert!(
            !proven(&[run.clone(), without("worker")]),
            "no canary is told"
        );
    }
}
