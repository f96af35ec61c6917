//! `cargo xtask install-profiles`: the two files of `apparmor/` where AppArmor looks for them, and loaded.

use crate::programs::{command, is_there, run};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// What is copied, below `apparmor/` here and below [`SYSTEM`] there.
const FILES: [&str; 2] = ["abstractions/jailfleet-jail", "jailfleet-profiles"];
/// Where AppArmor keeps what is loaded at each boot.
const SYSTEM: &str = "/etc/apparmor.d";

/// Copies both files below `root` (`/` but for a package's build), and loads the profiles if the kernel
/// here enforces AppArmor.
pub(crate) fn install(workspace: &Workspace, root: &Path) -> Result<()> {
    let system = root.join(SYSTEM.trim_start_matches('/'));
    for file in FILES {
        let from = workspace.root().join("apparmor").join(file);
        let to = system.join(file);
        let folder = to.parent().context("find the folder of a profile")?;
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::copy(&from, &to).with_context(|| format!("write {}", to.display()))?;
        println!("Copied {file} to {}", to.display());
    }
    if root != Path::new("/") {
        println!("Not loaded: they lie below another root");
        return Ok(());
    }
    let enforced = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enforced.is_ok_and(|enabled| enabled.trim() == "Y") {
        ensure!(
            is_there("apparmor_parser"),
            "find apparmor_parser: apt-get install apparmor"
        );
        let profiles = system.join("jailfleet-profiles");
        let mut parser = command("apparmor_parser");
        run("apparmor_parser", parser.arg("--replace").arg(profiles))?;
        println!("Loaded; `jailfleet-worker doctor` shows the wall apparmor now");
    } else {
        println!(
            "Not loaded: this kernel does not enforce AppArmor. It would load them at its boot"
        );
    }
    Ok(())
}
