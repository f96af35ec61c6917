//! `cargo xtask fresh`: the README's commands on a machine that has Rust, a linker and Debian's package
//! manager, and nothing else.
//!
//! The machine is a root of its own from Debian's packages, entered in a mount namespace of its own. The
//! kernel, its processes and its network are this machine's.

use crate::needs::{Install, provide_packages};
use crate::programs::{command, output, run, run_heard};
use crate::unchecked::{must_all_be_checked, unchecked};

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use jailfleet_harness::debian::unpack;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::{Command, Output};

/// What makes the machine.
const HOST: [(&str, &str); 3] = [
    ("debootstrap", "makes a machine from Debian's packages"),
    ("util-linux", "unshare and pivot_root let one enter it"),
    ("git", "makes the clone that is tried there"),
];
/// Debian's release, as a person would have it.
const SUITE: &str = "bookworm";
/// What whoever installs Rust on Debian is told to install: a linker, and what TLS believes in.
const PACKAGES: &str = "ca-certificates,gcc,libc6-dev";
/// Where the clone lies there.
const CLONE: &str = "root/jailfleet";
/// Where the compiler lies there: this machine's, read only.
const RUST: &str = "opt/rust";
/// Enters the root that is the working directory: not by chroot, in which no user namespace can be made. The
/// locks on uids are this machine's, since the uids are.
const ENTER: &str = "\
    mount --bind . .
    cd \"$PWD\"
    for place in dev proc sys; do mount --rbind \"/$place\" \"$place\"; done
    mount --bind \"$RUST\" opt/rust
    mount -o remount,bind,ro opt/rust
    mkdir -p -m 700 /run/jailfleet run/jailfleet
    mount --bind /run/jailfleet run/jailfleet
    mkdir before
    pivot_root . before
    umount -l /before
    rmdir /before
    cd /root/jailfleet
    exec env -i PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 \"$@\"";

/// A command of the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tried {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`, which takes as long as it takes anywhere.
    Test,
}

impl Tried {
    fn word(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Test => "test",
        }
    }
}

/// Makes the machine, clones what is committed, and runs the command there.
///
/// # Errors
/// When the command fails there, or installs a package without having said so before.
pub(crate) fn run_there(workspace: &Workspace, install: Install, tried: Tried) -> Result<()> {
    provide(install).context(NoMachine)?;
    // Also after a failure, or a stop that ran nothing any more, it is there to be looked at.
    let folder = workspace.fresh_folder("fresh")?;
    let machine = folder.join("root");
    make(&folder, &machine).context(NoMachine)?;
    clone(workspace, &machine)?;
    let before = asked_for(&machine)?;
    println!(
        "There: cargo xtask {} (a cold build comes first) ...",
        tried.word()
    );
    let mut said = Said::default();
    let mut there = entering(&machine)?;
    there.args(["cargo", "xtask", tried.word()]);
    let status = run_heard("cargo xtask, on a fresh machine", &mut there, |line| {
        said.note(line);
    })?;
    ensure!(
        status.success(),
        "get through `cargo xtask {}` on a fresh machine ({status})",
        tried.word()
    );
    let after = asked_for(&machine)?;
    let new: Vec<&String> = after.difference(&before).collect();
    ensure!(!new.is_empty(), "see that anything had to be installed");
    said.told_before_it_installed(&new)?;
    println!("Installed there, each after saying what for: {new:?}");
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

/// Within a tier: where there can be no such machine, says in `words` what nobody has checked.
///
/// # Errors
/// As [`run_there`]; that there is no machine only where all must be checked.
pub(crate) fn tier(
    workspace: &Workspace,
    install: Install,
    words: &mut Option<String>,
) -> Result<()> {
    let Err(error) = run_there(workspace, install, Tried::Demo) else {
        return Ok(());
    };
    if must_all_be_checked() || error.downcast_ref::<NoMachine>().is_none() {
        return Err(error);
    }
    let text = unchecked(
        "since there was no fresh machine to check it on",
        &["that `cargo xtask demo` installs what it needs, after saying so, and runs"],
        &format!("{error:#}"),
    );
    println!("{text}");
    *words = Some(text);
    Ok(())
}

/// In the chain of an error: there is no machine, and nothing was tried on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoMachine;

impl fmt::Display for NoMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("get a fresh machine")
    }
}

