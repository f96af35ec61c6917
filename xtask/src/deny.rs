//! Licences, sources and banned crates among the dependencies, by cargo-deny.

use crate::needs::Install;
use crate::programs::{cargo, command, is_executable, is_there, run};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// What to say where it is not there and nothing may be installed.
pub(crate) const NOT_CHECKED: &str = "NOT CHECKED: licences and sources of the dependencies; \
     `cargo xtask test --all`, or `cargo install cargo-deny --locked`, brings what checks them";

/// cargo-deny: the person's own, or the one that we installed.
pub(crate) fn program(workspace: &Workspace) -> Option<PathBuf> {
    if is_there("cargo-deny") {
        return Some("cargo-deny".into());
    }
    let ours = tools(workspace).join("bin/cargo-deny");
    is_executable(&ours).then_some(ours)
}

/// The same, installed if it is missing: below the target folder, where it is nobody else's.
pub(crate) fn provide(workspace: &Workspace, install: Install) -> Result<PathBuf> {
    if let Some(program) = program(workspace) {
        return Ok(program);
    }
    let tools = tools(workspace);
    if install == Install::Refused {
        bail!("find cargo-deny; install it by hand: cargo install cargo-deny --locked");
    }
    println!("cargo-deny is missing: it looks for foreign licences and sources");
    println!(
        "Installing: cargo-deny, into {} (some minutes)",
        tools.display()
    );
    let mut install = cargo();
    install
        // Outside of the repository, whose pinned compiler and settings are not this program's.
        .current_dir("/")
        .args(["install", "cargo-deny", "--locked", "--quiet", "--root"])
        .arg(&tools);
    run("cargo install", &mut install)?;
    Ok(tools.join("bin/cargo-deny"))
}

/// Everything of deny.toml but the advisories, which need the network and change by themselves.
pub(crate) fn check(workspace: &Workspace, program: PathBuf) -> Result<()> {
    let mut deny = command(program);
    deny.current_dir(workspace.root())
        .args(["check", "bans", "licenses", "sources"]);
    run("cargo deny", &mut deny)
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools")
}
