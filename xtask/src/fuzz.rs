//! Throws damaged messages at the decoders, with cargo-fuzz where it is installed.

use crate::programs::{capture, cargo, is_there, run};
use crate::workspace::Workspace;
use anyhow::{Result, bail};

/// Runs every fuzz target for `seconds`.
pub(crate) fn run_all(workspace: &Workspace, seconds: u64) -> Result<()> {
    if !is_there("cargo-fuzz") {
        bail!(
            "find cargo-fuzz; install it and a nightly compiler with\n\
             \x20   cargo install cargo-fuzz --locked && rustup toolchain install nightly\n\
             (the property tests of `cargo xtask check` throw damaged messages as well)"
        );
    }
    let fuzz = workspace.root().join("fuzz");
    if !fuzz.is_dir() {
        bail!("find the fuzz targets in {}", fuzz.display());
    }
    let list = capture(
        "cargo fuzz list",
        cargo()
            .current_dir(workspace.root())
            .args(["+nightly", "fuzz", "list"]),
    )?;
    for target in list.lines() {
        println!("\n=== {target} for {seconds} s");
        run(
            target,
            cargo()
                .current_dir(workspace.root())
                .args(["+nightly", "fuzz", "run", target, "--"])
                .arg(format!("-max_total_time={seconds}")),
        )?;
    }
    Ok(())
}
