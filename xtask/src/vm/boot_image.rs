//! The guest's first root: its first process and the kernel's modules. Put together at each boot, since
//! that takes no time and a change of the first process then needs no other rebuild.

use crate::programs::{cargo, run};
use crate::vm::cpio::Archive;
use crate::vm::kernel::MODULE_FOLDER;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The target is named so that the flag below cannot reach a build script or a macro.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "jailfleet-guest";

/// Builds the first process, static: the first root holds no library.
pub(crate) fn build_first_process(workspace: &Workspace) -> Result<PathBuf> {
    run(
        "cargo rustc",
        cargo().current_dir(workspace.root()).args([
            "rustc",
            "--quiet",
            "--release",
            "--package",
            PROGRAM,
            "--bin",
            PROGRAM,
            "--target",
            TARGET,
            "--",
            "-Ctarget-feature=+crt-static",
            "-Cstrip=symbols",
        ]),
    )?;
    Ok(workspace
        .target()
        .join(TARGET)
        .join("release")
        .join(PROGRAM))
}

/// The archive for a kernel whose piece lies in `kernel`.
pub(crate) fn archive(first_process: &Path, kernel: &Path) -> Result<Vec<u8>> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "newroot", "modules"] {
        archive.folder(folder);
    }
    // The kernel opens it for the first process, before anything is mounted.
    archive.device("dev/console", 5, 1);
    archive.file("init", &read(first_process)?);
    let modules = kernel.join(MODULE_FOLDER);
    for entry in std::fs::read_dir(&modules).context("list the guest's modules")? {
        let entry = entry.context("list the guest's modules")?;
        let name = format!("modules/{}", entry.file_name().to_string_lossy());
        archive.file(&name, &read(&entry.path())?);
    }
    Ok(archive.finish())
}
