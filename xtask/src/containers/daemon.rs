//! A Docker of our own, of which nothing is left when it ends.

use crate::clock::Stopwatch;
use crate::programs::{Owned, capture, command};
use crate::steps::{both, told_with};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(60);
/// How long it may be between two looks whether the daemon answers.
const LOOK: Duration = Duration::from_millis(100);

/// The daemon, its folder and its cgroups.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Owned,
    /// A short path, since that of a socket may have 108 letters.
    folder: tempfile::TempDir,
    /// The cgroup that all containers are below.
    cgroup: String,
}

impl Daemon {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead; the message has its last words.
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("jailfleet-docker-")
            .tempdir_in("/tmp")
            .context("make a folder for Docker")?;
        let cgroup = format!("jailfleet-containers-{}", std::process::id());
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log")).context("make Docker's log")?;
        // In a network namespace of its own it may forward and filter as it likes, and bridges and
        // rules end with it; the same goes for mounts. Its loopback, where ports are published, is down.
        let mut dockerd = command("unshare");
        dockerd
            .args([
                "--net",
                "--mount",
                "sh",
                "-ec",
                "ip link set lo up; exec \"$@\"",
                "sh",
            ])
            .args(["dockerd", "--group=root"])
            .arg(format!("--cgroup-parent=/{cgroup}"))
            .arg(format!("--host=unix://{}", at("socket").display()))
            .arg("--data-root")
            .arg(at("root"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdout(log.try_clone().context("make Docker's log")?)
            .stderr(log);
        let process = Owned::start("dockerd", &mut dockerd)?;
        let mut daemon = Self {
            process,
            folder,
            cgroup,
        };
        match daemon.wait_until_it_answers() {
            Ok(()) => Ok(daemon),
            // Nobody can be asked for containers, and mounts and groups may be there all the same.
            Err(error) => Err(told_with(error, daemon.tear_down())),
        }
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.process.wait_within(LOOK)? {
                bail!(
                    "keep Docker running: it ended with {status}\n{}",
                    self.last_words()
                );
            }
            if self.folder.path().join("socket").exists()
                && capture("docker version", self.docker().arg("version")).is_ok()
            {
                return Ok(());
            }
            ensure!(
                watch.elapsed() < START,
                "hear of Docker within {START:?}\n{}",
                self.last_words()
            );
        }
    }

    /// Docker's client, for this daemon.
    pub(super) fn docker(&self) -> Command {
        self.client("docker")
    }

    /// Any client, for this daemon.
    pub(super) fn client(&self, program: &str) -> Command {
        let mut client = command(program);
        let socket = self.folder.path().join("socket");
        client.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        client
    }

    /// Ends it and removes its cgroups and its folder.
    ///
    /// # Errors
    /// When a container is left, or something cannot be removed: everything is tried, and all that failed
    /// is told.
    pub(super) fn end(self) -> Result<()> {
        let mut list = self.docker();
        let left = capture("docker ps", list.args(["ps", "--all", "--quiet"]))
            .and_then(|left| ensured_empty("leave no container", left.trim()));
        both(left, self.tear_down())
    }

    /// Everything of [`Self::end`] but the look for containers.
    fn tear_down(mut self) -> Result<()> {
        let ended = self.process.terminate(END).map(drop);
        let removed = remove_groups(Path::new("/sys/fs/cgroup"), &self.cgroup);
        let folder = remove_unmounted(self.folder);
        [removed, folder].into_iter().fold(ended, both)
    }

    fn last_words(&self) -> String {
        let log = self.folder.path().join("log");
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(5);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

fn ensured_empty(what: &str, left: &str) -> Result<()> {
    ensure!(left.is_empty(), "{what}: {left}");
    Ok(())
}

/// Removes a folder, unless something is mounted below it, which would be emptied with it.
fn remove_unmounted(folder: tempfile::TempDir) -> Result<()> {
    let below = folder.path().display().to_string();
    match std::fs::read_to_string("/proc/self/mounts") {
        Ok(mounts) if !mounts.contains(&below) => folder.close().context("remove Docker's folder"),
        Ok(_) => {
            let kept = folder.keep();
            bail!("leave no mount below {}", kept.display())
        }
        Err(error) => {
            let kept = folder.keep();
            Err(error).with_context(|| format!("read the mounts; {} stays", kept.display()))
        }
    }
}

/// Removes our groups, which are empty by now, from version 2 and from each hierarchy of version 1.
fn remove_groups(top: &Path, name: &str) -> Result<()> {
    let mut places = vec![top.join(name)];
    for entry in std::fs::read_dir(top).context("list the cgroups")? {
        places.push(entry.context("list the cgroups")?.path().join(name));
    }
    for place in places.iter().filter(|place| place.is_dir()) {
        remove_tree(place)?;
    }
    Ok(())
}

fn remove_tree(group: &PathBuf) -> Result<()> {
    for entry in std::fs::read_dir(group).context("list a cgroup")? {
        let path = entry.context("list a cgroup")?.path();
        if path.is_dir() {
            remove_tree(&path)?;
        }
    }
    std::fs::remove_dir(group).with_context(|| format!("remove the cgroup {}", group.display()))
}
