//! The JSON Schemas of the messages, generated from the types.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use jailfleet::wire::schemas;

/// Writes all schemas to `docs/schema`.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root().join("docs/schema");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in schemas() {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// An error unless what lies in `docs/schema` is what [`write()`] would write.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    for (name, text) in schemas() {
        let file = workspace.root().join("docs/schema").join(name);
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        if there != text {
            bail!(
                "find {} up to date; write it with `cargo xtask schema`",
                file.display()
            );
        }
    }
    Ok(())
}
