//! Kernel modules, from the folder that the host packed in the order of their dependencies.

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::fs::File;
use std::path::Path;

/// Loads what `/modules/order` names, in that order.
pub(crate) fn load_all() -> Result<()> {
    let folder = Path::new("/modules");
    let order = std::fs::read_to_string(folder.join("order")).context("read the modules' order")?;
    for name in order.lines() {
        let file = File::open(folder.join(name)).with_context(|| format!("open {name}"))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // Something may have asked the kernel for it already.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("load the module {name}")),
        }
    }
    Ok(())
}
