//! A kernel and the few modules that the guest needs of it.

use crate::programs::{command, run};
use crate::vm::apt::Apt;
use crate::vm::recipe::{KERNEL_PACKAGE, Kernel, MODULES};
use crate::vm::{bzimage, modules};
use anyhow::{Context, Result};
use std::path::Path;

/// Name of the kernel's ELF in its folder.
pub(crate) const ELF: &str = "vmlinux";
/// Name of the folder of modules.
pub(crate) const MODULE_FOLDER: &str = "modules";

/// Builds it in `folder`.
pub(crate) fn make(kernel: Kernel, folder: &Path) -> Result<()> {
    println!("Building the guest's kernel {kernel}: 70 to 110 MB are fetched, 15 MB are kept ...");
    let scratch = folder.join("scratch");
    let tree = scratch.join("tree");
    std::fs::create_dir_all(&tree).context("make a folder for the kernel")?;
    // With the backports alone, the name of the metapackage leads to their kernel.
    let apt = Apt::open(&scratch.join("apt"), &[kernel.suite()])?;
    let package = apt.download_one(KERNEL_PACKAGE, "linux-image-", &scratch)?;
    let mut unpack = command("dpkg-deb");
    run("dpkg-deb", unpack.arg("--extract").arg(&package).arg(&tree))?;
    let image = std::fs::read_dir(tree.join("boot"))
        .context("look for the kernel's image")?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
        .context("find the kernel's image in its package")?;
    let image = std::fs::read(image.path()).context("read the kernel's image")?;
    let elf = bzimage::vmlinux(&image)?;
    std::fs::write(folder.join(ELF), elf).context("write the kernel")?;
    let lib = [tree.join("lib/modules"), tree.join("usr/lib/modules")];
    let lib = lib.iter().find(|path| path.is_dir());
    let lib = lib.context("find the kernel's modules in its package")?;
    modules::collect(lib, &MODULES, &folder.join(MODULE_FOLDER))?;
    std::fs::remove_dir_all(&scratch).context("remove what was fetched")
}
