//! A virtual environment for one example, and the configuration that offers it as a runtime.

use crate::programs::{command, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Makes the environment in `folder` and returns the configuration file that names it.
///
/// `docs/configuration.md` shows the same with pip; here the package is copied to where pip would
/// put it, so that the demo needs no network.
pub(crate) fn configuration(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    run(
        "python3 -m venv",
        command("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv),
    )?;
    let packages = workspace.examples().join("python-venv/packages");
    copy(&packages, &site_packages(&venv)?)?;

    let path = venv
        .to_str()
        .context("use a folder whose name is not text")?;
    ensure!(!path.contains(['"', '\\']), "write {path} into a TOML file");
    let text = format!(
        "# Written by `cargo xtask demo`: python jobs with packages of their own.\n\
         [runtimes.python-venv]\n\
         program = \"/opt/venv/bin/python3\"\n\
         args = [\"-E\", \"-B\"]\n\
         main_file = \"jailed_code\"\n\
         binds = [{{ source = \"{path}\", target = \"/opt/venv\" }}]\n"
    );
    let file = folder.join("worker.toml");
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

fn site_packages(venv: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(venv.join("lib")).context("read the virtual environment")? {
        let packages = entry?.path().join("site-packages");
        if packages.is_dir() {
            return Ok(packages);
        }
    }
    anyhow::bail!("find site-packages in {}", venv.display())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", target.display()))?;
        }
    }
    Ok(())
}
