//! Builds the programs that the other tasks start.

use crate::programs::{cargo, run};
use crate::workspace::Workspace;
use anyhow::Result;

/// Builds worker, warden and producer as they would be deployed.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    if !workspace.builds() {
        return Ok(());
    }
    println!("Building worker, warden and producer (release) ...");
    run(
        "cargo build",
        cargo().current_dir(workspace.root()).args([
            "build",
            "--release",
            "--quiet",
            "--bins",
            "--package=jailfleet-worker",
            "--package=jailfleet-sandbox",
            "--package=jailfleet-producer",
        ]),
    )
}

/// The sandbox with what the tests of its single walls need, and nothing else has.
pub(crate) const WALL_REMOVAL: [&str; 2] =
    ["--package=jailfleet-sandbox", "--features=wall-removal"];

/// The folder for that alone: no warden that was built so may lie where others are looked for.
pub(crate) fn without_walls(workspace: &Workspace) -> String {
    let target = workspace.target().join("without-walls");
    format!("--target-dir={}", target.display())
}

/// The worker with the halting points that the fault loop needs, and nothing else has. Its tests build it.
pub(crate) const HALTING_POINTS: [&str; 2] =
    ["--package=jailfleet-worker", "--features=halting-points"];
