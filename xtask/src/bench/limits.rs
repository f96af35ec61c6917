//! How exactly limits hold: how far beyond its limit a run gets before it is ended.

use crate::example::write_jobs;
use crate::needs::{self, Install, Need};
use crate::table::Table;
use crate::workspace::Workspace;
use crate::{build, embedded};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Runs of each kind, one after the other, at the scale 1.
const RUNS: usize = 20;
/// The limit, in milliseconds.
const LIMIT: f64 = 1000.0;

/// A program that runs into a limit, and where its result tells how far it came.
struct Subject {
    name: &'static str,
    outcome: &'static str,
    code: &'static str,
    limits: Value,
    measured: &'static str,
}

fn subjects() -> [Subject; 4] {
    let cpu = json!({ "cpu_ms": 1000, "wall_ms": 10_000 });
    let wall = json!({ "cpu_ms": 10_000, "wall_ms": 1000 });
    [
        Subject {
            name: "CPU time, one process",
            outcome: "cpu_limit",
            code: "while :; do :; done",
            limits: cpu.clone(),
            measured: "/usage/cpu_ms",
        },
        Subject {
            name: "CPU time, four processes",
            outcome: "cpu_limit",
            code: "spin() { while :; do :; done; }; spin & spin & spin & spin",
            limits: cpu,
            measured: "/usage/cpu_ms",
        },
        Subject {
            name: "wall time, asleep",
            outcome: "wall_limit",
            code: "exec sleep 60",
            limits: wall.clone(),
            measured: "/usage/wall_ms",
        },
        Subject {
            name: "wall time, busy",
            outcome: "wall_limit",
            code: "while :; do :; done",
            limits: wall,
            measured: "/usage/wall_ms",
        },
    ]
}

/// Measures and prints; nothing is asserted but that the right limit was met.
pub(crate) fn bench(workspace: &Workspace, install: Install, scale: usize) -> Result<()> {
    let runs = RUNS * scale;
    needs::provide(&[Need::Pkill], install)?;
    build::release(workspace)?;
    let folder = workspace.fresh_folder("limits")?;
    let mut table = Table::new(&["limit of 1000 ms", "p50 ms beyond", "most ms beyond"]);
    for subject in subjects() {
        let (jobs, results) = (folder.join("jobs.jsonl"), folder.join("results.jsonl"));
        let all: Vec<Value> = (0..runs).map(|number| job(&subject, number)).collect();
        write_jobs(&jobs, all.iter())?;
        let mut worker = embedded::worker(workspace);
        worker.args(["--set", "worker.slots=1"]);
        let answers = embedded::run(worker, &jobs, &results)?;
        let mut beyond = Vec::new();
        for (id, result) in &answers {
            let outcome = result.get("outcome").and_then(Value::as_str);
            ensure!(
                outcome == Some(subject.outcome),
                "meet the limit with {id}: {result}"
            );
            let reached = result.pointer(subject.measured).and_then(Value::as_f64);
            beyond.push(reached.context("find how far a run came")? - LIMIT);
        }
        ensure!(
            beyond.len() == runs,
            "get {runs} results: {} came",
            beyond.len()
        );
        beyond.sort_by(f64::total_cmp);
        let at = |index: usize| {
            beyond
                .get(index)
                .map_or("-".to_owned(), |ms| format!("{ms:.1}"))
        };
        table.row([
            subject.name.to_owned(),
            at(runs / 2),
            at(runs.saturating_sub(1)),
        ]);
    }
    println!("\n{}", table.render());
    println!("{runs} runs of each, one after the other, through the embedded door");
    Ok(())
}

fn job(subject: &Subject, number: usize) -> Value {
    json!({
        "v": 1,
        "id": format!("limit.{number}"),
        "runtime": "bash",
        "code": subject.code,
        "limits": subject.limits,
    })
}
