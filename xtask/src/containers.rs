//! `cargo xtask containers`: the compose file of this repository, tried with real containers.
//!
//! Docker's daemon is one of our own, in a network and a mount namespace of its own, so that bridges,
//! rules and mounts end with it; images are made from Debian's packages and what was built here.

mod base;
mod daemon;
mod trial;

use crate::build;
use crate::needs::{Install, provide_packages};
use crate::programs::is_there;
use crate::steps::both;
use crate::unchecked::{must_all_be_checked, unchecked};
use crate::workspace::Workspace;
use anyhow::{Context, Result, anyhow};
use daemon::Daemon;
use std::fmt;
use std::path::PathBuf;

/// The host's programs, their packages, and what they are for.
const HOST: [(&str, &str, &str); 7] = [
    (
        "dockerd",
        "docker.io",
        "runs the containers, as a daemon of our own",
    ),
    (
        "docker-compose",
        "docker-compose",
        "reads docker-compose.yml",
    ),
    (
        "iptables",
        "iptables",
        "lets containers find each other by name",
    ),
    (
        "ip",
        "iproute2",
        "brings up the loopback that ports are published at",
    ),
    (
        "debootstrap",
        "debootstrap",
        "makes the image that the containers start from",
    ),
    (
        "prometheus",
        "prometheus",
        "finds the workers in their network; the package's service is not started",
    ),
    (
        "unshare",
        "util-linux",
        "keeps Docker's networks away from this machine's",
    ),
];

/// What stays unchecked without Docker.
const PROMISES: [&str; 5] = [
    "that docker-compose.yml starts workers which take jobs, and ends them cleanly",
    "that deploy/prometheus.yml finds each replica by DNS",
    "that six capabilities are enough for a worker in a container, and none too many",
    "that deploy/seccomp-worker.json lets every example and every canary through",
    "that the walls of the set `container` hold in containers",
];

/// In the chain of an error: there is no Docker, and what would be tried with it was not tried at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoDocker;

impl fmt::Display for NoDocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("get a Docker up")
    }
}

/// Tries everything.
///
/// # Errors
/// What did not go as it must, and that there is no Docker.
pub(crate) fn run(workspace: &Workspace, install: Install) -> Result<()> {
    let base = provide(install).context(NoDocker)?;
    build::release(workspace)?;
    let daemon = Daemon::start().context(NoDocker)?;
    let tried = trial::run(workspace, &daemon, &base);
    // The containers are gone by now, whether it went well or not: the daemon's end says so.
    both(tried, daemon.end())
}

/// Within a tier: where there can be no Docker, says in `words` what nobody has checked.
///
/// # Errors
/// As [`run`]; that there is no Docker only where the environment is that of continuous integration,
/// where nobody reads warnings.
pub(crate) fn tier(
    workspace: &Workspace,
    install: Install,
    words: &mut Option<String>,
) -> Result<()> {
    let Err(error) = run(workspace, install) else {
        return Ok(());
    };
    if must_all_be_checked() || !is_no_docker(&error) {
        return Err(error);
    }
    let text = unchecked(
        "since there was no Docker to check it with",
        &PROMISES,
        &format!("{error:#}"),
    );
    println!("{text}");
    *words = Some(text);
    Ok(())
}

fn is_no_docker(error: &anyhow::Error) -> bool {
    error.downcast_ref::<NoDocker>().is_some()
}

/// What the host must have: root, programs, and the tree that images start from.
fn provide(install: Install) -> Result<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return Err(anyhow!("start Docker's daemon: only root can"));
    }
    // By their programs, since a host may have Docker's own packages, which exclude Debian's.
    let missing: Vec<(&str, &str)> = HOST
        .iter()
        .filter(|(program, _, _)| !is_there(program))
        .map(|(_, package, reason)| (*package, *reason))
        .collect();
    provide_packages(&missing, install)?;
    base::get()
}

#[cfg(test)]
mod tests {
    use super::{NoDocker, is_no_docker};
    use anyhow::anyhow;

    #[test]
    fn a_docker_that_is_not_there_is_told_from_a_trial_that_failed() {
        assert!(is_no_docker(&anyhow!("start it").context(NoDocker)));
        assert!(!is_no_docker(&anyhow!("get all results").context("try")));
    }
}
