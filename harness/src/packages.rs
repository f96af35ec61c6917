//! Installing what a test run needs, after saying what and why.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;

use crate::process::command;
use crate::services::{POLICY, ServicesHeld};

/// Set to anything: nothing is ever installed.
const NO_INSTALL: &str = "JAILFLEET_NO_INSTALL";

/// Sees to it that each of the Debian packages `wanted`, with the reason for it, is installed.
///
/// # Errors
/// When one is missing and may not, or cannot, be installed: the message says what to do.
pub fn ensure_packages(wanted: &[(&str, &str)]) -> Result<()> {
    let missing = missing_packages(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    for (package, reason) in &missing {
        eprintln!("{package} is missing: {reason}");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    let by_hand = format!(
        "apt-get install --no-install-recommends {}",
        names.join(" ")
    );
    if !may_install() {
        bail!("install what is missing: {NO_INSTALL} is set; run: {by_hand}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("install what is missing: only root can; run: sudo {by_hand}");
    }
    eprintln!("Installing: {}", names.join(" "));
    let _held = ServicesHeld::by(Path::new(POLICY))?;
    apt(&["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(names);
    apt(&install)
}

/// Those of `wanted` that are not installed.
///
/// # Errors
/// When dpkg cannot be asked.
pub fn missing_packages<'a>(wanted: &[(&'a str, &'a str)]) -> Result<Vec<(&'a str, &'a str)>> {
    let mut missing = Vec::new();
    for (package, reason) in wanted {
        if !is_installed(package)? {
            missing.push((*package, *reason));
        }
    }
    Ok(missing)
}

/// Whether something may be installed here at all.
pub(crate) fn may_install() -> bool {
    std::env::var_os(NO_INSTALL).is_none()
}

fn is_installed(package: &str) -> Result<bool> {
    let mut query = command("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    let output = query
        .stdin(Stdio::null())
        .output()
        .context("start dpkg-query")?;
    Ok(output.status.success() && output.stdout == b"installed")
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .arg("-qq")
        .args(arguments);
    let status = apt.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.context("start apt-get")?;
    if !status.success() {
        bail!("apt-get {}: it ended with {status}", arguments.join(" "));
    }
    Ok(())
}
