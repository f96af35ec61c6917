//! Licences, sources and banned crates among the dependencies, by cargo-deny.

use crate::programs::{command, run};
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::PathBuf;

/// What to say where it is not there and nothing may be installed.
pub(crate) const NOT_CHECKED: &str = "NOT CHECKED: licences and sources of the dependencies; \
     `cargo xtask test --all`, or `cargo install cargo-deny --locked`, brings what checks them";

/// Everything of deny.toml but the advisories, which need the network and change by themselves.
pub(crate) fn check(workspace: &Workspace, program: PathBuf) -> Result<()> {
    let mut deny = command(program);
    deny.current_dir(workspace.root())
        .args(["check", "bans", "licenses", "sources"]);
    run("cargo deny", &mut deny)
}