/// What this machine must have to make another.
fn provide(install: Install) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "be root");
    provide_packages(&HOST, install)
}

fn make(work: &Path, machine: &Path) -> Result<()> {
    println!("Making a fresh Debian {SUITE} (one to two minutes) ...");
    unpack(SUITE, PACKAGES, machine, &work.join("debootstrap.log"))?;
    // How this machine reaches others, and whom it believes.
    for name in [
        "etc/resolv.conf",
        "etc/hosts",
        "etc/ssl/certs/ca-certificates.crt",
    ] {
        let (from, to) = (Path::new("/").join(name), machine.join(name));
        std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
    }
    std::fs::create_dir_all(machine.join(RUST)).context("make room for Rust")
}

fn clone(workspace: &Workspace, machine: &Path) -> Result<()> {
    let mut git = command("git");
    git.args(["clone", "--quiet", "--no-hardlinks"])
        .arg(workspace.root())
        .arg(machine.join(CLONE));
    run("git clone", &mut git)
}

/// The start of a command that runs in the machine.
fn entering(machine: &Path) -> Result<Command> {
    let sysroot = said_by("rustc", command("rustc").args(["--print", "sysroot"]))?;
    let mut unshare = command("unshare");
    unshare
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            ENTER,
            "sh",
        ])
        .current_dir(machine)
        .env("RUST", sysroot.trim());
    Ok(unshare)
}

/// The packages that somebody asked for there, and not those that came with them.
fn asked_for(machine: &Path) -> Result<BTreeSet<String>> {
    let mut marks = command("chroot");
    marks.arg(machine).args(["apt-mark", "showmanual"]);
    let marked = said_by("apt-mark", &mut marks)?;
    Ok(marked.lines().map(str::to_owned).collect())
}

fn said_by(name: &str, command: &mut Command) -> Result<String> {
    let Output { status, stdout, .. } = output(name, command)?;
    ensure!(status.success(), "ask {name}: it ended with {status}");
    String::from_utf8(stdout).with_context(|| format!("read what {name} says"))
}

/// What a task said of packages, in its order.
#[derive(Debug, Default)]
struct Said {
    missing: BTreeSet<String>,
    /// Those that it then installed, or began to without a word.
    installed: Vec<Result<String, String>>,
}

impl Said {
    fn note(&mut self, line: &str) {
        if let Some((package, why)) = line.split_once(" is missing: ")
            && !why.is_empty()
        {
            self.missing.insert(package.to_owned());
        }
        for package in line
            .strip_prefix("Installing: ")
            .into_iter()
            .flat_map(|all| all.split(' '))
        {
            let told = self.missing.contains(package);
            let package = package.to_owned();
            self.installed
                .push(if told { Ok(package) } else { Err(package) });
        }
    }

    /// An error when one of `new` came unannounced.
    fn told_before_it_installed(&self, new: &[&String]) -> Result<()> {
        for package in new {
            if !self
                .installed
                .iter()
                .any(|told| told.as_ref() == Ok(*package))
            {
                bail!("see {package} announced, with its reason, before it was installed");
            }
        }
        match self.installed.iter().find_map(|told| told.as_ref().err()) {
            Some(package) => bail!("see a reason for {package} before it was installed"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    fn heard(lines: &[&str]) -> Said {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.note(line));
        said
    }

    #[test]
    fn a_package_must_be_announced_with_a_reason_before_it_is_installed() {
        let node = "nodejs".to_owned();
        let told = |lines: &[&str]| heard(lines).told_before_it_installed(&[&node]);
        let (reason, installing) = ("nodejs is missing: jobs run it", "Installing: nodejs");
        told(&[reason, installing]).expect("told in time");
        told(&[installing, reason]).expect_err("told too late");
        told(&[reason]).expect_err("never said to be installed");
        told(&["nodejs is missing: ", installing]).expect_err("without a reason");
        told(&[reason, "Installing: nodejs erlang"]).expect_err("erlang without a reason");
    }
}
