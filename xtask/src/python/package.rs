//! The client as PyPI would have it: built, checked, and installed from what was built.

use super::Client;
use crate::programs::{command, run};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is built from; a build leaves files beside it.
const SOURCES: [&str; 5] = [
    "pyproject.toml",
    "README.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "src",
];

/// Builds the source distribution and from that the wheel, has both checked, and returns the folder into
/// which the wheel was installed.
///
/// # Errors
/// When one of them does not build, would be refused, or lacks a file.
pub(super) fn installed(client: &Client, folder: &Path) -> Result<PathBuf> {
    let (sources, built) = (folder.join("sources"), folder.join("dist"));
    std::fs::create_dir_all(&sources).context("make a folder for the client's sources")?;
    let mut copy = command("cp");
    copy.args(["--recursive", "--target-directory"])
        .arg(&sources);
    for source in SOURCES {
        copy.arg(client.folder.join(source));
    }
    run("cp", &mut copy)?;
    let mut build = client.tool();
    build
        .args(["-m", "build", "--no-isolation", "--outdir"])
        .args([&built, &sources])
        .stdout(std::process::Stdio::null());
    run("python -m build", &mut build)?;
    let distributions = distributions(&built)?;
    let mut check = client.tool();
    check
        .args(["-m", "twine", "check", "--strict"])
        .args(&distributions);
    run("twine check", &mut check)?;

    let target = folder.join("installed");
    let mut install = client.tool();
    install
        .args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"])
        .args(["--no-compile", "--disable-pip-version-check", "--target"])
        .arg(&target)
        .args(
            distributions
                .iter()
                .filter(|path| path.extension().is_some_and(|end| end == "whl")),
        );
    run("pip install", &mut install)?;
    let (ours, theirs) = (
        files(&client.folder.join("src/jailfleet"))?,
        files(&target.join("jailfleet"))?,
    );
    ensure!(
        ours == theirs,
        "find every file of the client in its wheel, and no other: {:?}",
        ours.symmetric_difference(&theirs).collect::<Vec<_>>()
    );
    Ok(target)
}

/// The source distribution and the wheel.
fn distributions(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context("list what was built")? {
        found.push(entry.context("list what was built")?.path());
    }
    ensure!(
        found.len() == 2,
        "find a source distribution and a wheel: {found:?}"
    );
    Ok(found)
}

/// All files below a folder, by their paths in it, but for what Python compiled.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        let listed = folder.join(&inner);
        let entries = std::fs::read_dir(&listed);
        for entry in entries.with_context(|| format!("list {}", listed.display()))? {
            let entry = entry.with_context(|| format!("list {}", listed.display()))?;
            let path = inner.join(entry.file_name());
            if entry.file_name() == "__pycache__" {
                continue;
            }
            if entry.file_type().context("look at a file")?.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}
