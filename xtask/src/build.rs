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
