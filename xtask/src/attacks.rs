//! The catalogue of attacks made ready for a machine without a compiler.

use crate::needs::{self, Install, Need};
use crate::programs::{command, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Names the folder to the tests.
pub(crate) const COMPILED: &str = "JAILFLEET_ATTACKS_BIN";

/// Compiles the C programs of the catalogue into `folder`, and copies all sources below it: their
/// headers say how each must end. Where [`COMPILED`] names it, the tests take both.
///
/// # Errors
/// When there is no compiler, a program does not compile, or a file cannot be written.
pub(crate) fn build(workspace: &Workspace, install: Install, folder: &Path) -> Result<()> {
    needs::provide(&[Need::Compiler], install)?;
    let sources = folder.join("sources");
    fs::create_dir_all(&sources).with_context(|| format!("make {}", sources.display()))?;
    let mut programs = 0_u32;
    for path in catalogue(workspace)? {
        let name = path.file_name().context("read the name of an attack")?;
        fs::copy(&path, sources.join(name)).with_context(|| format!("copy {}", path.display()))?;
        if path.extension().is_some_and(|end| end == "c") {
            let stem = path.file_stem().context("read the name of an attack")?;
            let mut cc = command("cc");
            // Static, because a jail's libraries need not be those of this machine.
            cc.args(["-O1", "-static", "-o"]);
            run("cc", cc.arg(folder.join(stem)).arg(&path))
                .with_context(|| format!("compile {}", path.display()))?;
            programs = programs.saturating_add(1);
        }
    }
    ensure!(programs > 0, "find a single C program in tests/attacks");
    println!("{programs} programs are in {}", folder.display());
    Ok(())
}

fn catalogue(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root().join("tests/attacks");
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.with_context(|| format!("list {}", folder.display()))
}
