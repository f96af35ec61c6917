//! The capabilities that the compose file gives a worker: enough together, and each of them needed.

use super::images::JAILFLEET;
use crate::answer::{self, Answers};
use crate::containers::daemon::Daemon;
use crate::example::{self, Example};
use crate::programs::output;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// Programs of three kinds, one of which leaves a process behind that somebody must end.
const PROGRAMS: [&str; 3] = ["bash.orphan", "python.hello", "native.hello"];

/// Runs a few examples with all capabilities, then without one after the other.
pub(super) fn each_is_needed(
    workspace: &Workspace,
    daemon: &Daemon,
    folder: &Path,
    examples: &[Example],
) -> Result<()> {
    let file = workspace.root().join("docker-compose.yml");
    let text = std::fs::read_to_string(file).context("read the compose file")?;
    let all = capabilities(&text)?;
    let few: Vec<&Example> = examples
        .iter()
        .filter(|example| PROGRAMS.contains(&example.id.as_str()))
        .collect();
    ensure!(few.len() == PROGRAMS.len(), "find {PROGRAMS:?}");
    example::write_jobs(
        &folder.join("few.jsonl"),
        few.iter().map(|example| &example.job),
    )?;
    let trial = |given: &[&str]| trouble(workspace, daemon, folder, &few, given);
    if let Some(trouble) = trial(&all)? {
        bail!("run examples with the capabilities {all:?}: {trouble}");
    }
    for missed in &all {
        let others: Vec<&str> = all.iter().copied().filter(|one| one != missed).collect();
        let Some(trouble) = trial(&others)? else {
            bail!("need the capability {missed}: everything goes well without it");
        };
        println!("A worker needs {missed}. Without it: {trouble}");
    }
    Ok(())
}

/// What goes wrong for a worker with these capabilities; nothing where it starts and gets all outcomes right.
fn trouble(
    workspace: &Workspace,
    daemon: &Daemon,
    folder: &Path,
    examples: &[&Example],
    capabilities: &[&str],
) -> Result<Option<String>> {
    let mut docker = daemon.docker();
    docker
        // The client reads the filter's file from there.
        .current_dir(workspace.root())
        .args([
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
        ])
        .args(capabilities.iter().map(|one| format!("--cap-add={one}")))
        .arg("--security-opt=no-new-privileges:true")
        .arg("--security-opt=seccomp=deploy/seccomp-worker.json")
        .arg("--security-opt=apparmor=unconfined")
        .arg("--volume=/run/jailfleet:/run/jailfleet")
        .arg(format!("--volume={}:/trial:ro", folder.display()))
        .args([JAILFLEET, "jailfleet-worker", "--walls=container"])
        .args(["--set=worker.user=jailfleet", "--set=worker.slots=1"])
        .args(["local", "/trial/few.jsonl"]);
    let ended = output("docker run", &mut docker)?;
    if !ended.status.success() {
        let words = last_line(&ended.stderr);
        return Ok(Some(format!("it ended with {}: {words}", ended.status)));
    }
    let results = folder.join("few.results.jsonl");
    std::fs::write(&results, &ended.stdout).context("keep the results")?;
    let answers: Answers = answer::read_all(&results)?;
    for example in examples {
        let Some(result) = answers.get(&example.id) else {
            return Ok(Some(format!("{} has no result", example.id)));
        };
        let wrong = answer::mismatches(&example.expect, result)?;
        if !wrong.is_empty() {
            return Ok(Some(format!("{}: {}", example.id, wrong.join("; "))));
        }
    }
    Ok(None)
}

/// The last thing that a program said; Docker and the worker speak on the same stream.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").trim().to_owned()
}

/// The capabilities in the compose file's only list of them.
fn capabilities(compose: &str) -> Result<Vec<&str>> {
    let list = compose
        .split_once("cap_add: [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .context("find cap_add in the compose file")?;
    Ok(list.0.split(',').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::{capabilities, last_line};

    fn file(path: &str) -> String {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::fs::read_to_string(root.join(path)).expect("the file is there")
    }

    #[test]
    fn the_last_words_of_a_worker_are_its_reason() {
        assert_eq!(
            last_line(b"first\n  docker: no such thing\n\n"),
            "docker: no such thing"
        );
        assert_eq!(last_line(b"\n"), "it said nothing");
    }

    #[test]
    fn kubernetes_gives_a_worker_the_capabilities_that_compose_gives_it() {
        let compose = file("docker-compose.yml");
        let of_compose = capabilities(&compose).expect("a list");
        let kubernetes = file("deploy/kubernetes/worker.yaml");
        let list = kubernetes.split_once("add: [").expect("a list").1;
        let list = list.split_once(']').expect("its end").0;
        let of_kubernetes: Vec<&str> = list.split(',').map(str::trim).collect();
        assert_eq!(of_compose, of_kubernetes);
    }
}
