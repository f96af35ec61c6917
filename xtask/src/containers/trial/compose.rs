//! The compose file of this repository, with images of our own and a folder for jobs and results.

use super::images::{BROKER, JAILFLEET};
use crate::containers::daemon::Daemon;
use crate::programs::{Owned, capture, next_line, output, run, status};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::poll_until;
use serde_json::json;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a worker may take from its start to the first job.
const READY: Duration = Duration::from_secs(60);
/// Longer than several rounds of Prometheus' looks, for names and for metrics.
const SCRAPED: Duration = Duration::from_secs(90);
/// How many workers are up.
const UP: &str = "sum(up{job=\"jailfleet-worker\"})";
/// What Debian's package installs.
const PROMETHEUS: [&str; 2] = ["/usr/bin/prometheus", "/usr/bin/promtool"];
/// Where the folder is, for the producer.
const SHARED: &str = "/trial";

/// A project of containers.
#[derive(Debug)]
pub(super) struct Compose<'a> {
    workspace: &'a Workspace,
    daemon: &'a Daemon,
    addition: PathBuf,
}

impl<'a> Compose<'a> {
    /// Starts nothing yet.
    pub(super) fn new(workspace: &'a Workspace, daemon: &'a Daemon, folder: &Path) -> Result<Self> {
        let addition = folder.join("compose.yml");
        let volume = format!("{}:{SHARED}", folder.display());
        // One slot a worker: with more programs than processors, one that loops for ever meets its
        // wall clock before it has used up its CPU time.
        let text = json!({
            "version": "2.4",
            "services": {
                "producer": { "volumes": [volume] },
                "worker": { "environment": { "JAILFLEET__WORKER__SLOTS": "1" } },
                "prometheus": {
                    "image": JAILFLEET,
                    "entrypoint": [
                        "prometheus",
                        "--config.file=/etc/prometheus/prometheus.yml",
                        "--storage.tsdb.path=/tmp/prometheus",
                    ],
                    // The host's, since there may be no registry to get an image from.
                    "volumes": PROMETHEUS.map(|program| format!("{program}:{program}:ro")),
                },
            },
        });
        std::fs::write(&addition, text.to_string()).context("write a compose file")?;
        Ok(Self {
            workspace,
            daemon,
            addition,
        })
    }

    /// A command of docker-compose, to be completed.
    pub(super) fn command(&self) -> Command {
        let mut compose = self.daemon.client("docker-compose");
        compose
            // It looks for the system call filter from there.
            .current_dir(self.workspace.root())
            .envs([
                ("COMPOSE_PROJECT_NAME", "jailfleet-trial"),
                ("JAILFLEET_IMAGE", JAILFLEET),
                ("RABBITMQ_IMAGE", BROKER),
            ])
            .args(["-f", "docker-compose.yml", "-f"])
            .arg(&self.addition);
        compose
    }

    /// Has so many workers, and waits until each takes jobs.
    pub(super) fn up(&self, workers: usize) -> Result<()> {
        let mut up = self.command();
        up.args(["up", "--detach", "--no-build", "--scale"])
            .arg(format!("worker={workers}"))
            .args(["rabbitmq", "worker", "producer", "prometheus"]);
        run("docker-compose up", &mut up)?;
        let ids = capture(
            "docker-compose ps",
            self.command().args(["ps", "-q", "worker"]),
        )?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        ensure!(
            ids.len() == workers,
            "have {workers} workers: there are {}",
            ids.len()
        );
        ids.iter().try_for_each(|id| self.wait_for(id))
    }

    fn wait_for(&self, container: &str) -> Result<()> {
        let mut logs = self.daemon.client("sh");
        // The worker logs on standard error, and only one stream can be waited for.
        logs.args([
            "-c",
            "exec docker logs --follow \"$1\" 2>&1",
            "sh",
            container,
        ])
        .stdout(Stdio::piped());
        let mut logs = Owned::start("docker logs", &mut logs)?;
        let stdout = logs.take_stdout().context("read a worker's log")?;
        let mut lines = BufReader::new(stdout);
        while let Some(line) = next_line(&mut lines, READY).context("wait for a worker")? {
            if line.contains("taking jobs") {
                return Ok(());
            }
        }
        bail!("keep the worker {container}: it ended")
    }

    /// Waits until Prometheus has found so many workers by their name, and each has answered it.
    pub(super) fn wait_until_scraped(&self, workers: usize) -> Result<()> {
        let wanted = format!("=> {workers} ");
        let mut answer = String::new();
        let seen = poll_until("Prometheus scrape every worker", SCRAPED, || {
            let mut query = self.command();
            query
                .args(["exec", "-T", "prometheus", "promtool", "query", "instant"])
                .args(["http://localhost:9090", UP]);
            // It refuses until Prometheus listens.
            let output = output("promtool query", &mut query)?;
            answer = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(answer.contains(&wanted))
        });
        seen.with_context(|| format!("have {workers} workers up: {answer}"))?;
        println!("Prometheus found {workers} workers by DNS, and all are up");
        Ok(())
    }

    /// Sends the jobs of a file of the folder and has their results in another.
    pub(super) fn bulk(&self, jobs: &str, results: &str) -> Result<()> {
        let mut bulk = self.command();
        bulk.args(["exec", "-T", "producer", "jailfleet-producer", "bulk"])
            .arg(format!("{SHARED}/{jobs}"))
            .args(["--results", &format!("{SHARED}/{results}")]);
        // Its exit code also says that jobs failed, which ours shall; the answers decide.
        let ended = status("jailfleet-producer bulk", &mut bulk)?;
        println!("The producer ended with {ended}");
        Ok(())
    }

    /// Ends and removes everything.
    pub(super) fn down(&self) -> Result<()> {
        run(
            "docker-compose down",
            self.command().args(["down", "--volumes"]),
        )
    }

    /// What all of them said at last.
    pub(super) fn last_words(&self) -> String {
        let mut logs = self.command();
        capture("docker-compose logs", logs.args(["logs", "--tail", "15"]))
            .unwrap_or_else(|error| format!("no logs: failed to {error:#}"))
    }
}
